# SPDX-License-Identifier: Apache-2.0
"""The Paddle port's .pdparams: read as data, entry by entry what PyTorch's own file would hold; and written."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="converting needs the extra [convert]")

from seeded_weights import write_checkpoint  # noqa: E402

from facepipe.assets.workspace import Workspace, find_weights  # noqa: E402
from facepipe.catalogue import model  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.convert.onnx.paddle_weights import paddle_state  # noqa: E402
from facepipe.errors import WeightsError  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.networks.seeded import values_from_key  # noqa: E402

SPEC = model("mobilefacenet.paddle")
NAMES = {"running_mean": "_mean", "running_var": "_variance"}


def paddle_names(state: dict[str, np.ndarray]) -> dict[str, object]:
    """A state dict as paddle.save writes it: other names, no counts, and the table of Paddle's own names."""
    found: dict[str, object] = {}
    for key, value in state.items():
        layer, _, name = key.rpartition(".")
        if name == "num_batches_tracked":
            continue
        slope = name == "weight" and f"{layer}.bias" not in state and value.ndim == 1
        found[f"{layer}.{'_weight' if slope else NAMES.get(name, name)}"] = value
    return {**found, "StructuredToParameterName@@": {key: f"p_{i}" for i, key in enumerate(found)}}


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    entries = build(SPEC.network).state_dict().items()
    return {key: np.asarray(values_from_key(key, tuple(entry.shape)), entry.numpy().dtype) for key, entry in entries}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_ports_own_file_loads_like_a_pytorch_file(
    protocol: int, state: dict[str, np.ndarray], tmp_path: Path
) -> None:
    written = paddle_names(state)
    assert {"conv1.conv.weight", "conv1.bn._mean", "conv1.prelu._weight", "blocks.0.conv.2._weight"} <= set(written)
    path = tmp_path / "MobileFaceNet_128.pdparams"
    path.write_bytes(pickle.dumps(written, protocol))
    network = load(SPEC, path).network
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(value.numpy(), state[key], err_msg=key)


def test_it_is_found_beside_the_name_of_the_pytorch_file(tmp_path: Path) -> None:
    ws = Workspace(weights=tmp_path, data=tmp_path, mirror=None)
    assert find_weights(SPEC, ws) is None
    (tmp_path / "mobilefacenet.paddle.pdparams").write_bytes(b"x")
    assert find_weights(SPEC, ws) == tmp_path / "mobilefacenet.paddle.pdparams"
    (tmp_path / "mobilefacenet.paddle.pt").write_bytes(b"x")
    assert find_weights(SPEC, ws) == tmp_path / "mobilefacenet.paddle.pt"
    fetched = replace(SPEC, weights=model("mobilefacenet.ms1m").weights)
    (tmp_path / "mobilefacenet.pdparams").write_bytes(b"x")
    assert find_weights(fetched, ws) is None, "what the catalogue fetches has one name"


class _MakesFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_would_run_code_is_refused_before_anything_runs(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps({"conv1.conv.weight": _MakesFolder(tmp_path / "made")}, protocol))
    with pytest.raises(WeightsError, match=r"w\.pdparams: it names '\w+\.mkdir'"):
        load(SPEC, path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1.0], "it holds a value of kind 'list'"),
        ({}, "it holds no plain state dict"),
        ({"a": {"b": np.zeros(1)}}, "it holds no plain state dict"),
        ({"other.weight": np.zeros(3, np.float32)}, "these are the weights of another network"),
    ],
)
def test_what_is_no_state_dict_of_this_network_is_refused(value: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps(value, 4))
    with pytest.raises(WeightsError, match=said):
        load(SPEC, path)


@pytest.mark.parametrize("name", ["mobilefacenet.paddle", "arcface.iresnet18", "mobilefacenet.ms1m"])
def test_what_is_written_comes_back_entry_by_entry(name: str, tmp_path: Path) -> None:
    spec, path = model(name), tmp_path / "w.pdparams"
    network = load(spec, write_checkpoint(spec.network, tmp_path / "seeded.pt"), any_digest=True).network
    path.write_bytes(paddle_state(network))
    back = load(spec, path, any_digest=True).network.state_dict()
    assert all(torch.equal(back[key], value) for key, value in network.state_dict().items())


def test_what_is_written_is_paddles_own_form() -> None:
    """PaddlePaddle 3.3.1 loads it strictly and answers alike, and its own table is the same: see decision 36."""
    network = build("iresnet18")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy.core, which NumPy 1 knows too
        found = pickle.loads(paddle_state(network))
    table = found.pop("StructuredToParameterName@@")
    assert list(found) == list(table)
    assert all(type(value) is np.ndarray and value.dtype == np.float32 for value in found.values())
    assert found["fc.weight"].shape == (25088, 512), "Paddle's matrices have their inputs first"
    np.testing.assert_array_equal(found["fc.weight"].T, network.state_dict()["fc.weight"].numpy())
    assert {key: table[key] for key in list(table)[:7]} == {
        "conv1.weight": "conv2d_0.w_0",
        "bn1.weight": "batch_norm2d_0.w_0",
        "bn1.bias": "batch_norm2d_0.b_0",
        "bn1._mean": "batch_norm2d_0.w_1",
        "bn1._variance": "batch_norm2d_0.w_2",
        "prelu._weight": "p_re_lu_0.w_0",
        "layer1.0.bn1.weight": "batch_norm2d_1.w_0",
    }
    assert list(table.values())[-6:-3] == ["linear_0.w_0", "linear_0.b_0", "batch_norm1d_0.w_0"]
    assert len(set(table.values())) == len(table)


def test_a_layer_that_no_recogniser_has_is_not_guessed() -> None:
    with pytest.raises(WeightsError, match="1: is a ConvTranspose2d with weights, expected one of Conv2d, Linear"):
        paddle_state(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ConvTranspose2d(3, 3, 2)))
