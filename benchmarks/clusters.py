# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.clusters --faces 100000

Grouping of faces: seconds and memory on made embeddings; or, with a run over <person>/<photograph>, how well the groups
agree with the folders, beside DBSCAN's at several similarities (scikit-learn), which is what the package did before.

  python -m benchmarks.clusters runs/lfw
  python -m benchmarks.clusters runs/lfw --two           people with two photographs or more alone
  python -m benchmarks.clusters runs/cfp --from p251     people whose folder comes in the alphabet from there on
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facepipe.catalogue import embedder
from facepipe.gallery.cluster_folder import pile_of_run
from facepipe.gallery.clusters import Linking, agreement, group_faces, similarity_of
from facepipe.gallery.linkage import average_linkage

SIMILARITIES = (0.45, 0.5, 0.55, 0.6)
"""Of DBSCAN: 0.5 was the default."""
MADE_SIMILARITY = 0.425
"""At which made embeddings are joined."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clusters", description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, help="a finished run over people's folders")
    parser.add_argument("--from", dest="first", default="", metavar="NAME", help="people from this name on")
    parser.add_argument("--until", default="\U0010ffff", metavar="NAME", help="people up to this name")
    parser.add_argument("--two", action="store_true", help="people with two photographs or more alone")
    parser.add_argument("--similarity", type=float, nargs="+", help="default: the recogniser's")
    parser.add_argument("--faces", type=int, default=100_000, help="made embeddings, without a run (default: 100,000)")
    parser.add_argument("--dimension", type=int, default=128)
    args = parser.parse_args(words)
    if args.run is None:
        print(timed(args.faces, args.dimension))
    else:
        for line in compared(args.run, args.first, args.until, args.similarity, two=args.two):
            print(line, flush=True)
    return 0


def timed(faces: int, dimension: int) -> str:
    """Seconds of processor and memory for made people."""
    rows = made_people(faces, dimension)
    began = time.process_time()
    groups = average_linkage(rows, np.arange(faces), MADE_SIMILARITY)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1024
    return (
        f"{faces:,} faces of {dimension} numbers: {len(np.unique(groups)):,} groups, {seconds:.1f} s of processor, "
        f"{peak:.2f} GiB at most in the process"
    )


def made_people(faces: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Unit vectors float32 [faces, dimension]: a few people with thousands of faces, many with one, as in an album; two
    faces of one person are at a cosine of about 0.55."""
    rng = np.random.default_rng(seed)
    sizes = np.minimum(1 + rng.pareto(1.0, faces) * 3, 5000).astype(int)
    person = np.repeat(np.arange(faces), sizes)[:faces]
    rows = rng.standard_normal((person[-1] + 1, dimension), np.float32)[person]
    rows += np.float32(0.9) * rng.standard_normal(rows.shape, np.float32)
    found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def compared(run: Path, first: str, until: str, similarities: Sequence[float] | None, *, two: bool) -> list[str]:
    """A line for each way to group the faces of a run."""
    pile = pile_of_run(run)
    found, similarities = pile.found, similarities or [similarity_of(embedder(pile.embedder))]
    people = [key.partition("/")[0] for key in found.keys]
    counts = Counter(people)
    rows = [i for i, person in enumerate(people) if first <= person <= until and (not two or counts[person] > 1)]
    faces, embeddings = [found.faces[i] for i in rows], found.embeddings[rows]
    keys = [key for key, _ in faces]
    ways = {f"average linkage {one:g}": group_faces(faces, embeddings, Linking(one)).groups for one in similarities}
    from sklearn.cluster import DBSCAN

    for one in SIMILARITIES:
        scan = DBSCAN(eps=1 - one, min_samples=2, metric="cosine", algorithm="brute")
        ways[f"DBSCAN {one:g}"] = scan.fit_predict(embeddings)
    lines = [f"{len(rows):,} faces of {len({people[i] for i in rows}):,} people; precision, recall, F"]
    for name, groups in ways.items():
        agreed = agreement(groups, keys)
        both = [f"{rates.precision:.4f} {rates.recall:.4f} {rates.f:.4f}" for rates in (agreed.pairs, agreed.b_cubed)]
        lines.append(f"{name:20}  pairs {both[0]}   b-cubed {both[1]}   {groups.max(initial=-1) + 1:,} people")
    return lines


if __name__ == "__main__":
    sys.exit(main())
