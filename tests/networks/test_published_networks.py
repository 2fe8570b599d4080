# SPDX-License-Identifier: Apache-2.0
"""PNet, RNet, ONet, InceptionResnetV1 and MobileFaceNet against the answers of other implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facepipe.assets.workspace import Workspace, locate_weights  # noqa: E402
from facepipe.backends import backend_by_name  # noqa: E402
from facepipe.backends.base import open_session  # noqa: E402
from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.metrics.parity import parity  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.networks.layers import UnitLength  # noqa: E402
from facepipe.networks.seeded import RECIPES, values_from_key  # noqa: E402

# The golden names of what our networks return, in our order; logits are softmaxed before the comparison.
MTCNN = {
    "pnet": ("box_offsets", "probabilities"),
    "rnet": ("box_offsets", "probabilities"),
    "onet": ("box_offsets", "landmarks", "probabilities"),
}


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _answers(outputs: tuple[np.ndarray, ...], name: str) -> dict[str, np.ndarray]:
    named = dict(zip(MTCNN[name], outputs, strict=True))
    return named | {"probabilities": _softmax(named["probabilities"])}


def _run_final(name: str, weights_dir: Path, image: np.ndarray) -> tuple[np.ndarray, ...]:
    spec = MODELS[name]
    with open_session(backend_by_name("onnxruntime"), spec, spec.final(weights_dir)) as session:
        return session.run(image)


@pytest.mark.parametrize("name", MTCNN)
def test_mtcnn_networks_answer_as_facenet_pytorch_does(name: str, golden: Path, weights_dir: Path) -> None:
    expected = np.load(golden / "mtcnn_nets.npz")
    spec = MODELS[name]
    path = locate_weights(spec, Workspace(weights_dir, Path("data"), None))
    image = expected[f"{name}_input"]
    with torch.inference_mode():
        of_torch = tuple(o.numpy() for o in load(spec, path).network(torch.from_numpy(image)))
    of_onnx = _run_final(name, weights_dir, image)
    for outputs, tolerance in ((of_torch, 1e-5), (of_onnx, 1e-4)):
        for key, array in _answers(outputs, name).items():
            np.testing.assert_allclose(array, expected[f"{name}_{key}"], rtol=0, atol=tolerance, err_msg=key)


def test_inception_resnet_answers_as_facenet_pytorch_does(golden: Path, weights_dir: Path) -> None:
    expected = np.load(golden / "inception_resnet_v1.npz")
    spec = MODELS["facenet.seeded"]
    pixels = expected["crops"].transpose(0, 3, 1, 2).astype(np.float32)
    image = (pixels - np.float32(spec.pixels.mean[0])) * np.float32(spec.pixels.scale[0])
    with torch.inference_mode():
        of_torch = load(spec, None).network(torch.from_numpy(image)).numpy()
    (of_onnx,) = _run_final(spec.name, weights_dir, image)
    np.testing.assert_allclose(of_torch, expected["embeddings"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(of_onnx, expected["embeddings"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(of_onnx, axis=1), 1, atol=1e-6)


def test_mobilefacenet_answers_as_its_publishers_own_onnx(assets: Path, weights_dir: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = assets / "weights" / "mobilefacenet"
    published = onnxruntime.InferenceSession(
        folder / "mobilefacenet_reference.onnx", providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32)
    expected = np.concatenate([published.run(None, {"input0": image[i : i + 1]})[0] for i in range(len(image))])
    spec = MODELS["mobilefacenet.ms1m"]
    with torch.inference_mode():
        of_torch = load(spec, folder / "mobilefacenet.pt").network(torch.from_numpy(image)).numpy()
    (of_onnx,) = _run_final(spec.name, weights_dir, image)
    assert parity(expected, of_torch).is_within(1e-5)
    assert parity(expected, of_torch).cosine >= 0.99999
    assert parity(expected, of_onnx).cosine >= 0.99999


@pytest.mark.parametrize(
    ("network", "parameters"),
    [("pnet", 6_632), ("rnet", 100_178), ("onet", 389_040), ("inception_resnet_v1", 23_482_624)],
)
def test_the_networks_have_the_published_number_of_parameters(network: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(network).parameters()) == parameters


@pytest.mark.parametrize(("side", "cells"), [(12, 1), (13, 2), (14, 2), (15, 3), (54, 22), (151, 71)])
def test_pnet_has_as_many_cells_as_its_docstring_says(side: int, cells: int) -> None:
    assert cells == -(-(side - 2) // 2) - 4
    with torch.device("meta"):
        offsets, logits = build("pnet")(torch.empty(1, 3, side, 20))
    assert offsets.shape == (1, 4, cells, 5)
    assert logits.shape == (1, 2, cells, 5)


def test_dense_layers_see_height_and_width_exchanged() -> None:
    """The published dense weights count (W, H, C); a network without the exchange has the same shapes."""
    network = build("rnet")
    seen = dict[str, np.ndarray]()

    def keep_rows(module: object, inputs: tuple) -> None:
        seen["rows"] = inputs[0].numpy()

    def keep_maps(module: object, inputs: tuple, output: object) -> None:
        seen["maps"] = output.numpy()

    network.dense4.register_forward_pre_hook(keep_rows)
    network.prelu3.register_forward_hook(keep_maps)
    with torch.inference_mode():
        network(torch.rand(2, 3, 24, 24))
    np.testing.assert_array_equal(seen["rows"], seen["maps"].transpose(0, 3, 2, 1).reshape(2, -1))


def test_rows_get_length_one_and_zeros_stay_zero() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-3, 0.0]])
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(UnitLength()(rows), expected)
    torch.testing.assert_close(UnitLength()(rows), torch.nn.functional.normalize(rows))


def test_building_gives_a_network_in_evaluation_mode() -> None:
    assert not build("inception_resnet_v1").training


def test_a_recipes_values_hang_on_the_key_alone() -> None:
    first, again = values_from_key("a.conv.weight", (4, 3)), values_from_key("a.conv.weight", (4, 3))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, values_from_key("b.conv.weight", (4, 3)))
    assert values_from_key("a.bn.num_batches_tracked", ()) == 0
    variances = values_from_key("a.bn.running_var", (100,))
    assert variances.min() >= 0.5
    assert variances.max() <= 1.5


def test_every_recipe_fits_its_network_with_the_entries_types() -> None:
    state = RECIPES["inception_resnet_v1_from_key_names"]()
    network = build("inception_resnet_v1")
    network.load_state_dict(state)
    expected = network.state_dict()
    assert {key: tensor.dtype for key, tensor in state.items()} == {key: t.dtype for key, t in expected.items()}
