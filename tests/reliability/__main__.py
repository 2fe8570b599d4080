# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""The long forms of the reliability tests; figures go to runs/reliability/<name>.json as they come.

python tests/reliability kill [KILLS]         200 random kills of `facepipe lfw`, every change of a file, the others
python tests/reliability pictures [COUNT]     10,000 bad pictures
python tests/reliability load [COUNT]         100,000 photographs with two workers
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "fakes"), str(HERE.parent / "assets")]

import bad_pictures
import killing
import load
import victims
from measured import embed_folder
from PIL import Image

from facepipe.store.files import write_json

WEIGHTS = REPOSITORY / "weights"
FIGURES = REPOSITORY / "runs" / "reliability"
CHUNK = 1000
STAGED_STEP = 5  # of its some 290 changes of a file


def kill(folder: Path, kills: int) -> None:
    """Random moments in the four forms of `facepipe lfw`, then every change of a file in turn, then the others."""
    work = folder / "work"
    victims.make_work(work, WEIGHTS)
    figures: dict[str, object] = {"random": {}, "every_change": {}}
    began = time.monotonic()

    def note(kind: str, name: str, value: object) -> None:
        figures[kind][name] = value  # type: ignore[index]
        figures["seconds"] = round(time.monotonic() - began)
        write_json(FIGURES / "kill.json", figures, overwrite=True)
        print(f"{kind}: {name}: {value}", flush=True)

    forms = [(staged, workers) for workers in (1, 2) for staged in (False, True)]
    with killing.nursery(victims.lfw(work, staged=False, workers=1)) as nest:
        for number, (staged, workers) in enumerate(forms):
            victim = victims.lfw(work, staged, workers, shard=2)
            place = folder / victim.name.replace(" ", "-").replace(",", "")
            killing.undisturbed(nest, victim, place / "cold")
            reference = killing.undisturbed(nest, victim, place / "warm")
            wanted = kills * (number + 1) // len(forms) - kills * number // len(forms)
            survived, trial = killing.Kills(), 0
            while survived.total < wanted:
                count = min(6 if staged else 4, wanted - survived.total)
                moments = killing.moments_of(1000 * trial + number, count, reference, workers > 1)
                survived += killing.survive(nest, victim, place / f"trial-{trial}", reference, moments)
                trial += 1
                note("random", victim.name, {"kills": survived.total, **asdict(survived), "runs": trial})
        fused, staged_one = (victims.lfw(work, staged, workers=1) for staged in (False, True))
        reference = killing.undisturbed(nest, fused, folder / "fused")
        note("every_change", fused.name, killing.die_everywhere(nest, fused, folder / "f", reference))
        reference = killing.undisturbed(nest, staged_one, folder / "staged")
        some = killing.die_everywhere(nest, staged_one, folder / "s", reference, first=2, step=STAGED_STEP)
        note("every_change", f"{staged_one.name}, one in {STAGED_STEP}", some)
    others = [victims.onnx(work, WEIGHTS), victims.om(work, WEIGHTS, folder / "logs"), victims.gallery(work)]
    for victim in others:
        with killing.nursery(victim) as nest:
            reference = killing.undisturbed(nest, victim, folder / victim.name)
            note(
                "every_change", victim.name, killing.die_everywhere(nest, victim, folder / f"{victim.name}-", reference)
            )
    with victims.lfw_site(work) as (site, images, pairs):
        victim = victims.fetch(work, site.url, images, pairs)
        with killing.nursery(victim) as nest:
            reference = killing.undisturbed(nest, victim, folder / "fetch")
            note("every_change", "fetch", killing.die_everywhere(nest, victim, folder / "fetch-", reference))


def pictures(folder: Path, count: int) -> None:
    """Bad pictures in folders of a thousand, each folder one run at the default settings."""
    victims.make_work(folder / "work", WEIGHTS)
    face = next(iter(sorted((folder / "work/sample/images").rglob("*.jpg"))))
    totals = {"pictures": 0, "good": 0, "without a face": 0, "read": 0, "peak_megabytes": 0, "seconds": 0}
    for chunk in range(-(-count // CHUNK)):
        place = folder / f"pictures-{chunk}"
        bad = min(CHUNK, count - chunk * CHUNK)
        good = bad_pictures.write_among(face.read_bytes(), Image.open(face), place, bad, seed=chunk)
        measured = embed_folder(place, folder / f"run-{chunk}", WEIGHTS, timeout_s=3600)
        if measured.status != 0 or "Traceback" in measured.text:
            raise SystemExit(f"seed {chunk}: status {measured.status}\n{measured.text[-2000:]}")
        lines = [json.loads(line) for line in (folder / f"run-{chunk}/faces.jsonl").read_text().splitlines()]
        if len(lines) != bad + len(good):
            raise SystemExit(f"seed {chunk}: {len(lines)} lines for {bad + len(good)} pictures")
        boxes = {json.dumps(line.get("box")) for line in lines if line["key"] in good}
        if len({json.dumps([round(v) for v in json.loads(box)]) for box in boxes}) != 1:
            raise SystemExit(f"seed {chunk}: the good pictures have different boxes: {boxes}")
        totals["pictures"] += bad
        totals["good"] += len(good)
        totals["without a face"] += sum("reason" in line or "unread" in line for line in lines)
        totals["read"] += sum("box" in line for line in lines)
        totals["peak_megabytes"] = max(totals["peak_megabytes"], round(measured.peak_bytes / 1e6))
        totals["seconds"] += round(measured.seconds)
        write_json(FIGURES / "pictures.json", totals, overwrite=True)
        print(totals, flush=True)
        if measured.peak_bytes > 10**9:
            raise SystemExit(f"seed {chunk}: {measured.peak_bytes / 1e6:.0f} MB, expected at most 1 GB")


def many(folder: Path, count: int) -> None:
    """A day's work in small."""
    figures = load.run_load(folder, WEIGHTS, count)
    write_json(FIGURES / "load.json", figures, overwrite=True)
    print(json.dumps(figures, indent=2))
    load.judge(figures)


LONG: dict[str, tuple[Callable[[Path, int], None], int]] = {
    "kill": (kill, 200),
    "pictures": (pictures, 10_000),
    "load": (many, 100_000),
}

if __name__ == "__main__":
    name, *counts = sys.argv[1:] or ["?"]
    if name not in LONG:
        sys.exit(__doc__)
    do, usual = LONG[name]
    with tempfile.TemporaryDirectory(prefix="facepipe-reliability-") as scratch:
        do(Path(scratch), int(counts[0]) if counts else usual)
