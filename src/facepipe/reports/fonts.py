# SPDX-License-Identifier: Apache-2.0
"""A font that has the letters of a name: one that was given, one that a dependency ships, or one of the system's.

matplotlib (the extra [report]) ships DejaVu Sans: Latin, Greek, Cyrillic, Arabic, Hebrew and more. mplfonts (the extra
[cjk]) ships Noto Sans CJK: Chinese, Japanese, Korean. Both are only looked for as files, never imported.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

from facepipe.errors import DataError

_SHIPPED = (
    ("matplotlib", "mpl-data/fonts/ttf/DejaVuSans.ttf"),
    ("mplfonts", "fonts/NotoSansCJKsc-Regular.otf"),
)
_SUFFIXES = (".ttf", ".otf", ".ttc")
_NO_CHARACTER = "\U0010fffe"  # never assigned: shows what a font draws for what it lacks
_TRIED_AT = 16  # pixels


@dataclass(frozen=True, slots=True)
class Font:
    """A font file, and the letters of the text it was looked for that it lacks ("" where it has all).

    `path` is None for Pillow's own font, which has little beyond Western European letters.
    """

    path: Path | None
    lacking: str

    def at(self, pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """The font at a size."""
        return ImageFont.load_default(pixels) if self.path is None else ImageFont.truetype(str(self.path), pixels)


def find_font(text: str, given: Path | None = None) -> Font:
    """The first font that has every letter of `text`; else the one that lacks fewest, which is said in `lacking`.

    Args:
        text: what is to be written.
        given: a font file to be tried first.

    Raises:
        DataError: the given file is no font.
    """
    letters = "".join(sorted(set(text)))
    best: Font | None = None
    for path in _candidates(given):
        lacking = _lacking(path, letters)
        if best is None or len(lacking) < len(best.lacking):
            best = Font(path, lacking)
        if not lacking:
            break
    assert best is not None, "Pillow's own font is always a candidate"
    return best


def _candidates(given: Path | None) -> list[Path | None]:
    """In the order in which they are tried."""
    if given is not None:
        try:
            ImageFont.truetype(str(given), _TRIED_AT)
        except OSError as error:
            raise DataError(f"{given}: it is no font ({error}), expected a .ttf, .otf or .ttc file.") from error
    shipped = [path for project, name in _SHIPPED if (path := _shipped(project, name)) is not None]
    return [*([given] if given else []), *shipped, None, *_installed()]


def _shipped(project: str, name: str) -> Path | None:
    """A font file in an installed package, found without importing it."""
    found = importlib.util.find_spec(project)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / name
    return path if path.is_file() else None


def _folders() -> list[Path]:
    """Where Linux, macOS and Windows keep fonts."""
    home, windows = Path.home(), os.environ.get("WINDIR", "")
    places = ["/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts"]
    folders = [home / ".fonts", home / ".local/share/fonts", home / "Library/Fonts", *map(Path, places)]
    return [*folders, Path(windows) / "Fonts"] if windows else folders


@functools.cache
def _installed() -> tuple[Path, ...]:
    """The system's fonts, upright sans-serif ones first: they are read best at small sizes."""
    found = [
        path
        for folder in _folders()
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
    ]

    def unlike(path: Path) -> tuple[bool, bool, str]:
        name = path.name.lower()
        return ("italic" in name or "oblique" in name or "mono" in name, "sans" not in name, name)

    return tuple(sorted(found, key=unlike))


@functools.cache
def _lacking(path: Path | None, letters: str) -> str:
    """Those of `letters` that the font draws as nothing, or as what it draws for a character that does not exist."""
    try:
        font = ImageFont.load_default(_TRIED_AT) if path is None else ImageFont.truetype(str(path), _TRIED_AT)
        missing = bytes(font.getmask(_NO_CHARACTER))
        return "".join(
            letter for letter in letters if not letter.isspace() and bytes(font.getmask(letter)) in (missing, b"")
        )
    except (OSError, ValueError):  # a file that is no font after all, or one that Pillow cannot draw with
        return letters
