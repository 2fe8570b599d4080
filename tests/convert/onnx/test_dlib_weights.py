# SPDX-License-Identifier: Apache-2.0
"""dlib's file into our network: every number at its place, another network refused by its first other layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dlib_file import SMALL, dlib_file, seeded  # noqa: E402

from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.catalogue.dlib_layers import layers  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.convert.onnx.conversion import convert_model  # noqa: E402
from facepipe.convert.onnx.dlib_weights import read_dlib_state  # noqa: E402
from facepipe.errors import WeightsError  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.specs import ModelSpec  # noqa: E402


@pytest.fixture(scope="module")
def seeded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dlib") / "seeded.dat"
    path.write_bytes(dlib_file(seeded))
    return path


def any_weights() -> ModelSpec:
    """The record without its digest, which is the published weights' alone."""
    spec = MODELS["dlib.resnet"]
    return replace(spec, weights=replace(spec.weights, sha256=None))


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_dlib_state(path)
    return str(caught.value)


def test_factors_and_offsets_become_part_of_their_convolution(seeded_file: Path) -> None:
    state = read_dlib_state(seeded_file)
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        key: tuple(value.shape) for key, value in build("dlib_resnet").state_dict().items()
    }
    weight, (factor, offset) = seeded(0, layers()[0], 4736), seeded(1, layers()[1], 64).reshape(2, 32)
    maps = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, 20, 20)).astype(np.float32))
    apart = torch.conv2d(maps, torch.from_numpy(weight[:-32].reshape(32, 3, 7, 7)), torch.from_numpy(weight[-32:]))
    apart = apart * torch.from_numpy(factor)[:, None, None] + torch.from_numpy(offset)[:, None, None]
    assert torch.allclose(
        torch.conv2d(maps, *map(torch.from_numpy, (state["stem.weight"], state["stem.bias"]))), apart, atol=1e-5
    )
    dense = seeded(len(layers()) - 1, layers()[-1], 32768)
    assert state["embedding.weight"][3, 7] == dense[7 * 128 + 3], "the file lists a row for each input"


def test_it_converts_with_parity_and_without_any_operator_that_reads_a_shape(seeded_file: Path, tmp_path: Path) -> None:
    report = convert_model(any_weights(), seeded_file, tmp_path)
    assert [step.step for step in report.steps] == ["export", "simplify"]
    assert max(step.max_abs_difference for step in report.steps) < 1e-5
    import onnx

    model = onnx.load(any_weights().final(tmp_path))
    kinds = {node.op_type for node in model.graph.node}
    expected = {"Conv", "Relu", "MaxPool", "AveragePool", "Pad", "Add", "GlobalAveragePool", "Flatten", "Mul"}
    assert kinds - {"Gemm", "MatMul"} == expected  # the dense layer is one or the other
    constants = {tensor.name for tensor in model.graph.initializer}
    assert all(node.input[1] in constants for node in model.graph.node if node.op_type == "Pad"), "fixed fillings"


def test_published_weights_are_known_by_their_digest(seeded_file: Path) -> None:
    with pytest.raises(WeightsError, match=r"sha256 is \w+, expected 55533b28.* for dlib\.resnet.*facepipe fetch"):
        load(MODELS["dlib.resnet"], seeded_file)
    assert load(MODELS["dlib.resnet"], seeded_file, any_digest=True).sha256


def test_another_network_of_dlibs_is_refused_by_its_first_other_layer(tmp_path: Path) -> None:
    told = refusal(tmp_path / "age.dat", dlib_file(seeded, SMALL))
    assert "layer 1 is con_4(2, 3, 3, 2, 2, 0, 0), expected con_4(32, 7, 7, 2, 2, 0, 0)." in told
    assert "Try: the file dlib_face_recognition_resnet_model_v1.dat" in told


@pytest.mark.parametrize(
    ("listed", "side", "told"),
    [
        (layers()[:-1], 150, "it has 107 layers, expected 108"),
        ((*layers(), ("relu_", ())), 150, "it has 109 layers, expected 108"),
        (layers(), 112, r"its input is \(112, 112\), expected \(150, 150\)"),
        ((*layers()[:-1], ("fc_2", (128, 255))), 150, r"layer 108 is fc_2\(128, 255\), expected fc_2\(128, 256\)"),
    ],
)
def test_another_form_is_refused(listed: tuple, side: int, told: str, tmp_path: Path) -> None:
    path = tmp_path / "net.dat"
    path.write_bytes(dlib_file(lambda *given: np.zeros(given[2], np.float32), listed, side))
    with pytest.raises(WeightsError, match=told):
        read_dlib_state(path)


def test_a_layer_with_other_than_its_numbers_is_refused(tmp_path: Path) -> None:
    def numbers(place: int, layer: tuple, count: int) -> np.ndarray:
        return np.zeros(count, np.float32)

    good = dlib_file(numbers)
    tensor = b"\x05con_4\x01\x02\x02\x80\x12\x01\x01\x01\x01\x01\x01" + bytes(4736 * 4)
    assert tensor in good
    short = good.replace(tensor, tensor.replace(b"\x80\x12", b"\x7f\x12")[:-4], 1)
    assert "a con_4 has 4,735 numbers, expected 4,736" in refusal(tmp_path / "net.dat", short)


def test_a_file_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.dat: cannot be opened \(No such file"):
        read_dlib_state(tmp_path / "gone.dat")
