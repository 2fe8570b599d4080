# SPDX-License-Identifier: Apache-2.0
"""What the work costs as it grows: more photographs, more processes, larger photographs; and the memory it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.end_to_end import Configuration, ask_own, rate, spread
from benchmarks.mosaic import write_mosaic

COUNTS = (100, 1000, 7701)  # photographs; the last is what LFW's pairs name
SIZES = {"250": (250, 250, 96), "1080p": (1080, 1920, 6), "4k": (2160, 3840, 4)}  # height, width, how many


@dataclass(frozen=True, slots=True)
class Growth:
    """What `measure_scaling` measures.

    Attributes:
        root, keys: the photographs.
        weights: the folder of converted models.
        configuration: how facepipe runs; its number of processes is the greater of those compared.
        counts: numbers of photographs; those beyond `keys` are reached by taking the list again.
        sizes: names of `SIZES`.
    """

    root: Path
    keys: Sequence[str]
    weights: Path
    configuration: Configuration
    counts: Sequence[int] = COUNTS
    sizes: Sequence[str] = tuple(SIZES)


def measure_scaling(growth: Growth, progress: Callable[[str], None]) -> dict[str, Any]:
    """Rates and memory.

    Returns:
        `photographs`: by count; `processes`: by number, over the second count; `sizes`: by name, detection alone
        in one process, with every face counted.

    Raises:
        BackendError: a process failed.
    """
    base = growth.configuration
    by_count, by_processes, by_size = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for count in growth.counts:
        by_count[str(count)] = _row(base, growth.root, repeated(growth.keys, count), growth.weights)
        progress(f"{count} photographs: {_said(by_count[str(count)])}")
    middle = min(1000, sorted(growth.counts)[len(growth.counts) // 2])
    for workers in sorted({1, base.workers}):
        known = by_count.get(str(middle)) if workers == base.workers else None
        one = replace(base, workers=workers)
        by_processes[str(workers)] = known or _row(one, growth.root, repeated(growth.keys, middle), growth.weights)
        progress(f"{workers} processes: {_said(by_processes[str(workers)])}")
    with tempfile.TemporaryDirectory(prefix="facepipe-bench-") as folder:
        for name in growth.sizes:
            height, width, count = SIZES[name]
            made = Path(folder) / name
            tiles = [growth.root / key for key in spread(growth.keys, 400)]
            keys = []
            for number in range(count):
                keys.append(f"{number:03d}.jpg")
                write_mosaic(tiles[number::count] or tiles, made / keys[-1], height, width)
            row = _row(base, made, keys, growth.weights, every_face=True)
            by_size[name] = {**row, "height": height, "width": width, "megapixels_per_second": None}
            by_size[name]["megapixels_per_second"] = row["per_second"] * height * width / 1e6
            progress(f"{name}: {_said(row)}, {row['faces'] / count:.1f} faces each")
    return {
        "configuration": base.key,
        "photographs": by_count,
        "processes": by_processes,
        "sizes": by_size,
    }


def memory_of(scaling: dict[str, Any]) -> dict[str, Any]:
    """Memory at its highest for each number of photographs, and how far that of most is above that of fewer."""
    peaks = {count: row["peak_memory_bytes"] for count, row in scaling["photographs"].items()}
    counts = sorted(peaks, key=int)
    found: dict[str, Any] = {"peak_bytes": peaks, "configuration": scaling["configuration"]}
    if len(counts) > 1:
        found["growth_of_the_last_step"] = peaks[counts[-1]] / peaks[counts[-2]] - 1
    return found


def repeated(keys: Sequence[str], count: int) -> list[str]:
    """`count` keys: spread over the list, or the list again and again until there are enough."""
    if count <= len(keys):
        return spread(keys, count)
    return [keys[index % len(keys)] for index in range(count)]


def _row(
    configuration: Configuration, root: Path, keys: Sequence[str], weights: Path, *, every_face: bool = False
) -> dict[str, Any]:
    answer = ask_own(configuration, root, keys, weights, measure="detection" if every_face else "pipeline")
    return {
        "per_second": rate(answer),
        "photographs": answer["photographs"],
        "faces": answer["faces"],
        "workers": 1 if every_face else configuration.workers,
        "peak_memory_bytes": answer["peak_memory_bytes"],
    }


def _said(row: dict[str, Any]) -> str:
    return f"{row['per_second']:.1f} photographs/s, {row['peak_memory_bytes'] / 1e6:.0f} MB"
