# SPDX-License-Identifier: Apache-2.0
"""Outputs of three tools back to embeddings by key, and every way in which a folder of outputs can be wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from facepipe.cli import main
from facepipe.errors import StageError
from facepipe.runs.unpack import newest_timed_folder, unpack
from facepipe.store.bins import BinTensor, batches_of, write_bins

KEYS = tuple(f"person {number % 3}/photo{number}.jpg" for number in range(11))
BATCH, WIDTH = 4, 6
STEMS = ("000000", "000001", "000002")
NAMES: dict[str, Callable[[str], str]] = {
    "msame": lambda stem: f"{stem}_output_0",
    "ais_bench": lambda stem: f"{stem}_0",
    "benchmark": lambda stem: f"{stem}_1",
}


def embedding(key: str) -> np.ndarray:
    return np.random.default_rng(KEYS.index(key)).normal(size=WIDTH).astype(np.float32)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    def load(keys: Sequence[str]) -> np.ndarray:
        return np.zeros((len(keys), 1), np.float32)

    tensor = BinTensor("image", "float32", "NCHW", (BATCH, 1))
    write_bins(tmp_path / "packed", batches_of(KEYS, BATCH), load, tensor, {})
    return tmp_path / "packed"


def make_outputs(folder: Path, name_of: Callable[[str], str], text: bool = False, dtype: str = "float32") -> Path:
    """What a tool would write: whole batches, with nonsense in the rows of padding."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, keys in zip(STEMS, batches_of(KEYS, BATCH), strict=True):
        rows = np.full((BATCH, WIDTH), 9, dtype)
        rows[: len(keys)] = [embedding(key) for key in keys]
        if text:
            (folder / f"{name_of(stem)}.txt").write_text(" \n".join(f"{value:.9g}" for value in rows.ravel()))
        else:
            (folder / f"{name_of(stem)}.bin").write_bytes(rows.tobytes())
    return folder


@pytest.mark.parametrize("text", [False, True], ids=["BIN", "TXT"])
@pytest.mark.parametrize("tool", list(NAMES))
def test_every_tool_and_format_gives_the_same_embeddings_by_key(
    tmp_path: Path, packed: Path, tool: str, text: bool
) -> None:
    found = unpack(packed, make_outputs(tmp_path / "out", NAMES[tool], text), width=WIDTH)
    assert found.tool == tool and found.keys == KEYS
    assert found.rows.dtype == np.float32
    assert np.array_equal(found.rows, np.stack([embedding(key) for key in KEYS]))


def test_half_precision_outputs_are_read_when_asked_for(tmp_path: Path, packed: Path) -> None:
    out = make_outputs(tmp_path / "out", NAMES["msame"], dtype="float16")
    assert np.allclose(unpack(packed, out, dtype="float16").rows[3], embedding(KEYS[3]), atol=2e-3)
    with pytest.raises(StageError, match=r"48 bytes of float32, expected 96 \(4 x 6\)"):
        unpack(packed, out, width=WIDTH)


def test_outputs_in_device_folders_are_read_together(tmp_path: Path, packed: Path) -> None:
    out = make_outputs(tmp_path / "out", NAMES["ais_bench"])
    (tmp_path / "out/device0").mkdir()
    (tmp_path / "out/device1").mkdir()
    shutil.move(out / "000000_0.bin", out / "device1/000000_0.bin")
    shutil.move(out / "000002_0.bin", out / "device0/000002_0.bin")
    (out / "000001_0.bin").rename(out / "device0/000001_0.bin")
    assert np.array_equal(unpack(packed, out).rows[0], embedding(KEYS[0]))


def test_of_several_outputs_the_asked_one_is_read(tmp_path: Path, packed: Path) -> None:
    for tool, first in (("ais_bench", 0), ("benchmark", 1)):
        out = make_outputs(tmp_path / tool, lambda stem, n=first + 1: f"{stem}_{n}")
        for stem in STEMS:
            (out / f"{stem}_{first}.bin").write_bytes(np.zeros((BATCH, 2), np.float32).tobytes())
        found = unpack(packed, out, position=1)
        assert found.tool == tool and np.array_equal(found.rows[10], embedding(KEYS[10]))
        assert unpack(packed, out, position=0).rows.shape == (11, 2)


def test_the_newest_run_is_told_by_time_and_not_by_name(tmp_path: Path, packed: Path) -> None:
    names = ("2026119_9_5_7_123", "20261110_10_0_0_5", "2026_11_09-10_00_00", "20261123_1_1_1_1")
    for age, name in enumerate(names):
        folder = make_outputs(tmp_path / "out" / name, NAMES["msame"])
        os.utime(folder, ns=(0, 10**9 * (100 - age)))
    assert newest_timed_folder(tmp_path / "out").name == names[0]
    assert unpack(packed, tmp_path / "out").keys == KEYS
    os.utime(tmp_path / "out" / names[3], ns=(0, 10**9 * 100))
    with pytest.raises(StageError, match="are equally new"):
        newest_timed_folder(tmp_path / "out")


def test_a_missing_output_is_named(tmp_path: Path, packed: Path) -> None:
    out = make_outputs(tmp_path / "out", NAMES["msame"])
    (out / "000001_output_0.bin").unlink()
    with pytest.raises(StageError, match=r"1 of 3 outputs are missing \(first: of 000001\.bin\)"):
        unpack(packed, out)
    with pytest.raises(StageError, match="3 of 3 outputs are missing"):
        unpack(packed, make_outputs(tmp_path / "b", NAMES["msame"]), position=1)
    with pytest.raises(StageError, match="no such folder"):
        unpack(packed, tmp_path / "absent")


def test_a_foreign_output_is_named(tmp_path: Path, packed: Path) -> None:
    out = make_outputs(tmp_path / "out", NAMES["msame"])
    (out / "000003_output_0.bin").write_bytes(b"x")
    with pytest.raises(StageError, match=r"000003_output_0\.bin: is not an output of the 3 packed files"):
        unpack(packed, out)
    (out / "000003_output_0.bin").rename(out / "000001_0.bin")
    with pytest.raises(StageError, match="outputs of msame and of another tool"):
        unpack(packed, out)
    (out / "000001_0.bin").rename(out / "msame.log")
    assert unpack(packed, out).keys == KEYS, "a log beside the outputs does no harm"


@pytest.mark.parametrize("length", [0, 95, 92, 192, 120])
def test_an_output_of_the_wrong_length_is_refused(tmp_path: Path, packed: Path, length: int) -> None:
    out = make_outputs(tmp_path / "out", NAMES["msame"])
    (out / "000001_output_0.bin").write_bytes(b"\0" * length)
    with pytest.raises(StageError, match=rf"000001_output_0\.bin: {length} bytes of float32, expected 96"):
        unpack(packed, out, width=WIDTH)
    with pytest.raises(StageError, match=rf"000001_output_0\.bin: {length} bytes"):
        unpack(packed, out)  # the first file has settled D


def test_numbers_that_are_none_are_refused(tmp_path: Path, packed: Path) -> None:
    out = make_outputs(tmp_path / "out", NAMES["msame"])
    rows = np.zeros((BATCH, WIDTH), np.float32)
    rows[2, 5] = np.nan
    (out / "000001_output_0.bin").write_bytes(rows.tobytes())
    with pytest.raises(StageError, match=f"the embedding of '{KEYS[6]}' is not finite"):
        unpack(packed, out)
    text = make_outputs(tmp_path / "text", NAMES["msame"], text=True)
    (text / "000001_output_0.txt").write_text("1 2 three")
    with pytest.raises(StageError, match="is not numbers apart by blanks"):
        unpack(packed, text)


def test_a_padding_row_that_is_not_finite_does_no_harm(tmp_path: Path, packed: Path) -> None:
    out = make_outputs(tmp_path / "out", NAMES["msame"])
    rows = np.fromfile(out / "000002_output_0.bin", np.float32).reshape(BATCH, WIDTH)
    rows[3] = np.nan
    (out / "000002_output_0.bin").write_bytes(rows.tobytes())
    assert len(unpack(packed, out).rows) == 11


def test_the_command_writes_unit_rows_and_their_keys(
    tmp_path: Path, packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = make_outputs(tmp_path / "out", NAMES["benchmark"])
    arguments = ["unpack", "--packed", str(packed), "--outputs", str(out), "--out", str(tmp_path / "e")]
    assert main(arguments) == 0
    assert "11 embeddings of 6 numbers from benchmark's files" in capsys.readouterr().out
    rows = np.load(tmp_path / "e/embeddings.npy")
    assert json.loads((tmp_path / "e/keys.json").read_text())["keys"] == list(KEYS)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.allclose(rows[4], embedding(KEYS[4]) / np.linalg.norm(embedding(KEYS[4])), atol=1e-6)
    (out / "000000_1.bin").unlink()
    assert main(arguments) == 1
    assert "1 of 3 outputs are missing" in capsys.readouterr().err
