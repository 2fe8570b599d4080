# SPDX-License-Identifier: Apache-2.0
"""Packed bins through a session and through a folder runner: the same files, resumable, refused when stale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from facepipe.backends.ascend.bin_folder import OnnxRuntimeFolder
from facepipe.errors import StageError, TensorError
from facepipe.runs.embed_stage import embed_bins, embed_folder
from facepipe.runs.unpack import unpack
from facepipe.store.bins import BinTensor, batches_of, write_bins
from facepipe.store.owned import RECORD

KEYS = tuple(f"{number}.png" for number in range(7))


def pack(folder: Path, value: float = 1.0) -> Path:
    def load(keys: Sequence[str]) -> np.ndarray:
        return np.stack([np.full((3, 2, 2), value * KEYS.index(key), np.float32) for key in keys])

    tensor = BinTensor("image", "float32", "NCHW", (3, 3, 2, 2))
    write_bins(folder, batches_of(KEYS, 3), load, tensor, {"value": value}, force=True)
    return folder


def first_and_sum(images: np.ndarray) -> tuple[np.ndarray]:
    """A network: [first pixel, 1]."""
    return (np.stack([images[:, 0, 0, 0], np.ones(len(images), np.float32)], axis=1),)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_packed_row_gets_its_own_embedding(tmp_path: Path) -> None:
    done: list[int] = []
    out = tmp_path / "out"
    embed_bins(pack(tmp_path / "packed"), out, first_and_sum, 2, {"model": "m"}, progress=done.append)
    found = unpack(tmp_path / "packed", out, width=2)
    assert found.keys == KEYS and found.rows.tolist() == [[number, 1] for number in range(7)]
    assert done == [3, 3, 1]


def test_an_interrupted_run_is_resumed_and_a_finished_one_is_kept(tmp_path: Path) -> None:
    packed, calls = pack(tmp_path / "packed"), []

    def stops_at_the_second(images: np.ndarray) -> tuple[np.ndarray]:
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return first_and_sum(images)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        embed_bins(packed, out, stops_at_the_second, 2, {"model": "m"})
    with pytest.raises(StageError, match="missing"):
        unpack(packed, out / "outputs")
    embed_bins(packed, out, stops_at_the_second, 2, {"model": "m"})
    assert len(calls) == 4, "the first batch was kept"
    embed_bins(packed, out, stops_at_the_second, 2, {"model": "m"})
    assert len(calls) == 4
    with pytest.raises(StageError, match=r"begun with made_by\.model=m, this run asks for n"):
        embed_bins(packed, out, first_and_sum, 2, {"model": "n"})
    embed_bins(packed, out, first_and_sum, 2, {"model": "n"}, force=True)


def test_outputs_of_bins_that_were_packed_again_are_refused(tmp_path: Path) -> None:
    packed, out = pack(tmp_path / "packed"), tmp_path / "out"
    embed_bins(packed, out, first_and_sum, 2, {})
    pack(packed, value=2.0)
    with pytest.raises(StageError, match="was made from other bins"):
        unpack(packed, out)
    with pytest.raises(StageError, match=r"begun with packed_sha256="):
        embed_bins(packed, out, first_and_sum, 2, {})


def test_a_network_of_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorError, match=r"the outputs are float32 \[3, 2\], expected one float32 \[3, 5\]"):
        embed_bins(pack(tmp_path / "packed"), tmp_path / "out", first_and_sum, 5, {})


def test_a_folder_runner_leaves_the_same_files_as_a_session(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the model of this test is built with onnx")
    pytest.importorskip("onnxruntime", reason="the folder runner of this test is onnxruntime")
    make, info = onnx.helper, onnx.helper.make_tensor_value_info
    graph = make.make_graph(
        [make.make_node("ReduceSum", ["image", "axes"], ["embedding"], keepdims=0)],
        "g",
        [info("image", 1, ["batch", 3, 2, 2])],
        [info("embedding", 1, ["batch", 3])],
        [make.make_tensor("axes", 7, [2], [2, 3])],
    )
    model = tmp_path / "model.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=7), model)
    packed, runner, said = pack(tmp_path / "packed"), OnnxRuntimeFolder(), list[str]()
    folder = embed_folder(packed, tmp_path / "a", runner, model, 3, {}, said.append)
    session = embed_bins(packed, tmp_path / "b", lambda images: (images.sum(axis=(2, 3)),), 3, {})
    assert bytes_of(folder) == bytes_of(session)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"outputs", "outputs.json", RECORD}
    lines = len(said)
    embed_folder(packed, tmp_path / "a", runner, model, 3, {}, said.append)
    assert len(said) == lines, "a finished folder is not run again"
    with pytest.raises(StageError, match=r"000000_output_0\.bin: has 36 bytes after the run, expected 48"):
        embed_folder(packed, tmp_path / "c", runner, model, 4, {}, said.append)
    assert not (tmp_path / "c/outputs").exists()
