# SPDX-License-Identifier: Apache-2.0
"""ArcFace's networks: sizes, names of the public checkpoints, strict loading."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")

from facepipe.networks import build  # noqa: E402


def _parameters(network: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(network).parameters())


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        ("mobilefacenet_prelu", 1_003_136),
        ("mobilefacenet_relu6", 999_936),
        ("iresnet18", 24_025_600),
        ("iresnet34", 34_139_328),
        ("iresnet50", 43_590_848),
        ("iresnet100", 65_156_160),
    ],
)
def test_number_of_parameters_is_the_published_one(network: str, parameters: int) -> None:
    assert _parameters(network) == parameters


def test_iresnet50_has_the_entries_of_the_public_checkpoints() -> None:
    with torch.device("meta"):
        state = build("iresnet50").state_dict()
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    expected = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    expected |= {f"{name}.{entry}" for name in ("bn1", "bn2", "features") for entry in norm}
    for stage, units in enumerate((3, 4, 14, 3), start=1):
        for unit in range(units):
            here = f"layer{stage}.{unit}"
            expected |= {f"{here}.conv1.weight", f"{here}.conv2.weight", f"{here}.prelu.weight"}
            expected |= {f"{here}.{name}.{entry}" for name in ("bn1", "bn2", "bn3") for entry in norm}
            if unit == 0:
                expected |= {f"{here}.downsample.0.weight"} | {f"{here}.downsample.1.{entry}" for entry in norm}
    assert set(state) == expected
    assert state["fc.weight"].shape == (512, 25088)
    assert state["layer1.0.downsample.0.weight"].shape == (64, 64, 1, 1)


def test_the_ports_network_has_the_ports_names() -> None:
    with torch.device("meta"):
        state = build("mobilefacenet_prelu").state_dict()
    assert {re.sub(r"\d+", "N", key.split(".")[0]) for key in state} == {"convN", "dw_convN", "blocks", "linearN"}
    assert state["blocks.5.conv.3.weight"].shape == (256, 1, 3, 3)  # the first of a group, 64 channels four times
    assert state["blocks.5.conv.6.weight"].shape == (128, 256, 1, 1)
    assert state["conv1.prelu.weight"].shape == (64,)
    assert "linear7.prelu.weight" not in state
    assert not [key for key in state if "conv.bias" in key]


@pytest.mark.parametrize(("network", "dimension"), [("mobilefacenet_prelu", 128), ("iresnet18", 512)])
def test_a_batch_gives_what_its_images_give_alone(network: str, dimension: int) -> None:
    torch.manual_seed(0)
    module = build(network)
    images = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        together = module(images)
        alone = torch.cat([module(images[:1]), module(images[1:])])
    assert together.shape == (2, dimension)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_two_mobilefacenets_refuse_each_others_weights() -> None:
    port, published = build("mobilefacenet_prelu"), build("mobilefacenet_relu6")
    with pytest.raises(RuntimeError, match="Missing key"):
        port.load_state_dict(published.state_dict())
