# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE's ground truth in the official form, for photographs of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat


def write_truth(
    folder: Path,
    events: Mapping[str, Mapping[str, Sequence[Sequence[int]]]],
    counted: Mapping[str, Mapping[str, Sequence[int]]],
) -> Path:
    """Write the four .mat files.

    Args:
        folder: is made.
        events: event to photograph to boxes, x, y, width, height each.
        counted: setting (easy, medium, hard) to photograph to the numbers, from 1, of the faces that count.
    """
    folder.mkdir(parents=True)
    boxes = [
        column([np.array(found, np.int32).reshape(-1, 4) for found in event.values()]) for event in events.values()
    ]
    content = {
        "event_list": column(list(events)),
        "file_list": column([column(list(event)) for event in events.values()]),
        "face_bbx_list": column(boxes),
    }
    savemat(folder / "wider_face_val.mat", content)
    for setting, numbers in counted.items():
        lists = [column([np.array(numbers.get(name, []), np.uint8) for name in event]) for event in events.values()]
        savemat(folder / f"wider_{setting}_val.mat", {"gt_list": column(lists)})
    return folder


def column(cells: Sequence[object]) -> np.ndarray:
    """A MATLAB cell array of one column."""
    made = np.empty((len(cells), 1), object)
    for row, cell in enumerate(cells):
        made[row, 0] = cell
    return made
