# SPDX-License-Identifier: Apache-2.0
"""Small pictures of every kind, whole and damaged: read as other decoders read them, or refused in words.

`pictures/recipe.py` made the files, `pictures/expect.py` asked the other decoders, and `pictures/refused.json` says by
hand which are refused and why.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.datasets.images import decode
from facepipe.errors import DataError

HERE = Path(__file__).resolve().parent / "pictures"
FILES = sorted(path.name for path in (HERE / "files").iterdir())
REFUSED: dict[str, str] = json.loads((HERE / "refused.json").read_text())
# Damaged, and no decoder can tell: the format has no checksum, and other data is data too.
UNSEEN = {
    "zeros-from-60-percent.bmp",
    "zeros-from-60-percent.tif",
    "lossless-smooth-zeros-from-98-percent.webp",
    "one-bit-of-a-number-changed.jpg",
    "noise-in-the-middle.jpg",  # which happens to hold as many blocks, nearly, as it replaces
}
# Halves are rounded to even, where a white of 100 makes them.
WITHIN_1 = {"p2-100.pnm", "p5-100.pnm", "p6-100.pnm"}
KINDS = {".tif": "TIFF", ".png": "PNG", ".bmp": "BMP", ".gif": "GIF", ".webp": "WebP", ".pnm": "PNM", ".jpg": "JPEG"}
SHORTEST_REASON = 20


@cache
def others() -> dict[str, dict[str, list[int | str] | None]]:
    return json.loads((HERE / "decoders.json").read_text())["files"]


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_read_as_another_decoder_reads_it_or_refused(name: str) -> None:
    content = (HERE / "files" / name).read_bytes()
    if name in REFUSED:
        assert len(REFUSED[name]) >= SHORTEST_REASON
        with pytest.raises(DataError) as error:
            decode(content, "x")
        assert str(error.value).startswith(f"x: {REFUSED[name]}")
        return
    pixels = decode(content, "x")
    near = HERE / "near" / f"{name}.png"
    if near.exists():
        with Image.open(near) as image:
            expected = np.asarray(image)
        assert pixels.shape == expected.shape
        difference = np.abs(pixels.astype(int) - expected)
        assert difference.mean() <= 1
        assert difference.max() <= (1 if name in WITHIN_1 else 4)
        return
    answers = [answer for answer in others()[name].values() if answer]
    assert [*pixels.shape[:2], hashlib.sha256(pixels.tobytes()).hexdigest()] in answers


def test_every_picture_has_its_place() -> None:
    assert set(others()) == set(FILES)
    assert set(REFUSED) | UNSEEN | WITHIN_1 <= set(FILES)
    assert not set(REFUSED) & (UNSEEN | WITHIN_1)
    assert len(FILES) > 200


def test_the_table_in_the_documentation_is_this_one() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reliability.md").read_text()
    for suffix, kind in KINDS.items():
        names = {name for name in FILES if name.endswith(suffix)}
        refused, unseen = len(names & set(REFUSED)), len(names & UNSEEN)
        row = f"| {kind} | {len(names)} | {len(names) - refused - unseen} | {refused} | {unseen} |"
        assert row in page, row
