# SPDX-License-Identifier: Apache-2.0
"""PyTorch's older files: read to the bit as torch reads them, anything else refused in words, in bounded memory."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.datasets.torch_file import MAGIC, VERSION, read_torch_file  # noqa: E402
from facepipe.errors import DataError  # noqa: E402


def saved(state: object) -> bytes:
    """As torch.save wrote it before PyTorch 1.6."""
    content = io.BytesIO()
    torch.save(state, content, _use_new_zipfile_serialization=False)
    return content.getvalue()


def small() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2), torch.nn.PReLU(2), torch.nn.Linear(3, 2)).state_dict()


GOOD = saved(small())


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        read_torch_file(content, "net.pt")
    assert str(caught.value).startswith("net.pt: ")
    return str(caught.value)


def same(content: bytes, state: dict[str, torch.Tensor]) -> bool:
    found = read_torch_file(content, "net.pt")
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()} == {key: a.shape for key, a in found.items()}
    return shapes and all(np.array_equal(tensor.numpy(), found[key]) for key, tensor in state.items())


def test_a_state_dict_is_read_with_torchs_names_shapes_and_bits() -> None:
    assert same(GOOD, small())


def test_a_tensor_that_lies_turned_or_in_the_middle_of_its_block_is_read_as_torch_has_it() -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    state = {
        "turned": whole.permute(2, 0, 1),
        "part": torch.arange(10, dtype=torch.float32)[3:7],
        "one": torch.ones(()),
    }
    assert same(saved(state), state)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_the_published_weights_are_read_as_torch_reads_them(weights_dir: Path, name: str) -> None:
    path = weights_dir / MODELS[name].weights.file
    assert same(path.read_bytes(), torch.load(path, map_location="cpu", weights_only=True))


@pytest.mark.parametrize("end", [0, 3, 15, 60, 200, len(GOOD) - 20, len(GOOD) - 1])
def test_a_truncated_file_is_refused(end: int) -> None:
    assert "Try: " in refusal(GOOD[:end])


def test_what_lies_behind_the_end_is_refused() -> None:
    assert "has 3 bytes behind its last block" in refusal(GOOD + b"abc")


def test_the_form_of_today_is_refused() -> None:
    content = io.BytesIO()
    torch.save(small(), content)
    refusal(content.getvalue())


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"a": torch.ones(2, dtype=torch.float64)}, "it names 'torch.DoubleStorage'"),
        ({"a": torch.ones(2, dtype=torch.int64)}, "it names 'torch.LongStorage'"),
        ({"a": 1}, "it holds more than tensors by name"),
        ([torch.ones(2)], "it holds more than tensors by name"),
        ({"epoch": 3, "state_dict": small()}, "it holds more than tensors by name"),
        ({"a": torch.tensor([1.0, float("nan")])}, "'a' has numbers that are not finite"),
        ({"a": torch.ones(0)}, "'a' does not lie in its block of numbers"),
        (torch.nn.Linear(2, 2), "it names 'torch.nn.modules.linear.Linear'"),
    ],
)
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_other_contents_are_refused_by_what_they_are(state: object, told: str) -> None:
    assert told in refusal(saved(state))


class _Stored:
    """Pickles as torch's call, with any numbers."""

    def __init__(self, storage: tuple[object, ...], *rest: object) -> None:
        self.storage, self.rest = storage, rest


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value.storage if isinstance(value, _Storage) else None

    def reducer_override(self, value: object) -> object:
        if isinstance(value, _Stored):
            return torch._utils._rebuild_tensor_v2, (_Storage(value.storage), *value.rest)
        return NotImplemented


class _Storage:
    def __init__(self, storage: tuple[object, ...]) -> None:
        self.storage = storage


FOUR = (4).to_bytes(8, "little") + bytes(4 * 4)
THOUSAND = (1000).to_bytes(8, "little") + bytes(1000 * 4)


def written(state: object, names: object = ("b",), blocks: bytes = FOUR, **facts: object) -> bytes:
    """A file of any content, with one block of four zeros."""
    content = io.BytesIO()
    machine = {"protocol_version": VERSION, "little_endian": facts.get("little", True), "type_sizes": {}}
    for value in (facts.get("magic", MAGIC), VERSION, machine, state, list(names)):
        _Pickler(content, 2).dump(value)
    return content.getvalue() + blocks


def stored(count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], name: str = "b") -> _Stored:
    where = ("storage", torch.FloatStorage, name, "cpu", count, None)
    return _Stored(where, offset, shape, strides, False, OrderedDict())


def test_what_the_hostile_files_are_made_with_makes_good_ones_too() -> None:
    found = read_torch_file(written({"a": stored(4, 0, (2, 2), (2, 1))}), "net.pt")
    assert np.array_equal(found["a"], np.zeros((2, 2), np.float32))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (written({"a": stored(4, 1, (4,), (1,))}), "'a' does not lie in its block"),
        (written({"a": stored(4, 0, (2, 3), (3, 1))}), "'a' does not lie in its block"),
        (written({"a": stored(4, 0, (1 << 20, 4), (0, 1))}), "its tensors have more numbers than the file"),
        (written(dict.fromkeys("abcdef", stored(1000, 0, (1000,), (1,))), blocks=THOUSAND), "its tensors have more"),
        (written({"a": stored(4, 0, (-1,), (1,))}), "a shape that is none"),
        (written({"a": stored(4, 0, (2,), (-1,))}), "a shape that is none"),
        (written({"a": stored(4, -1, (2,), (1,))}), "a shape that is none"),
        (written({"a": stored(4, 0, (2, 2), (1,))}), "a shape that is none"),
        (written({"a": stored(9, 0, (4,), (1,))}), "'a' has no block of 9 numbers"),
        (written({"a": stored(4, 0, (4,), (1,), "c")}), "'a' has no block of 4 numbers"),
        (written({"a": stored(4, 0, (4,), (1,))}, blocks=b"\xff" * 8), "ends within a block of numbers"),
        (written({"a": stored(4, 0, (4,), (1,))}, blocks=b""), "ends within a block of numbers"),
        (written({"a": stored(4, 0, (4,), (1,))}, names=[3]), "its blocks of numbers have no names"),
        (written({"a": stored(4, 0, (4,), (1,))}, magic=1), "begins with '1', expected PyTorch's form before 1.6"),
        (written({"a": stored(4, 0, (4,), (1,))}, little=False), "its numbers are not little endian"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_in_bounded_memory(content: bytes, told: str) -> None:
    tracemalloc.start()
    try:
        assert told in refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 50 * len(content) + 1_000_000
    finally:
        tracemalloc.stop()


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (self.path,)


def test_a_file_that_runs_code_is_refused_before_anything_happens(tmp_path: Path) -> None:
    evil = saved({"a": torch.ones(2), "b": _Touch(tmp_path / "made")})
    assert "it names '" in refusal(evil)
    assert not (tmp_path / "made").exists()


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_file_is_an_error_of_ours_or_arrays(data: st.DataObject) -> None:
    whole = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_torch_file(bytes(whole), "net.pt")
    except DataError as error:
        assert "net.pt" in str(error)
