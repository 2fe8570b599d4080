# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE's figures of one detector as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from facepipe.datasets.widerface import SETTINGS
from facepipe.runs.score_detection import WIDER_FILE


def wider_summary(content: Mapping[str, object], folder: Path) -> str:
    """The content of `folder`/wider.json in lines; a subset and odd files are told."""
    ap, mean_ap, faces = content["ap"], content["map_50_95"], content["faces"]
    assert isinstance(ap, dict) and isinstance(mean_ap, dict) and isinstance(faces, dict)
    of = f"{content['images_scored']:,} of {content['images_total']:,} photographs"
    lines = [
        f"WIDER FACE val, {of}{' (a subset, against its own ground truth)' if content['is_subset'] else ''}",
        "             easy    medium  hard",
        f"AP at 0.5    {'   '.join(_figure(ap[setting]) for setting in SETTINGS)}",
        f"mAP .5:.95   {'   '.join(_figure(mean_ap[setting]) for setting in SETTINGS)}   (of ten limits: {WIDER_FILE})",
        f"faces        {'   '.join(f'{faces[setting]:<5,}' for setting in SETTINGS)}",
        f"protocol: {content['protocol']}",
    ]
    by_pass = content.get("ap_by_pass")
    if isinstance(by_pass, dict):
        lines[3:3] = [
            f"  {name:<11}{'   '.join(_figure(values[setting]) for setting in SETTINGS)}"
            for name, values in by_pass.items()
        ]
    photographs = content.get("photographs")
    if isinstance(photographs, dict) and photographs["rescaled_copies"]:
        count = photographs["rescaled_copies"]
        lines.append(
            f"note: {count:,} photographs are copies of another size than listed; boxes are in the listed size"
        )
    if content["unsorted_files"]:
        lines.append(
            "note: some files are not sorted by score; the protocol takes their order as it is (see wider.json)"
        )
    return "\n".join([*lines, f"{folder / WIDER_FILE}"])


def _figure(value: float | None) -> str:
    return "none " if value is None else f"{value:.3f}"
