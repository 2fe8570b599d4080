# SPDX-License-Identifier: Apache-2.0
"""Labeled Faces in the Wild: found in `data/` or in the mirror, or downloaded.

Two layouts are read: person folders and pairs.txt side by side (as the archive unpacks), and person folders below
`images/` with pairs.txt beside it (as the mirror has them).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from facepipe.assets.archive import extract_folder
from facepipe.assets.download import Progress, download, silent
from facepipe.assets.workspace import Workspace
from facepipe.errors import AssetError
from facepipe.store.files import sha256_of_file
from facepipe.store.parts import is_part


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to download and what it must be."""

    url: str
    sha256: str
    size: int | None


# scikit-learn's copies on figshare; the original site is gone.
IMAGES = Remote(
    "https://ndownloader.figshare.com/files/5976018",
    "055f7d9c632d7370e6fb4afc7468d40f970c34a80d4c6f50ffec63f5a8d536c0",
    None,
)
PAIRS = Remote(
    "https://ndownloader.figshare.com/files/5976006",
    "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
    155_335,
)


def lfw_in(folder: Path) -> tuple[Path, Path] | None:
    """(root of the photographs' keys, pairs file) in `folder`, of either layout; None when there are no photographs.

    The pairs file is where it belongs, whether it is there or not.
    """
    images = folder / "images" if (folder / "images").is_dir() else folder
    return (images, folder / "pairs.txt") if _has_people(images) else None


def find_lfw(ws: Workspace) -> tuple[Path, Path] | None:
    """LFW by the order of places; None when photographs or pairs are in no place."""
    images, pairs = _find_images(ws), find_pairs(ws)
    return None if images is None or pairs is None else (images, pairs)


def locate_lfw(ws: Workspace) -> tuple[Path, Path]:
    """(root of the photographs' keys, pairs file). Nothing is downloaded.

    Raises:
        AssetError: photographs or pairs are in no place; the error says which, where they may be put, and where they
            come from.
    """
    images, pairs = _find_images(ws), find_pairs(ws)
    if images is not None and pairs is not None:
        return images, pairs
    folder = ws.data / "lfw"
    absent = " and ".join(
        [*([] if images else ["<Name>/<Name>_0001.jpg (13,233 photographs)"]), *([] if pairs else ["pairs.txt"])]
    )
    sources = " and ".join([*([] if images else [IMAGES.url]), *([] if pairs else [PAIRS.url])])
    mirror = "" if ws.mirror is None else f" or {ws.mirror / 'lfw'}"
    raise AssetError(
        f"{folder}: LFW is not there, expected {absent}.",
        f"`facepipe fetch lfw`, or put it into {folder}{mirror} by hand; it comes from {sources}",
    )


def fetch_lfw(
    ws: Workspace, progress: Progress = silent, images: Remote = IMAGES, pairs: Remote = PAIRS
) -> tuple[Path, Path]:
    """LFW: found, or else downloaded and unpacked to `data/lfw`, which appears whole or not at all.

    The archive stays at `data/lfw.tgz`, where one that was put there by hand is used as well.

    Args:
        ws: where to look, and where to put it.
        progress: told how far the download is, then how far the unpacking is, in bytes of the archive.
        images: the archive.
        pairs: the pairs file.

    Returns:
        (root of the photographs' keys, pairs file).

    Raises:
        AssetError: a download fails or brings another file, or `data/lfw` is there and holds something else.
    """
    folder = ws.data / "lfw"
    images_root = _find_images(ws)
    if images_root is None:
        images_root = _free_place(folder)
        extract_folder(_archive(ws, images, progress), "lfw", images_root, progress)
    pairs_path = find_pairs(ws)
    if pairs_path is None:
        pairs_path = folder / "pairs.txt"
        download(pairs.url, pairs_path, sha256=pairs.sha256, size=pairs.size, progress=progress)
    return images_root, pairs_path


def _archive(ws: Workspace, images: Remote, progress: Progress) -> Path:
    """lfw.tgz, its digest checked: the one in `data/`, or a download."""
    path = ws.data / "lfw.tgz"
    if not path.is_file():
        download(images.url, path, sha256=images.sha256, size=images.size, progress=progress)
        return path
    seen = sha256_of_file(path)
    if seen != images.sha256:
        raise AssetError(
            f"{path}: sha256 is {seen}, expected {images.sha256}.", "delete it and run `facepipe fetch lfw`."
        )
    return path


def _free_place(folder: Path) -> Path:
    """Where the photographs are to appear: as `folder`; in its `images/` where a pairs file lies in it already."""
    if not os.path.lexists(folder):
        return folder
    there = [entry for entry in folder.iterdir() if not is_part(entry)] if folder.is_dir() else [folder]
    held = sorted(entry.name for entry in there if entry.name != "pairs.txt")
    if held:
        raise AssetError(
            f"{folder}: holds {held[0]} and no <Name>/<Name>_0001.jpg, expected LFW's person folders or nothing.",
            f"move {folder} away and run `facepipe fetch lfw`.",
        )
    return folder / "images" if there else folder


def _find_images(ws: Workspace) -> Path | None:
    return next((found[0] for folder in _folders(ws) if (found := lfw_in(folder)) is not None), None)


def find_pairs(ws: Workspace) -> Path | None:
    """LFW's pairs file by the order of places; None when it is in none."""
    own, *mirror = _folders(ws)
    places = [own / "pairs.txt", ws.data / "pairs.txt", *(folder / "pairs.txt" for folder in mirror)]
    return next((place for place in places if place.is_file()), None)


def _folders(ws: Workspace) -> list[Path]:
    return [ws.data / "lfw", *([] if ws.mirror is None else [ws.mirror / "lfw"])]


def _has_people(images: Path) -> bool:
    """Is there one folder <Name> with a photograph <Name>_<number>? One is enough: what is there is whole."""
    if not images.is_dir():
        return False
    return any(
        file.stem.startswith(f"{person.name}_") and file.suffix in (".jpg", ".png")
        for person in images.iterdir()
        if person.is_dir()
        for file in person.iterdir()
    )
