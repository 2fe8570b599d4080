# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Small seeded changes of the source, of which the tests should notice every one: into runs/mutants.json.

python tests/mutants [COUNT of each room] [ROOM ...]

docs/mutants.md has a line for each survivor that was looked at, with the reason why it lives. The status is 1 when
another one lived.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(HERE))

from hunting import Outcome, Tree, hunt
from sampling import Mutant, sample

from facepipe.store.files import write_json

FIGURES = REPOSITORY / "runs" / "mutants.json"
JUDGED = REPOSITORY / "docs" / "mutants.md"
COUNT = 40  # of each room
SEED = "1"
WORKERS = 2


@dataclass(frozen=True)
class Room:
    """Files, and the tests that should notice: those of the room first; those of who uses it for what lives on."""

    files: str
    first: tuple[str, ...]
    then: tuple[str, ...]
    without: tuple[str, ...] = ()


ROOMS = {
    "geometry": Room(
        "geometry/*.py",
        ("tests/geometry",),
        ("tests/detect/test_mtcnn.py", "tests/detect/test_single_shot.py", "tests/runs/test_which_face.py"),
    ),
    "detect": Room("detect/*.py", ("tests/detect",), ("tests/runs/test_which_face.py", "tests/runs/test_wider_run.py")),
    "faces": Room("faces/*.py", ("tests/faces", "tests/runs/test_which_face.py"), ("tests/runs/test_runs.py",)),
    "store": Room(
        "store/*.py", ("tests/store",), ("tests/runs/test_score.py", "tests/runs/test_runs.py"), ("store/bins.py",)
    ),
    "bins": Room(
        "store/bins.py", ("tests/store/test_bins.py",), ("tests/runs/test_pack_stage.py", "tests/runs/test_unpack.py")
    ),
    "metrics": Room("metrics/*.py", ("tests/metrics",), ("tests/runs/test_score.py", "tests/gallery/test_evaluate.py")),
    "gallery": Room("gallery/*.py", ("tests/gallery",), ("tests/cli/test_gallery_command.py",)),
}


def main(words: Sequence[str]) -> int:
    count = int(words[0]) if words else COUNT
    rooms = list(words[1:]) or list(ROOMS)
    judged = judgements(JUDGED.read_text(encoding="utf-8")) if JUDGED.exists() else {}
    report: dict[str, object] = {
        "seed": SEED,
        "of_each_room": count,
        "cosmic_ray": version("cosmic-ray"),
        "rooms": {},
        "mutants": [],
    }
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(WORKERS):
            (Path(folder) / str(number)).mkdir()
            trees.put(Tree(REPOSITORY, Path(folder) / str(number)))
        for name in rooms:
            hunted = []
            for mutant, outcome in _hunted(ROOMS[name], count, f"{SEED} {name}", trees):
                judgement = judged.get(_key(mutant)) if outcome.verdict == "survived" else None
                entry = {**asdict(mutant), **asdict(outcome), "room": name, "judged": judgement}
                del entry["source"]
                hunted.append(entry)
                print(
                    f"{outcome.verdict:<9} {outcome.seconds:6.1f} s  {mutant.file}:{mutant.line} {mutant.kind}",
                    flush=True,
                )
                if outcome.verdict == "survived":
                    print(
                        f"    was {mutant.was}\n    now {mutant.now}\n    {judgement or 'not judged yet'}", flush=True
                    )
            report["mutants"] += hunted  # type: ignore[operator]
            report["rooms"][name] = figures(hunted)  # type: ignore[index]
            report["all"] = figures(report["mutants"])  # type: ignore[arg-type]
            write_json(FIGURES, report, overwrite=True)
    print(json.dumps({"rooms": report["rooms"], "all": report["all"]}, indent=1))
    strangers = [entry for entry in report["mutants"] if entry["verdict"] == "survived" and entry["judged"] is None]  # type: ignore[attr-defined]
    print(f"{FIGURES}: {len(strangers)} survivors that docs/mutants.md does not judge")
    return int(bool(strangers))


def _hunted(room: Room, count: int, seed: str, trees: SimpleQueue[Tree]) -> Iterator[tuple[Mutant, Outcome]]:
    """The room's mutants with what became of each, in the order in which they were drawn."""
    package = REPOSITORY / "src" / "facepipe"
    files = sorted(path.relative_to(package).as_posix() for path in package.glob(room.files))
    mutants = sample(package, [file for file in files if file not in room.without], count, seed)
    lines, timeouts = (room.first, room.then), []
    tree = trees.get()
    for tests in lines:
        began = time.monotonic()
        undisturbed = tree.test(tests, 1800)
        if undisturbed.verdict != "survived":
            raise SystemExit(f"{' '.join(tests)}: {undisturbed.by} fails without any mutant")
        timeouts.append(20 + 4 * (time.monotonic() - began))
    trees.put(tree)

    def one(mutant: Mutant) -> tuple[Mutant, Outcome]:
        own = trees.get()
        try:
            return mutant, hunt(own, mutant, lines, timeouts)
        finally:
            trees.put(own)

    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(one, mutants)


def figures(hunted: Sequence[dict[str, object]]) -> dict[str, object]:
    """Counts and the score: the share that was noticed of those that change anything."""
    verdicts = Counter(str(entry["verdict"]) for entry in hunted)
    equivalent = sum(str(entry["judged"]).startswith("equivalent") for entry in hunted)
    noticed = verdicts["killed"] + verdicts["timed out"]
    return {
        "mutants": len(hunted),
        "killed": verdicts["killed"],
        "timed_out": verdicts["timed out"],
        "survived": verdicts["survived"],
        "of_these_equivalent": equivalent,
        "score": round(noticed / max(1, len(hunted) - equivalent), 4),
    }


def judgements(page: str) -> dict[tuple[str, str, str], str]:
    """What docs/mutants.md says of each survivor: a line "- `file`: `was` to `now`: equivalent, because ..."."""
    lines = re.findall(r"^- `([^`]+)`: `([^`]+)` to `([^`]+)`: (.+)$", page, re.MULTILINE)
    return {(file, was, now): why for file, was, now, why in lines}


def _key(mutant: Mutant) -> tuple[str, str, str]:
    return mutant.file, mutant.was, mutant.now


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
