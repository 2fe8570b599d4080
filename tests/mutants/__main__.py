# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Small seeded changes of the source, of which the tests should notice every one: into runs/mutants.json.

python tests/mutants [COUNT of each room] [ROOM ...] [--seed SEED ...] [--again]

docs/mutants.md has a line for each survivor that was looked at, with the reason why it lives. The status is 1 when
another one lived.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from touching import Touching

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
    parser = argparse.ArgumentParser(prog="python tests/mutants")
    parser.add_argument("count", nargs="?", type=int, default=COUNT, help="of each room")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}; else all")
    parser.add_argument("--seed", nargs="+", default=[SEED], help="each draws a sample of its own")
    parser.add_argument("--again", action="store_true", help="leave out what runs/mutants.json has as killed or judged")
    asked = parser.parse_intermixed_args(words)
    judged = judgements(JUDGED.read_text(encoding="utf-8")) if JUDGED.exists() else {}
    known = _known(judged) if asked.again else {}
    mutants: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(WORKERS):
            (Path(folder) / str(number)).mkdir()
            trees.put(Tree(REPOSITORY, Path(folder) / str(number)))
        for name in asked.rooms or list(ROOMS):
            drawn = [(seed, mutant) for seed in asked.seed for mutant in _drawn(ROOMS[name], name, asked.count, seed)]
            mutants += [known[place] for place in (_place(seed, asdict(one)) for seed, one in drawn) if place in known]
            new = [(seed, one) for seed, one in drawn if _place(seed, asdict(one)) not in known]
            for seed, mutant, outcome in _hunted(ROOMS[name], new, trees) if new else ():
                judgement = judged.get(_key(mutant)) if outcome.verdict == "survived" else None
                entry = {**asdict(mutant), **asdict(outcome), "room": name, "seed": seed, "judged": judgement}
                del entry["source"]
                mutants.append(entry)
                told = f"{outcome.verdict:<9} {outcome.seconds:6.1f} s  {mutant.file}:{mutant.line} {mutant.kind}"
                if outcome.verdict == "survived":
                    told += f"\n    was {mutant.was}\n    now {mutant.now}\n    {judgement or 'not judged yet'}"
                print(told, flush=True)
                write_json(FIGURES, _report(asked.seed, mutants), overwrite=True)
    report = _report(asked.seed, mutants)
    write_json(FIGURES, report, overwrite=True)
    print(json.dumps(report["seeds"], indent=1))
    strangers = [entry for entry in mutants if entry["verdict"] == "survived" and entry["judged"] is None]
    print(f"{FIGURES}: {len(strangers)} survivors that docs/mutants.md does not judge")
    return int(bool(strangers))


def _known(judged: Mapping[tuple[str, str, str], str]) -> dict[tuple[object, ...], dict[str, object]]:
    """What runs/mutants.json tells and is not asked again: killed ones, and those that the page judges."""
    known: dict[tuple[object, ...], dict[str, object]] = {}
    for entry in json.loads(FIGURES.read_text(encoding="utf-8"))["mutants"]:
        judgement = judged.get((entry["file"], entry["was"], entry["now"])) if entry["verdict"] == "survived" else None
        if entry["verdict"] != "survived" or judgement is not None:
            known[_place(entry["seed"], entry)] = {**entry, "judged": judgement}
    return known


def _place(seed: str, entry: Mapping[str, object]) -> tuple[object, ...]:
    return seed, *(entry[name] for name in ("file", "line", "kind", "was", "now"))


def _drawn(room: Room, name: str, count: int, seed: str) -> list[Mutant]:
    """The sample of one room; a larger one begins with the smaller."""
    package = REPOSITORY / "src" / "facepipe"
    files = sorted(path.relative_to(package).as_posix() for path in package.glob(room.files))
    return sample(package, [file for file in files if file not in room.without], count, f"{seed} {name}")


def _hunted(
    room: Room, drawn: Sequence[tuple[str, Mutant]], trees: SimpleQueue[Tree]
) -> Iterator[tuple[str, Mutant, Outcome]]:
    """What became of each, in the order in which they were drawn."""

    def watched(tests: Sequence[str]) -> Touching:
        tree = trees.get()
        try:
            undisturbed, touching = tree.watch(tests, 1800)
        finally:
            trees.put(tree)
        if undisturbed.verdict != "survived":
            raise SystemExit(f"{' '.join(tests)}: {undisturbed.by} fails without any mutant")
        return touching

    with ThreadPoolExecutor(WORKERS) as pool:
        lines = list(pool.map(watched, (room.first, room.then)))

        def one(drawn: tuple[str, Mutant]) -> tuple[str, Mutant, Outcome]:
            own = trees.get()
            try:
                return *drawn, hunt(own, drawn[1], lines)
            finally:
                trees.put(own)

        yield from pool.map(one, drawn)


def _report(seeds: Sequence[str], mutants: Sequence[dict[str, object]]) -> dict[str, object]:
    """What runs/mutants.json holds."""
    tables = {seed: _table([entry for entry in mutants if entry["seed"] == seed]) for seed in seeds}
    return {"cosmic_ray": version("cosmic-ray"), "seeds": tables, "mutants": list(mutants)}


def _table(mutants: Sequence[dict[str, object]]) -> dict[str, object]:
    """The figures of each room, and of all."""
    rooms = {str(entry["room"]): None for entry in mutants}
    return {
        "rooms": {name: figures([entry for entry in mutants if entry["room"] == name]) for name in rooms},
        "all": figures(mutants),
    }


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
        "seconds": round(sum(float(str(entry["seconds"])) for entry in hunted)),
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
