# SPDX-License-Identifier: Apache-2.0
"""Many photographs through two workers: memory, speed, open files and temporary files over time."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import victims
from measured import facepipe


def run_load(
    folder: Path, weights: Path, count: int, workers: int = 2, shard: int = 500, warm_up: float = 0.05
) -> dict[str, Any]:
    """Run `facepipe embed` over `count` names of a few photographs; return what was seen, in two halves of the shards.

    The first `warm_up` of the shards belong to neither half: a worker may start seconds after another.

    The names are hard links, so that the list is long and the disk is not full; the back end is `null`, so that what
    is measured is the pipeline and not the networks.
    """
    victims.make_work(folder / "work", weights)
    photographs = sorted((folder / "work/sample/images").rglob("*.jpg"))
    for number in range(count):
        target = folder / "many" / f"{number // 1000:04d}" / f"{number:06d}.jpg"
        if number % 1000 == 0:
            target.parent.mkdir(parents=True)
        os.link(photographs[number % len(photographs)], target)
    run = folder / "run"
    measured = facepipe(
        ["embed", str(folder / "many"), "--out", str(run), "--weights", str(folder / "work/weights"),
         "--backend", "null",
         "--embedder", "facenet.seeded", "--workers", str(workers), "--shard", str(shard), "--min-face", "40"],
        timeout_s=7200,
        every_s=0.5 if count > 10_000 else 0.05,
    )  # fmt: skip
    shards = sorted(path.stat().st_mtime - measured.started for path in (run / "fused").glob("shard-*.npz"))
    first = max(workers, round(warm_up * len(shards)))
    middle = first + (len(shards) - first) // 2
    edges = [shards[number - 1] for number in (first, middle, len(shards))]  # seconds at which so many were finished
    parts = [
        [sample for sample in measured.samples if low <= sample[0] <= high]
        or [min(measured.samples, key=lambda sample: abs(sample[0] - high))]  # a machine too busy to look
        for low, high in pairwise(edges)
    ]
    memory, files = ([float(np.median([sample[what] for sample in part])) for part in parts] for what in (1, 2))
    done = shard * np.diff([first, middle, len(shards)])
    # In seconds of processor time, too: what else the machine does makes the clock's seconds longer.
    busy = np.interp(edges, [sample[0] for sample in measured.samples], [sample[3] for sample in measured.samples])
    speeds, efforts = done / np.maximum(np.diff(edges), 1e-9), done / np.maximum(np.diff(busy), 1e-9)
    return {
        "status": measured.status,
        "photographs": count,
        "lines": (run / "faces.jsonl").read_bytes().count(b"\n"),
        "workers": workers,
        "seconds": round(measured.seconds, 1),
        "peak_megabytes_of_a_process": round(measured.peak_bytes / 1e6),
        "megabytes_by_half": [round(value / 1e6, 1) for value in memory],
        "open_files_by_half": files,
        "per_second_by_half": [round(float(speed), 1) for speed in speeds],
        "per_processor_second_by_half": [round(float(speed), 1) for speed in efforts],
        "samples_by_half": [len(part) for part in parts],
        "temporary_left": list(measured.temporary),
        "parts_left": len(list(run.rglob(".*"))),
    }


def judge(figures: dict[str, Any], speed_tolerance: float | None = 0.25) -> None:
    """Raise AssertionError unless memory, speed and files are flat and nothing is left; None: whatever the speed."""
    count, (early, late) = figures["photographs"], figures["megabytes_by_half"]
    assert (figures["status"], figures["lines"]) == (0, count), figures
    assert late <= 1.05 * early + 8, f"memory grows: {figures['megabytes_by_half']} MB"
    before, after = figures["open_files_by_half"]
    assert after < before + 2, f"open files: {before}, then {after}"  # a shard may be open for writing; a leak is many
    assert (figures["temporary_left"], figures["parts_left"]) == ([], 0), figures
    speeds = figures["per_processor_second_by_half"]
    if speed_tolerance is not None:
        assert min(speeds) >= (1 - speed_tolerance) * max(speeds), f"speed changes: {speeds} per processor second"
