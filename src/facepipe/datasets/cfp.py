# SPDX-License-Identifier: Apache-2.0
"""CFP's pairs: Celebrities in Frontal-Profile in the Wild, ten folds of 350 same and 350 different.

Sengupta et al. 2016, "Frontal to Profile Face Verification in the Wild". Below the data set's root lie
`Protocol/Pair_list_F.txt` (frontal photographs: "number path", the path relative to `Protocol/`), `Pair_list_P.txt`
(profiles), and `Protocol/Split/FP/01/{same,diff}.txt` with lines "i,j": frontal photograph i against profile j. In
`Split/FF` both are frontal.

The lists say `../Data/Images/001/frontal/01.jpg`. Copies of the data set have a folder more on the way
(`Data/Images/train/001/frontal/01.jpg`); a photograph that does not lie where its list says is looked for below
`Data/Images` by the last three parts of its path.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import Pair, VerificationSet
from facepipe.errors import DataError
from facepipe.store.files import lacking

FOLDS = 10
IMAGES = "Data/Images"
_TELLING = 3  # parts of a path: person, frontal or profile, number


def cfp_protocol(root: Path, protocol: str) -> Path:
    """The folder that holds CFP's folds of `protocol`, FF or FP.

    Raises:
        DataError: there is none below `root`.
    """
    folder = root / "Protocol" / "Split" / protocol
    if not folder.is_dir():
        raise DataError(f"{folder}: {lacking(folder, 'folder')}, expected CFP's root, the one that has Protocol/.")
    return folder


def read_cfp_pairs(root: Path, protocol: Literal["FP", "FF"]) -> VerificationSet:
    """CFP's pairs as the folds of `protocol`, keyed by path relative to `root`; the photographs are not opened.

    Raises:
        DataError: a file of the protocol is missing, or a line has another form; the line is shown. Or a photograph is
            not where its list says, and two others could be meant.
    """
    read: dict[str, str] = {}
    first = _listed(root, "Protocol/Pair_list_F.txt", read)
    second = _listed(root, "Protocol/Pair_list_P.txt", read) if protocol == "FP" else first
    pairs: list[Pair] = []
    places: list[str] = []
    for fold in range(FOLDS):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for where, line in _lines(root, f"Protocol/Split/{protocol}/{fold + 1:02d}/{name}", read):
                a, comma, b = line.partition(",")
                if not comma or a.strip() not in first or b.strip() not in second:
                    raise DataError(f"{where}: {line[:80]!r}, expected 'i,j', two numbers of the lists.")
                pairs.append(Pair(first[a.strip()], second[b.strip()], same, fold))
                places.append(where)
    files = tuple((root / name, digest) for name, digest in sorted(read.items()))
    rule = "folds of CFP's protocol"
    return VerificationSet(f"cfp_{protocol.lower()}", tuple(pairs), FOLDS, rule, files, tuple(places))


def _listed(root: Path, name: str, read: dict[str, str]) -> dict[str, str]:
    """Number, as text, to key; where the photograph lies, if it is there."""
    listed = {}
    for where, line in _lines(root, name, read):
        fields = line.split(maxsplit=1)
        key = posixpath.normpath(posixpath.join("Protocol", fields[-1].replace("\\", "/")))
        if len(fields) != 2 or not fields[0].isdigit() or key.startswith(("..", "/")):
            raise DataError(f"{where}: {line[:80]!r}, expected 'number path', the path below the data set's root.")
        listed[fields[0]] = key
    elsewhere: Mapping[str, list[str]] | None = None
    for number, key in listed.items():
        if (root / key).is_file():
            continue
        elsewhere = _by_last_parts(root) if elsewhere is None else elsewhere
        found = elsewhere.get(_last_parts(key), [])
        if len(found) > 1:
            raise DataError(
                f"{root / name}: '{key}' is not there, and {found[0]} and {found[1]} are, expected one of them."
            )
        listed[number] = found[0] if found else key
    return listed


def _by_last_parts(root: Path) -> Mapping[str, list[str]]:
    """The photographs below Data/Images, as keys, by what tells them from one another."""
    found: dict[str, list[str]] = defaultdict(list)
    for key in list_keys(root / IMAGES) if (root / IMAGES).is_dir() else ():
        found[_last_parts(key)].append(f"{IMAGES}/{key}")
    return found


def _last_parts(key: str) -> str:
    return "/".join(key.split("/")[-_TELLING:])


def _lines(root: Path, name: str, read: dict[str, str]) -> list[tuple[str, str]]:
    """("file, line n", text) of each line that is not empty; `read` gets the file's sha256 by its name."""
    path = root / name
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}), expected a file of CFP's protocol.") from error
    read[name] = hashlib.sha256(content).hexdigest()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = [(f"{path}, line {n}", line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: it is empty, expected a file of CFP's protocol.")
    return lines
