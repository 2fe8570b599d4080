# SPDX-License-Identifier: Apache-2.0
"""Kinds of batch normalisation: against torch's own, and on several ranks against one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ranks import by_threads  # noqa: E402
from torch import nn  # noqa: E402

from facepipe.errors import DataError  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.train.batch_norm import set_batch_norm  # noqa: E402
from facepipe.train.processes import ALONE  # noqa: E402

SHAPES = [(5, 3), (5, 3, 4), (5, 3, 4, 2)]


def layer_of(x: torch.Tensor, **options: Any) -> nn.Module:
    """torch's layer for rows of this shape, with parameters and statistics of its own, within a network."""
    layer = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[x.dim()](x.shape[1], **options).to(x.dtype)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (layer.running_mean, layer.running_var, *layer.parameters()):
            tensor.copy_(torch.rand(tensor.shape, generator=draws, dtype=tensor.dtype) + 0.5)
    return nn.Sequential(layer)


def rows_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=dtype) + 7


def steps_of(network: nn.Module, x: torch.Tensor, steps: int = 2) -> dict[str, torch.Tensor]:
    """Outputs, gradients and statistics after some training steps, weighted so that every value matters."""
    for _ in range(steps):
        network.zero_grad()
        x = x.detach().requires_grad_()
        out = network(x)
        weights = torch.arange(x.shape[1:].numel(), dtype=x.dtype).reshape(x.shape[1:]).cos()
        (out.square() * weights * (x.detach() - 7)).sum().backward()
    gradients = {f"gradient of {name}": value.grad for name, value in network.named_parameters()}
    return {"out": out.detach(), "gradient": x.grad, **gradients, **dict(network.named_buffers())}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"eps": 0.5, "momentum": 0.3}])
def test_on_one_process_synchronised_is_torch_s_own(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    x = rows_of(shape)
    expected, network = layer_of(x, **options), layer_of(x, **options)
    assert set_batch_norm(network, "synchronised", ALONE) == 1
    assert_same(steps_of(network, x), steps_of(expected, x))
    assert_same({"out": network.eval()(x).detach()}, {"out": expected.eval()(x).detach()})


@pytest.mark.parametrize("counts", [(3, 2), (4, 0, 1), (0, 5), (1, 1, 3)])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_split_of_the_rows_has_the_statistics_of_all(counts: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """A rank whose samples are damaged brings fewer rows, or none."""
    x = rows_of(shape)
    parts = x.split(list(counts))

    def one_rank(processes: Any) -> dict[str, torch.Tensor]:
        network = layer_of(x)
        set_batch_norm(network, "synchronised", processes)
        return steps_of(network, parts[processes.rank])

    found = by_threads(len(counts), one_rank)
    expected = steps_of(layer_of(x), x)
    whole = {name: torch.cat([part[name] for part in found]) for name in ("out", "gradient")}
    sums = {name: sum(part[name] for part in found) for name in expected if name.startswith("gradient of")}
    for part in found:
        buffers = {name: value for name, value in part.items() if "running" in name or "tracked" in name}
        assert_same({**whole, **sums, **buffers}, expected)


@pytest.mark.parametrize("rows", [0, 1])
def test_one_value_or_none_moves_no_statistics_and_breaks_nothing(rows: int) -> None:
    x = rows_of((rows, 3), torch.float32)
    network, before = layer_of(x), layer_of(x)
    set_batch_norm(network, "synchronised", ALONE)
    found = steps_of(network, x)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert torch.equal(found["0.running_mean"], before[0].running_mean)
    assert torch.equal(found["0.running_var"], before[0].running_var)


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_statistics_stay_and_weights_learn(shape: tuple[int, ...]) -> None:
    x = rows_of(shape)
    network, expected = layer_of(x), layer_of(x)
    set_batch_norm(network, "frozen", ALONE)
    assert network.training and network[0].training
    assert_same(steps_of(network, x), steps_of(expected.eval(), x))
    assert network[0].weight.grad.any()


def test_half_precision_is_summed_in_float32_and_comes_back_as_it_was() -> None:
    """63 x 55 x 51 values near 100: bfloat16 has no sum of them."""
    x = (rows_of((63, 2, 55, 51), torch.float32) + 93).bfloat16()
    network, expected = nn.Sequential(nn.BatchNorm2d(2)), nn.BatchNorm2d(2)
    set_batch_norm(network, "synchronised", ALONE)
    out = network(x)
    assert out.dtype == torch.bfloat16
    np.testing.assert_allclose(out.detach().float(), expected(x.float()).detach(), rtol=2**-8, atol=1e-4)
    np.testing.assert_allclose(network[0].running_mean, expected.running_mean, rtol=1e-6)
    np.testing.assert_allclose(network[0].running_var, expected.running_var, rtol=1e-5)


@pytest.mark.parametrize(("kind", "training"), [("synchronised", True), ("frozen", False), ("local", True)])
@pytest.mark.parametrize(("name", "layers"), [("mobilefacenet_prelu", 50), ("iresnet18", 31)])
def test_a_network_keeps_its_tensors_and_their_names(name: str, layers: int, kind: str, training: bool) -> None:
    """What optimisers and state dicts hold stays the same objects."""
    with torch.device("meta"):
        network = build(name).train(training)
        names = list(network.state_dict())
        before = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        assert set_batch_norm(network, kind, ALONE) == layers
    after = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert list(after) == list(before) and all(after[key] is before[key] for key in before)
    assert list(network.state_dict()) == names
    assert all(module.training == training for module in network.modules())


def test_a_kind_can_be_given_after_another() -> None:
    x = rows_of((5, 3, 4))
    network = layer_of(x)
    for kind in ("frozen", "synchronised", "local"):
        assert set_batch_norm(network, kind, ALONE) == 1
    assert_same(steps_of(network, x), steps_of(layer_of(x), x))


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(DataError, match="batch normalisation: 'global', expected one of local, synchronised, frozen"):
        set_batch_norm(nn.Sequential(nn.BatchNorm1d(3)), "global", ALONE)
