# SPDX-License-Identifier: Apache-2.0
"""Weights as .safetensors: what the format's own library writes is read, and what is no whole file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="converting needs the extra [convert]")

from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.convert.onnx.checkpoint import load, read_state  # noqa: E402
from facepipe.errors import WeightsError  # noqa: E402
from facepipe.networks import build  # noqa: E402


def _file(header: object, body: bytes = bytes(24)) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_what_the_formats_own_library_writes_is_read(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch", reason="the format's own library writes this test's file")
    state = {f"backbone.{key}": value for key, value in build("pnet").state_dict().items()}
    path = tmp_path / "w.safetensors"
    library.save_file(state, path, {"format": "pt"})
    network = load(MODELS["pnet"], path, any_digest=True).network
    assert all(torch.equal(value, state[f"backbone.{key}"]) for key, value in network.state_dict().items())
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool)
    mixed = {str(kind): torch.tensor([[0, 1, 1]]).to(kind) for kind in kinds}
    mixed |= {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4)}
    library.save_file(mixed, path)
    back = read_state(path)
    assert set(back) == set(mixed)
    assert all(back[key].dtype == value.dtype and torch.equal(back[key], value) for key, value in mixed.items())


def test_a_file_written_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    body = torch.arange(6, dtype=torch.float32).numpy().tobytes()
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    path.write_bytes(_file({"a.weight": entry, "__metadata__": {"format": "pt"}}, body))
    assert torch.equal(read_state(path)["a.weight"], torch.arange(6.0).reshape(2, 3))


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "a header of 0 bytes in a file of 0"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "a header of 1,099,511,627,776 bytes"),
        (_file({"a": ENTRY})[:-1], "lies at 0 to 24 of 23 bytes"),
        (_file({"a": {**ENTRY, "data_offsets": [-24, 0]}}), "lies at -24 to 0"),
        (_file({"a": {**ENTRY, "shape": [2, 2]}}), "lies at 0 to 24"),
        (_file({"a": {**ENTRY, "shape": [-2, -3]}}), "has shape"),
        (_file({"a": {**ENTRY, "dtype": "F8_E4M3"}}), "'a' is F8_E4M3"),
        (_file({"a": {"dtype": "F32"}}), "no whole"),
        (_file([1]), "no whole"),
        (_file({"a": 3}), "no whole"),
        ((200_000).to_bytes(8, "little") + b"[" * 200_000, "no whole"),
        (b"\x04" + bytes(7) + b"\xff\xfe{}", "no whole"),
    ],
)
def test_what_is_no_whole_file_is_refused_in_one_line(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as refused:
        read_state(path)
    assert told in str(refused.value) and "\n" not in str(refused.value)
