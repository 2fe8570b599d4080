# SPDX-License-Identifier: Apache-2.0
"""CFP's protocol as small as its form allows: eleven people with one frontal picture and one profile each."""

from __future__ import annotations

from pathlib import Path


def write_cfp_protocol(root: Path, line_end: str = "\n") -> None:
    """Write `root`/Protocol, folders and all: in each fold one pair of one person and one of two.

    Args:
        line_end: between the lines of the two lists.
    """
    protocol = root / "Protocol"
    protocol.mkdir(parents=True)
    for letter, kind in (("F", "frontal"), ("P", "profile")):
        lines = [f"{i} ../Data/Images/{i:03d}/{kind}/01.jpg" for i in range(1, 12)]
        (protocol / f"Pair_list_{letter}.txt").write_text(line_end.join(lines))
    for split in ("FP", "FF"):
        for fold in range(1, 11):
            folder = protocol / "Split" / split / f"{fold:02d}"
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text(f"{fold},{fold}\n")
            (folder / "diff.txt").write_text(f"{fold},{fold + 1}\n")
