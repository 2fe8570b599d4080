# SPDX-License-Identifier: Apache-2.0
"""The .bin folder: round trip, padding, resume, and every way in which it can be wrong."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_rows import read_bins

from facepipe.errors import StageError, TensorError
from facepipe.store.bins import (
    BinTensor,
    batches_of,
    check_files,
    pad_batch,
    read_batch,
    read_index,
    write_bins,
)
from facepipe.store.files import read_json, write_json
from facepipe.store.owned import RECORD, claim

KEYS = tuple(f"Zoë Ünal/photo {number}.jpg" for number in range(7))


def tensor_of(batch: int, dtype: str = "float32") -> BinTensor:
    return BinTensor("image", dtype, "NCHW", (batch, 3, 2, 2))


def row_of(key: str, dtype: str = "float32") -> np.ndarray:
    """One image's content: depends on its key alone."""
    seed = int.from_bytes(key.encode()[-6:], "big")
    return np.random.default_rng(seed).integers(0, 255, (3, 2, 2)).astype(dtype)


def load(keys: Sequence[str]) -> np.ndarray:
    return np.stack([row_of(key) for key in keys])


def pack(folder: Path, keys: Sequence[str] = KEYS, batch: int = 3, made_from: str = "a", force: bool = False) -> None:
    write_bins(folder, batches_of(keys, batch), load, tensor_of(batch), {"crops": made_from}, force=force)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All but the record of what was written, which has a line for each time."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("batch", range(1, 34))
def test_packing_and_reading_is_the_identity_for_every_batch(tmp_path: Path, batch: int) -> None:
    keys = [f"{number}.png" for number in range(37)]
    pack(tmp_path, keys, batch)
    back = [(key, row) for names, rows in read_bins(tmp_path) for key, row in zip(names, rows, strict=True)]
    assert [key for key, _ in back] == keys
    assert all(np.array_equal(row, row_of(key)) and row.dtype == np.float32 for key, row in back)
    assert len(list((tmp_path / "bins").iterdir())) == -(-37 // batch)


@settings(max_examples=60)
@given(count=st.integers(1, 33), batch=st.integers(1, 33), dtype=st.sampled_from(["float32", "float16", "uint8"]))
def test_a_batch_is_padded_with_zeros_in_its_own_dtype(count: int, batch: int, dtype: str) -> None:
    rows = np.ones((count, 2), dtype)
    if count > batch:
        with pytest.raises(TensorError, match=f"{count} rows, expected 1 to {batch}"):
            pad_batch(rows, batch)
        return
    padded = pad_batch(rows, batch)
    assert padded.dtype == rows.dtype and padded.shape == (batch, 2)
    assert padded[:count].all() and not padded[count:].any()


def test_every_file_of_a_folder_has_the_same_length_the_last_one_too(tmp_path: Path) -> None:
    pack(tmp_path)
    assert {path.stat().st_size for path in (tmp_path / "bins").iterdir()} == {3 * 12 * 4}


def test_no_batch_spans_two_shards(tmp_path: Path) -> None:
    batches = batches_of(KEYS[:4], 3) + batches_of(KEYS[4:], 3)
    index = write_bins(tmp_path, batches, load, tensor_of(3), {})
    assert [len(file.keys) for file in index.files] == [3, 1, 3]
    assert index.keys == KEYS


def test_uint8_rows_in_nhwc_are_stored_as_they_are(tmp_path: Path) -> None:
    tensor = BinTensor("image", "uint8", "NHWC", (2, 2, 2, 3))
    rows = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    write_bins(tmp_path, [("a", "b")], lambda _: rows, tensor, {})
    assert (tmp_path / "bins/000000.bin").read_bytes() == rows.tobytes()
    ((keys, back),) = read_bins(tmp_path)
    assert keys == ("a", "b") and np.array_equal(back, rows) and read_index(tmp_path).tensor == tensor


def test_a_second_run_changes_nothing_and_loads_nothing(tmp_path: Path) -> None:
    pack(tmp_path)
    before = bytes_of(tmp_path)

    def refuse(keys: Sequence[str]) -> np.ndarray:
        raise AssertionError("a whole file was computed again")

    write_bins(tmp_path, batches_of(KEYS, 3), refuse, tensor_of(3), {"crops": "a"})
    assert bytes_of(tmp_path) == before


def test_an_interrupted_run_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    pack(tmp_path / "whole")
    loaded: list[tuple[str, ...]] = []

    def fail_at_the_second(keys: Sequence[str]) -> np.ndarray:
        loaded.append(tuple(keys))
        if len(loaded) == 2:
            raise KeyboardInterrupt
        return load(keys)

    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        write_bins(cut, batches_of(KEYS, 3), fail_at_the_second, tensor_of(3), {"crops": "a"})
    with pytest.raises(StageError, match="begun and not finished"):
        read_index(cut)
    loaded = [()] * 5
    write_bins(cut, batches_of(KEYS, 3), fail_at_the_second, tensor_of(3), {"crops": "a"})
    assert loaded[5:] == [KEYS[3:6], KEYS[6:]]
    assert bytes_of(cut) == bytes_of(tmp_path / "whole")


def test_a_damaged_file_is_found_and_written_again_once_it_is_gone(tmp_path: Path) -> None:
    pack(tmp_path)
    before = bytes_of(tmp_path)
    damaged = bytearray(before["bins/000001.bin"])
    damaged[5] ^= 1
    (tmp_path / "bins/000001.bin").write_bytes(bytes(damaged))
    (tmp_path / "bins/000002.bin").write_bytes(b"short")
    index = read_index(tmp_path)
    with pytest.raises(StageError, match=r"000001\.bin: sha256 is .*, expected"):
        read_batch(tmp_path, index, index.files[1])
    for name in ("000001.bin", "000002.bin"):
        with pytest.raises(StageError, match=rf"{name}: is not as facepipe wrote it.* Try: move it away"):
            pack(tmp_path)
        (tmp_path / "bins" / name).unlink()
    pack(tmp_path)
    assert bytes_of(tmp_path) == before


def test_another_plan_is_refused_by_name_and_forced_on_request(tmp_path: Path) -> None:
    pack(tmp_path)
    with pytest.raises(StageError, match=r"begun with made_from\.crops=a, this run asks for b"):
        pack(tmp_path, made_from="b")
    with pytest.raises(StageError, match=r"begun with tensor\.shape=\[3, 3, 2, 2\], this run asks for \[2, 3, 2, 2\]"):
        pack(tmp_path, batch=2)
    with pytest.raises(StageError, match="begun with keys=7, this run asks for 6"):
        pack(tmp_path, keys=KEYS[:6])
    pack(tmp_path, keys=KEYS[:2], batch=2, force=True)
    assert sorted(path.name for path in (tmp_path / "bins").iterdir()) == ["000000.bin"]
    assert read_index(tmp_path).keys == KEYS[:2]


def test_a_file_of_double_length_is_told_from_a_short_one(tmp_path: Path) -> None:
    pack(tmp_path)
    path = tmp_path / "bins/000002.bin"
    path.write_bytes(np.zeros((3, 3, 2, 2), np.float64).tobytes())
    with pytest.raises(StageError, match=r"288 bytes, expected 144 .*padded in float64"):
        list(read_bins(tmp_path))
    path.write_bytes(b"")
    with pytest.raises(StageError, match=r"000002\.bin: 0 bytes, expected 144"):
        list(read_bins(tmp_path))


def test_a_missing_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    pack(tmp_path)
    (tmp_path / "bins/000001.bin").unlink()
    with pytest.raises(StageError, match=r"000001\.bin: no such file, expected 3 rows"):
        check_files(tmp_path, read_index(tmp_path))
    pack(tmp_path)
    (tmp_path / "bins/.000009.bin.1.part").write_bytes(b"an unfinished part is no input")
    check_files(tmp_path, read_index(tmp_path))
    (tmp_path / "bins/stray.bin").write_bytes(b"")
    with pytest.raises(StageError, match=r"first: stray\.bin"):
        check_files(tmp_path, read_index(tmp_path))
    with pytest.raises(StageError, match=r"first: stray\.bin"):
        pack(tmp_path)


def test_a_folder_of_bins_without_an_index_is_not_adopted(tmp_path: Path) -> None:
    pack(tmp_path / "a")
    shutil.copytree(tmp_path / "a/bins", tmp_path / "b/bins")
    with pytest.raises(StageError, match=r"b: holds 1 entry that facepipe did not make \(first: bins\)"):
        pack(tmp_path / "b")
    claim(tmp_path / "c")
    shutil.copytree(tmp_path / "a/bins", tmp_path / "c/bins")
    with pytest.raises(StageError, match=r"bins holds 3 files of unknown origin \(first: 000000\.bin\)"):
        pack(tmp_path / "c")
    with pytest.raises(StageError, match=r"no index\.json\): it was not begun"):
        read_index(tmp_path / "b")


def test_a_key_may_occur_once_only(tmp_path: Path) -> None:
    with pytest.raises(TensorError, match="key 'a' occurs 2 times"):
        write_bins(tmp_path, [("a", "b"), ("a",)], load, tensor_of(2), {})
    assert not list(tmp_path.iterdir())


def test_rows_of_another_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorError, match=r"'image' is float64 \[2, 3, 2, 2\], expected float32 \[2, 3, 2, 2\]"):
        write_bins(tmp_path, [("a", "b")], lambda keys: load(keys).astype(np.float64), tensor_of(2), {})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda value: value.update(format="other"), "format is 'other'"),
        (lambda value: value["files"][0].update(file="../000000.bin"), "contradict"),
        (lambda value: value["files"][0].update(rows=2), "contradict"),
        (lambda value: value["files"][0].update(rows=4), "contradict"),
        (lambda value: value["files"][0].pop("sha256"), "is not an index"),
        (lambda value: value["tensor"].update(dtype="float33"), "is not an index"),
    ],
)
def test_an_index_of_another_form_is_refused(tmp_path: Path, edit, message: str) -> None:  # type: ignore[no-untyped-def]
    pack(tmp_path)
    value = read_json(tmp_path / "index.json")
    edit(value)
    write_json(tmp_path / "index.json", value)
    with pytest.raises(StageError, match=message):
        read_index(tmp_path)
