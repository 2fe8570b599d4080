# SPDX-License-Identifier: Apache-2.0
"""dlib's recogniser beside dlib itself: fifty crops through weights that both read from one file.

The answers in dlib_seeded.npy are dlib's own, the mean of a crop's and of its mirror image's, made with dlib-bin
20.0.1.post1 by `make accept ONLY=dlib_seeded`, which writes them again and compares. The published weights, on fifty
faces, are `make accept ONLY=dlib_outputs`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from dlib_file import chips, dlib_file, seeded  # noqa: E402

from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.geometry.normalise import normalise  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.networks.dlib_resnet import DlibResNet  # noqa: E402

GOLDEN = Path(__file__).with_name("dlib_seeded.npy")


def test_the_answers_are_dlibs_within_a_hundred_thousandth(tmp_path: Path) -> None:
    expected = np.load(GOLDEN)
    path = tmp_path / "seeded.dat"
    path.write_bytes(dlib_file(seeded))
    spec = MODELS["dlib.resnet"]
    network = load(spec, path, any_digest=True).network
    with torch.inference_mode():
        found = network(torch.from_numpy(normalise(chips(len(expected)), spec.pixels))).numpy()
    assert found.shape == expected.shape == (50, 128)
    assert np.abs(found - expected).max() <= 1e-5
    apart = np.linalg.norm(expected[:, None] - expected[None], axis=2)[np.triu_indices(50, 1)]
    assert apart.min() > 1e-2, "the crops must differ enough for the comparison to tell anything"


def test_twenty_nine_convolutions_and_a_dense_layer_with_the_published_count_of_numbers() -> None:
    with torch.device("meta"):
        network = build("dlib_resnet")
    convolutions = [one for one in network.modules() if isinstance(one, torch.nn.Conv2d)]
    # Of the file's 5,614,592 numbers a factor and an offset of each channel are part of the convolutions.
    folded = sum(2 * one.out_channels for one in convolutions)
    assert len(convolutions) == 29 and sum(one.numel() for one in network.parameters()) == 5_614_592 - folded


def test_a_face_and_its_mirror_image_have_the_same_answer() -> None:
    network = DlibResNet().eval()
    image = torch.rand(2, 3, 150, 150)
    with torch.inference_mode():
        assert torch.equal(torch.matmul(image, network.reversal), image.flip(3)), "to the bit"
        assert torch.allclose(network(image), network(image.flip(3)), atol=1e-6)
        assert not torch.allclose(network.one(image), network.one(image.flip(3)), atol=1e-4)


def test_maps_of_unlike_size_are_filled_with_zeros_at_their_end() -> None:
    with torch.inference_mode():
        network = DlibResNet().eval()
        block = network.blocks[-1]  # 4x4 maps: their means have 2x2 cells, what is convolved has one
        maps = torch.rand(1, 256, 4, 4)
        found = block(maps)
        means = torch.nn.functional.avg_pool2d(maps, 2)
        convolved = block.second(torch.relu(block.first(maps)))
    assert convolved.shape[2:] == (1, 1) and found.shape[2:] == (2, 2)
    assert torch.equal(found[:, :, 0, 0], torch.relu(means[:, :, 0, 0] + convolved[:, :, 0, 0]))
    for row, column in ((0, 1), (1, 0), (1, 1)):
        assert torch.equal(found[:, :, row, column], torch.relu(means[:, :, row, column]))
