# SPDX-License-Identifier: Apache-2.0
"""ArcFace's networks on random weights: strict loading, conversion, and the same answers from torch and ONNX."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="converting needs the extra [convert]")
pytest.importorskip("onnxsim", reason="converting needs the extra [convert]")

from seeded_weights import write_checkpoint  # noqa: E402

from facepipe.backends.base import RuntimeOptions, open_session  # noqa: E402
from facepipe.backends.ort import OnnxRuntime  # noqa: E402
from facepipe.catalogue import model  # noqa: E402
from facepipe.convert.onnx.conversion import convert_model  # noqa: E402
from facepipe.errors import WeightsError  # noqa: E402
from facepipe.networks import build  # noqa: E402


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied at once: the files of iResNet-50 are 700 MB."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["mobilefacenet.paddle", "arcface.iresnet18", pytest.param("arcface.iresnet50", marks=pytest.mark.slow)],
)
def test_torch_and_the_final_onnx_give_the_same_embeddings(name: str, roomy: Path) -> None:
    spec = model(name)
    checkpoint = write_checkpoint(spec.network, roomy / spec.weights.file)
    report = convert_model(spec, checkpoint, roomy / "weights")
    assert [step.step for step in report.steps] == ["export", "match_prelu_slope", "simplify"]
    network = build(spec.network)
    network.load_state_dict(torch.load(checkpoint, weights_only=True), strict=True)
    images = np.random.default_rng(3).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    with open_session(OnnxRuntime(RuntimeOptions()), spec, spec.final(roomy / "weights")) as session:
        (found,) = session.run(images)
        (alone,) = session.run(images[1:2])
    assert np.abs(expected).max() > 0.1, "embeddings near zero would agree whatever the network did"
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(alone[0], found[1], rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["mobilefacenet.paddle", "arcface.iresnet18"])
def test_a_network_whose_slopes_are_all_equal_converts(name: str, roomy: Path) -> None:
    """As it comes from its constructor: every PReLU at 0.25, every scale 1, every shift 0."""
    spec = model(name)
    torch.manual_seed(0)
    network = build(spec.network)
    torch.save(network.state_dict(), roomy / spec.weights.file)
    report = convert_model(spec, roomy / spec.weights.file, roomy / "weights")
    assert report.steps[-1].cosine > 0.99999
    assert all(step.max_abs_difference < 1e-4 for step in report.steps), report.steps


def test_the_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("iresnet18", tmp_path / "arcface.iresnet34.pth")
    with pytest.raises(WeightsError, match=r"arcface\.iresnet34\.pth"):
        convert_model(model("arcface.iresnet34"), checkpoint, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_checkpoint_with_a_foreign_class_is_refused_before_anything_runs(tmp_path: Path) -> None:
    marker = tmp_path / "made"

    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(marker),)

    torch.save({"conv1.weight": Touch()}, tmp_path / "backbone.pth")
    with pytest.raises(WeightsError, match=r"backbone\.pth"):
        convert_model(model("arcface.iresnet50"), tmp_path / "backbone.pth", tmp_path / "weights")
    assert not marker.exists()
