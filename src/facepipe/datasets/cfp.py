# SPDX-License-Identifier: Apache-2.0
"""CFP's pairs: Celebrities in Frontal-Profile in the Wild, ten folds of 350 same and 350 different.

Sengupta et al. 2016, "Frontal to Profile Face Verification in the Wild". Below the data set's root lie
`Protocol/Pair_list_F.txt` (frontal pictures: "number path", the path relative to `Protocol/`), `Pair_list_P.txt`
(profiles), and `Protocol/Split/FP/01/{same,diff}.txt` with lines "i,j": frontal picture i against profile j. In
`Split/FF` both are frontal.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Literal

from facepipe.datasets.lfw import Pair, VerificationSet
from facepipe.errors import DataError

FOLDS = 10


def read_cfp_pairs(root: Path, protocol: Literal["FP", "FF"]) -> VerificationSet:
    """CFP's pairs as the folds of `protocol`, keyed by path relative to `root`; the pictures are not looked at.

    Raises:
        DataError: a file of the protocol is missing, or a line has another form; the line is shown.
    """
    folder = root / "Protocol"
    first = _pictures(folder / "Pair_list_F.txt")
    second = _pictures(folder / "Pair_list_P.txt") if protocol == "FP" else first
    pairs: list[Pair] = []
    for fold in range(FOLDS):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            path = folder / "Split" / protocol / f"{fold + 1:02d}" / name
            for where, line in _lines(path):
                a, comma, b = line.partition(",")
                if not comma or a.strip() not in first or b.strip() not in second:
                    raise DataError(f"{where}: {line[:80]!r}, expected 'i,j', two numbers of the picture lists.")
                pairs.append(Pair(first[a.strip()], second[b.strip()], same, fold))
    return VerificationSet(f"cfp_{protocol.lower()}", tuple(pairs), FOLDS)


def _pictures(path: Path) -> dict[str, str]:
    """Number, as text, to key."""
    pictures = {}
    for where, line in _lines(path):
        fields = line.split(maxsplit=1)
        key = posixpath.normpath(posixpath.join("Protocol", fields[-1].replace("\\", "/")))
        if len(fields) != 2 or not fields[0].isdigit() or key.startswith(("..", "/")):
            raise DataError(f"{where}: {line[:80]!r}, expected 'number path', the path below the data set's root.")
        pictures[fields[0]] = key
    return pictures


def _lines(path: Path) -> list[tuple[str, str]]:
    """("file, line n", text) of each line that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}), expected a file of CFP's protocol.") from error
    lines = [(f"{path}, line {n}", line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: it is empty, expected a file of CFP's protocol.")
    return lines
