# SPDX-License-Identifier: Apache-2.0
"""docs/file-formats.md says what the code does: formats, arrays of shards, the place of an element in a bin."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from facepipe.catalogue import imported
from facepipe.compat import vendor_postprocess as rows
from facepipe.compat import vendor_preprocess as split
from facepipe.runs import embed_stage
from facepipe.runs.faces_run import SHARD_ARRAYS
from facepipe.runs.staged_run import DETECTION_ARRAYS, FACE_ARRAYS
from facepipe.store import bins, made_from, stage, tries
from facepipe.store.bins import BinTensor, write_bins
from facepipe.train import align
from facepipe.train.data import packed

PAGE = (Path(__file__).resolve().parents[1] / "docs/file-formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        bins.BINS_FORMAT,
        imported.FORMAT,
        made_from.RECORD_FORMAT,
        split.FORMAT,
        rows.FORMAT,
        tries.TRIES_FORMAT,
        align.FORMAT,
        packed.FORMAT,
    ],
)
def test_the_page_names_every_format(name: str) -> None:
    assert f'`"{name}"`' in PAGE


@pytest.mark.parametrize(
    "name", [bins.INDEX, bins.BEGUN, embed_stage.RECORD, embed_stage.OUTPUTS, "begun.json", "manifest.json"]
)
def test_the_page_names_every_file_of_a_stage(name: str) -> None:
    assert name in PAGE


def test_the_page_names_every_field_of_a_record() -> None:
    described = PAGE[PAGE.index("## A user's own model") : PAGE.index("## The vendor's files")]
    fields = {"format", "task"}.union(*imported.FIELDS.values())
    assert [field for field in sorted(fields) if f"`{field}`" not in described] == []


def test_the_page_names_the_version_of_the_shards() -> None:
    assert f"| `format` | {stage.SHARD_FORMAT} |" in PAGE


@pytest.mark.parametrize("arrays", [DETECTION_ARRAYS, FACE_ARRAYS, SHARD_ARRAYS], ids=["detection", "crop", "fused"])
def test_the_page_describes_every_array_of_a_shard(arrays: dict[str, str]) -> None:
    described = PAGE[PAGE.index("| stage | array |") : PAGE.index("`crop/images/<end of the key>.<digest>.png`")]
    for name, dtype in arrays.items():
        line = next(line for line in described.splitlines() if f"`{name}`" in line)
        assert ("text" if dtype == "<U" else dtype) in line


def test_an_element_lies_where_the_page_says(tmp_path: Path) -> None:
    assert "byte `4 * (((n * C + c) * H + y) * W + x)`" in PAGE
    shape = (4, 3, 5, 7)  # three rows are real
    _, channels, height, width = shape
    images = np.random.default_rng(0).normal(size=(3, *shape[1:])).astype(np.float32)
    tensor = BinTensor("image", "float32", "NCHW", shape)
    write_bins(tmp_path, [("a", "b", "c")], lambda _: images, tensor, {})
    content = (tmp_path / "bins/000000.bin").read_bytes()
    for n, c, y, x in ((0, 0, 0, 0), (1, 2, 4, 6), (2, 1, 3, 5)):
        place = 4 * (((n * channels + c) * height + y) * width + x)
        assert struct.unpack_from("<f", content, place)[0] == images[n, c, y, x]
    assert not any(content[4 * 3 * channels * height * width :]), "padding is zero"
