# SPDX-License-Identifier: Apache-2.0
"""Aligned faces with pairs, wherever they lie: in a `.bin`, in a folder with a pairs file, or in CFP's root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from facepipe.datasets.cfp import cfp_protocol
from facepipe.datasets.lfw import VerificationSet, read_verification_set
from facepipe.datasets.verification_bin import decode_face, read_verification_bin
from facepipe.errors import DataError
from facepipe.store.files import sha256_of_file


@dataclass(frozen=True, slots=True)
class FaceSet:
    """Pairs, and their faces on demand.

    Attributes:
        load: from a key and a size S to uint8 [S, S, 3] RGB; raises DataError.
        provenance: where the set lies, and its digest where it is one file.
    """

    pairs: VerificationSet
    load: Callable[[str, int], np.ndarray]
    provenance: Mapping[str, str]


def open_face_set(path: Path, pairs: Path | None = None, cfp: Literal["FP", "FF"] | None = None) -> FaceSet:
    """The set at `path`; faces are not looked at yet.

    Args:
        path: a `.bin` file or a folder.
        pairs: LFW's pairs file or a table, for a folder; None: pairs.txt in it.
        cfp: the folder is CFP's root, and this is the protocol.

    Raises:
        DataError: there is no such set, or its pairs have another form.
    """
    if path.suffix == ".bin" or path.is_file():
        packed = read_verification_bin(path)
        place_of: dict[str, int] = {}
        for place, key in enumerate(packed.keys()):
            place_of.setdefault(key, place)

        def from_file(key: str, size: int) -> np.ndarray:
            return decode_face(packed.images[place_of[key]], f"{path}, picture {key}", size)

        return FaceSet(packed.verification_set(), from_file, {"path": str(path), "sha256": sha256_of_file(path)})
    found = folder_pairs(path, pairs, cfp)

    def from_folder(key: str, size: int) -> np.ndarray:
        picture = path / key
        try:
            content = picture.read_bytes()
        except OSError as error:
            raise DataError(f"{picture}: cannot be opened ({error.strerror}), expected a face of the pairs.") from error
        return decode_face(content, str(picture), size)

    return FaceSet(found, from_folder, {"path": str(path)})


def folder_pairs(root: Path, pairs: Path | None, cfp: Literal["FP", "FF"] | None) -> VerificationSet:
    """The pairs that go with a folder of faces; arguments as `open_face_set`'s.

    Raises:
        DataError: there is no such folder, or the pairs have another form.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such file or folder, expected a verification set.")
    if cfp is not None:
        return read_verification_set(cfp_protocol(root, cfp), root)
    if pairs is None and (root / "Protocol").is_dir():
        raise DataError(
            f"{root}: it looks like CFP's root, expected to be told its protocol.",
            f"`facepipe verification {root} --cfp FP`, with `--pack cfp.bin` for a set that every command takes.",
        )
    return read_verification_set(pairs or root / "pairs.txt", root)
