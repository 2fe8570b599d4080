# SPDX-License-Identifier: Apache-2.0
"""Open-set identification on a folder of people: how often is a known face named right, and a stranger left unnamed?

The protocol: every person with two or more photographs is in the gallery with one, the first by name; their other
photographs are the mated probes. Every person with a single photograph is a stranger: a non-mated probe. A photograph
without a face is not left out: a mated probe without one, or whose person's enrolled photograph has none, is a miss; a
stranger without one is never named. Rates are of `metrics.identification`; search is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facepipe.errors import DataError
from facepipe.gallery.search import build_index
from facepipe.metrics.identification import OpenSetRate, open_set_rate, rank_one_rate
from facepipe.store.files import write_json
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, read_embeddings, read_main_faces
from facepipe.store.run_record import adding, read_run

IDENTIFICATION_FILE = "identification.json"
PROTOCOL = (
    "gallery: the first photograph of each person with two or more; mated probes: their others; non-mated probes: "
    "people with one photograph; a photograph without a face is a miss, never left out; exact search"
)


@dataclass(frozen=True, slots=True)
class Identification:
    """The figures and what they were counted over.

    Attributes:
        people: with at least one photograph.
        enrolled: of those, with two or more: one row of the gallery each.
        without_row: of the enrolled, those whose photograph has no face.
        mated, non_mated: probes; `mated_faceless` and `non_mated_faceless` of them have no face.
        rank_one: share of mated probes whose nearest row has their name.
        open_set: DIR at each FPIR asked for.
    """

    people: int
    enrolled: int
    without_row: int
    mated: int
    mated_faceless: int
    non_mated: int
    non_mated_faceless: int
    rank_one: float
    open_set: tuple[OpenSetRate, ...]


def evaluate_run(run: Path, fpirs: Sequence[float] = (0.01, 0.1)) -> Identification:
    """`evaluate` on a finished run over people's folders; writes identification.json into it."""
    read_run(run)
    lines = list(read_main_faces(run / FACES_FILE))
    embeddings = read_embeddings(run / EMBEDDINGS_FILE, sum(line.row is not None for line in lines))
    rows = {line.key: np.asarray(embeddings[line.row]) for line in lines if line.row is not None}
    found = evaluate([line.key for line in lines], rows, fpirs)
    with adding(run, [IDENTIFICATION_FILE]):
        write_json(run / IDENTIFICATION_FILE, {"protocol": PROTOCOL, **asdict(found)})
    return found


def evaluate(
    keys: Sequence[str], rows: Mapping[str, np.ndarray], fpirs: Sequence[float] = (0.01, 0.1)
) -> Identification:
    """Identification rates over photographs called `<person>/<photograph>`.

    Args:
        keys: every photograph, with or without a face.
        rows: float32 [D] unit embedding of each photograph that has a face.
        fpirs: false-positive identification rates, each in (0, 1).

    Raises:
        DataError: a photograph lies in no person's folder, or there are no mated or no non-mated probes.
    """
    photographs: dict[str, list[str]] = {}
    for key in sorted(keys):
        person, parted, _ = key.partition("/")
        if not parted:
            raise DataError(f"identification: {key} lies in no person's folder, expected <person>/<photograph>.")
        photographs.setdefault(person, []).append(key)
    enrolled = {person: own[0] for person, own in photographs.items() if len(own) > 1}
    names = [person for person, key in enrolled.items() if key in rows]
    mated = [key for person in enrolled for key in photographs[person][1:]]
    strangers = [own[0] for own in photographs.values() if len(own) == 1]
    if not names or not mated or not strangers:
        raise DataError(
            f"identification: {len(names)} people enrolled, {len(mated)} mated and {len(strangers)} non-mated probes, "
            "expected some of each."
        )
    index = build_index(np.stack([rows[enrolled[name]] for name in names]))

    def nearest(probes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Best similarity float64 [P] (-2 without a face, below every cosine) and its person's number (-1)."""
        best, whose = np.full(len(probes), -2.0), np.full(len(probes), -1)
        with_face = [i for i, key in enumerate(probes) if key in rows]
        if with_face:
            similarities, found = index.search(np.stack([rows[probes[i]] for i in with_face]), 1)
            best[with_face], whose[with_face] = similarities[:, 0], found[:, 0]
        return best, whose

    number = {name: i for i, name in enumerate(names)}
    similarity, whose = nearest(mated)
    # -2 never equals the -1 of a probe without a face: neither is right.
    right = whose == np.array([number.get(key.partition("/")[0], -2) for key in mated])
    stranger, _ = nearest(strangers)
    return Identification(
        people=len(photographs),
        enrolled=len(enrolled),
        without_row=len(enrolled) - len(names),
        mated=len(mated),
        mated_faceless=int((whose < 0).sum()),
        non_mated=len(strangers),
        non_mated_faceless=int((stranger < -1).sum()),
        rank_one=rank_one_rate(right),
        open_set=tuple(open_set_rate(similarity, right, stranger, fpir) for fpir in fpirs),
    )
