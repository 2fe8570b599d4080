# SPDX-License-Identifier: Apache-2.0
"""UltraFace and RetinaFace can be trained: gradients, sides that no stride divides; inference is as it was."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from facepipe.catalogue import model  # noqa: E402
from facepipe.convert.onnx.export import onnx_from_network  # noqa: E402
from facepipe.geometry.anchors import priors  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.networks.layers import rows_of_maps  # noqa: E402
from facepipe.networks.retinaface import FeaturePyramid, MobileNetQuarter  # noqa: E402

TRAINED = ("ultraface.slim-320", "ultraface.rfb-320", "retinaface.mobilenet0.25")


def test_rows_have_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(1)
    maps = [torch.rand(2, 6, *size, dtype=torch.float64, requires_grad=True) for size in ((3, 4), (2, 1))]
    assert torch.autograd.gradcheck(lambda *two: rows_of_maps(list(two), 2), maps)
    rows_of_maps(maps, 2)[1, 14, 1].backward()  # 3 priors a cell: row 14 is cell (1, 0)'s third
    places = [tuple(place.tolist()) for place in maps[0].grad.nonzero()]
    assert places == [(1, 5, 1, 0)]
    assert maps[1].grad.any().item() is False


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("size", [(64, 96), (72, 104)])
def test_a_network_in_training_has_the_gradient_of_finite_differences(name: str, size: tuple[int, int]) -> None:
    """Along one direction of all its parameters; 72x104 are maps of 9x13, 5x7 and 3x4 cells."""
    torch.manual_seed(2)
    network = build(model(name).network).double().train()
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    parts = [torch.randn_like(output) for output in network(image)]
    shot = model(name).single_shot
    assert shot is not None
    assert {part.shape[1] for part in parts} == {len(priors(shot.priors, *size))}

    def loss() -> torch.Tensor:
        return sum(((output * part).sum() for output, part in zip(network(image), parts, strict=True)), torch.zeros(()))

    loss().backward()
    ways = [torch.randn_like(parameter) for parameter in network.parameters()]
    slope = sum((one.grad * way).sum().item() for one, way in zip(network.parameters(), ways, strict=True))

    @torch.no_grad()
    def moved(by: float) -> float:
        for parameter, way in zip(network.parameters(), ways, strict=True):
            parameter.add_(way, alpha=by)
        answer = loss().item()
        for parameter, way in zip(network.parameters(), ways, strict=True):
            parameter.sub_(way, alpha=by)
        return answer

    step = 1e-9  # so small that few activations change their side on the way
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(slope, rel=1e-3)


def test_the_recipes_840_pixels_are_taken() -> None:
    """Maps of 105, 53 and 27 cells: 27 doubled are 54."""
    pyramid = FeaturePyramid(MobileNetQuarter.channels, 64).train()
    maps = tuple(
        torch.rand(2, channels, side, side)
        for channels, side in zip(MobileNetQuarter.channels, (105, 53, 27), strict=True)
    )
    assert [tuple(one.shape) for one in pyramid(maps)] == [(2, 64, side, side) for side in (105, 53, 27)]
    pyramid.eval()
    with pytest.raises(RuntimeError, match="53"):
        pyramid(maps)


def test_at_multiples_of_32_training_and_inference_grow_a_map_alike() -> None:
    pyramid = FeaturePyramid(MobileNetQuarter.channels, 64)
    coarse, finer = torch.rand(1, 64, 3, 5), torch.rand(1, 64, 6, 10)
    assert torch.equal(pyramid.train()._grown(coarse, finer), pyramid.eval()._grown(coarse, finer))


@pytest.mark.parametrize("name", TRAINED)
def test_the_exported_graph_does_not_know_of_training(name: str) -> None:
    """Maps grow by a constant factor, rows are a Reshape to (0, -1, width), and no operator reads a shape."""
    spec = model(name)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build(spec.network).eval()
    graph = onnx_from_network(network, spec).graph
    kinds = [node.op_type for node in graph.node]
    assert not {"Shape", "Gather", "Expand"} & set(kinds)
    assert kinds.count("Resize") == (2 if name.startswith("retinaface") else 0)
    assert all(len(node.input) == 3 for node in graph.node if node.op_type == "Resize")  # scales; a size is the fourth
    assert kinds.count("Reshape") == len(spec.outputs)
