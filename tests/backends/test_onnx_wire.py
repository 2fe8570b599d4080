# SPDX-License-Identifier: Apache-2.0
"""Whether an ONNX file holds its numbers, from its bytes: every place for a tensor, and bytes of any kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_networks import PNET, write_onnx

from facepipe.backends.onnx_wire import DATA_LOCATION, EXTERNAL_DATA, INSIDE, holds_its_numbers, require_whole
from facepipe.errors import BackendError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def elsewhere() -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "numbers"
    return tensor


def only_located() -> TensorProto:
    tensor = elsewhere()
    tensor.ClearField("external_data")
    return tensor


def only_named() -> TensorProto:
    tensor = elsewhere()
    tensor.ClearField("data_location")
    return tensor


def test_the_table_has_every_field_of_onnx_behind_which_there_may_be_a_tensor() -> None:
    fields = TensorProto.DESCRIPTOR.fields_by_name
    assert (fields["external_data"].number, fields["data_location"].number) == (EXTERNAL_DATA, DATA_LOCATION)
    reach: dict[str, dict[int, str]] = {"TensorProto": {}}
    every = {name: getattr(onnx, name).DESCRIPTOR for name in dir(onnx) if name.endswith("Proto")}
    grown = True
    while grown:
        grown = False
        for name, message in every.items():
            found = {
                field.number: field.message_type.name
                for field in message.fields
                if field.message_type is not None and field.message_type.name in reach
            }
            if found and reach.get(name) != found:
                reach[name], grown = found, True
    below, waiting = {"TensorProto"}, ["ModelProto"]  # of the messages that a model can hold
    while waiting:
        below.add(name := waiting.pop())
        waiting += set(reach[name].values()) - below
    assert {name: reach[name] for name in below} == {name: dict(fields) for name, fields in INSIDE.items()}


def in_an_initializer(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "g", [], [], [tensor])


def in_a_constant(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Constant", [], ["w"], value=tensor)], "g", [], [])


def in_a_branch(tensor: TensorProto) -> onnx.GraphProto:
    branch = in_an_initializer(tensor)
    return helper.make_graph(
        [helper.make_node("If", ["c"], ["x"], then_branch=branch, else_branch=branch)], "g", [], []
    )


def in_a_sparse_one(tensor: TensorProto) -> onnx.GraphProto:
    graph = helper.make_graph([], "g", [], [])
    graph.sparse_initializer.add().values.CopyFrom(tensor)
    return graph


PLACES = (in_an_initializer, in_a_constant, in_a_branch, in_a_sparse_one)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("tensor", [elsewhere, only_located, only_named])
def test_a_tensor_that_names_another_file_is_found_wherever_it_is(place: object, tensor: object) -> None:
    assert callable(place) and callable(tensor)
    assert not holds_its_numbers(helper.make_model(place(tensor())).SerializeToString())
    assert holds_its_numbers(helper.make_model(place(numpy_helper.from_array(np.zeros(3)))).SerializeToString())


def test_a_whole_network_is_whole_and_cut_anywhere_it_is_none_or_shorter(tmp_path: Path) -> None:
    content = write_onnx(PNET, tmp_path / "pnet.onnx").read_bytes()
    require_whole(content, "pnet.onnx")
    for end in range(0, len(content), 7):
        try:
            assert holds_its_numbers(content[:end])
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize(
    "content", [b"\x08\x07" + bytes(range(256)), b"\x0a\xff", b"\xff" * 20, b"\x0b", b"\x0c", b"\x07"]
)
def test_what_is_no_protobuf_message_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(BackendError, match=r"^x\.onnx: is no ONNX model \("):
        require_whole(content, Path("x.onnx"))


def test_any_bytes_are_a_verdict_or_an_error_in_words() -> None:
    rng = np.random.default_rng(0)
    whole = helper.make_model(in_a_branch(elsewhere())).SerializeToString()
    for _ in range(3000):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = int(rng.integers(0, 256))
        try:
            holds_its_numbers(bytes(damaged))
        except ValueError as error:
            assert str(error)
