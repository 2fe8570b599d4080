# SPDX-License-Identifier: Apache-2.0
"""Eight bits on the chip: a quantised file is refused by the pre-flight and by ATC, and goes through AMCT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_networks import EMBEDDER, write_onnx
from stand_ins import stand_in

from facepipe.catalogue.chips import SOCS
from facepipe.convert.ascend.amct import deploy
from facepipe.convert.ascend.atc import Order, atc_command, om_from_onnx, orders_of
from facepipe.convert.ascend.atc_options import AtcOptions
from facepipe.convert.ascend.preflight import preflight
from facepipe.errors import ConversionError
from facepipe.store.made_from import read_record


def quantised(path: Path, scales: tuple[float, float] = (0.02, 0.02)) -> Path:
    """The small recogniser with a pair of QuantizeLinear and DequantizeLinear on its input, as onnxruntime saves it."""
    model = onnx.load(str(write_onnx(EMBEDDER, path, opset=13)))
    for name, value in zip(("s0", "s1"), scales, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero"))
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == "image":
                node.input[index] = "image.dequantised"
    pair = (
        helper.make_node("QuantizeLinear", ["image", "s0", "zero"], ["image.int8"], "quantise"),
        helper.make_node("DequantizeLinear", ["image.int8", "s1", "zero"], ["image.dequantised"], "dequantise"),
    )
    nodes = [*pair, *model.graph.node]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(path))
    return path


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    stand_in(monkeypatch)
    (one,) = orders_of(
        [EMBEDDER], tmp_path, SOCS["Ascend310P3"], "8.0", 4, "gears", (), False, "int8", False, AtcOptions()
    )
    assert one.onnx == quantised(EMBEDDER.quantised(tmp_path))
    return one


def test_a_quantised_file_is_refused_with_the_reason(order: Order, tmp_path: Path) -> None:
    found = preflight(onnx.load(str(order.onnx)), order.soc, "8.0")
    told = [one for one in found if one.rule == "eight bits"]
    assert len(told) == 2 and all("AMCT writes" in one.reason and "--precision int8" in one.repair for one in told)
    plain = onnx.load(str(order.onnx))
    del plain.opset_import[1:]
    onnx.save(plain, str(tmp_path / "plain.onnx"))
    with pytest.raises(ConversionError, match="E16002: no ONNX parser"):
        om_from_onnx(Order(EMBEDDER, tmp_path / "plain.onnx", order.om, order.soc, "8.0", 4), tmp_path / "log")


def test_eight_bits_go_through_the_vendors_quantiser(order: Order, tmp_path: Path) -> None:
    record = om_from_onnx(order, tmp_path / "log")
    assert record.facts["precision"] == "int8" and read_record(order.om) == record
    assert "--model=int8_deploy_model.onnx" in (tmp_path / "log").read_text()
    assert "--precision_mode" not in " ".join(atc_command(order))  # the rest is computed by the default
    assert {path.name for path in tmp_path.glob("*.onnx")} == {order.onnx.name}  # nothing of AMCT's stays


@pytest.mark.parametrize(
    ("scales", "told", "message"),
    [
        ((0.02, 0.03), "", "AMCT failed with exit status 1.*a pair has two scales"),
        ((0.02, 0.02), "silent", "AMCT reported success, and left no int8_deploy_model.onnx"),
    ],
)
def test_what_the_quantiser_refuses_is_one_line(
    scales: tuple[float, float], told: str, message: str, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised(order.onnx, scales)
    monkeypatch.setenv("FAKE_AMCT", told)
    with pytest.raises(ConversionError, match=message):
        om_from_onnx(order, tmp_path / "log")
    assert not order.om.exists() and not list(tmp_path.glob(".*part*"))


def test_activations_by_the_channel_are_refused_before_the_quantiser_is_asked(order: Order, tmp_path: Path) -> None:
    # As NNCF quantises the input of a depthwise convolution: weights/mobilefacenet.ms1m.int8.onnx has such ones.
    model = onnx.load(str(order.onnx))
    for tensor in model.graph.initializer:
        if tensor.name in ("s0", "s1"):
            tensor.CopyFrom(numpy_helper.from_array(np.full(3, 0.02, np.float32), tensor.name))
    onnx.save(model, str(order.onnx))
    with pytest.raises(ConversionError, match=r"1 activations have a scale for each channel \(the first at quantise\)"):
        om_from_onnx(order, tmp_path / "log")


def test_the_projects_own_quantised_facenet_is_taken(weights_dir: Path, tmp_path: Path, order: Order) -> None:
    path = weights_dir / "facenet.seeded.int8.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not there: this test needs the quantised recogniser")
    assert deploy(path, tmp_path)[0].is_file()


def test_without_the_quantiser_one_line_says_what_to_install(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(ConversionError, match=r"no module named 'amct_onnx'.*Try: the wheel amct_onnx"):
        om_from_onnx(order, tmp_path / "log")


def test_detectors_beside_it_stay_as_they_are(tmp_path: Path) -> None:
    from facepipe.catalogue import model

    made = orders_of(
        [model("rnet"), EMBEDDER],
        tmp_path,
        SOCS["Ascend310"],
        "8.0",
        4,
        "gears",
        (),
        False,
        "int8",
        False,
        AtcOptions(),
    )
    assert [one.precision for one in made] == [None, "int8"]
    assert [one.onnx.name for one in made] == ["rnet.simplified.onnx", f"{EMBEDDER.name}.int8.onnx"]
