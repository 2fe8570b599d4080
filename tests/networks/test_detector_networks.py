# SPDX-License-Identifier: Apache-2.0
"""UltraFace, RetinaFace, BlazeFace: strict loading, batches, our ONNX against PyTorch and the published files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from seeded_weights import write_checkpoint  # noqa: E402

from facepipe.backends.base import open_session  # noqa: E402
from facepipe.backends.ort import OnnxRuntime  # noqa: E402
from facepipe.catalogue import MODELS, model  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.errors import TensorError, WeightsError  # noqa: E402
from facepipe.geometry.anchors import decode_boxes, face_scores, priors  # noqa: E402
from facepipe.geometry.normalise import normalise  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.specs import ModelSpec, SingleShot  # noqa: E402
from facepipe.store.files import sha256_of_file  # noqa: E402

PUBLISHED = (
    "ultraface.slim-320",
    "ultraface.slim-640",
    "ultraface.rfb-320",
    "ultraface.rfb-640",
    "retinaface.mobilenet0.25",
    "blazeface.front",
    "blazeface.back",
)


def _shot(spec: ModelSpec) -> SingleShot:
    assert spec.single_shot is not None
    return spec.single_shot


def _image(spec: ModelSpec, photograph: Path) -> np.ndarray:
    """The photograph as this network's input at its usual size: float32 [1, 3, H, W]."""
    height, width = _shot(spec).size
    with Image.open(photograph) as opened:
        small = opened.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    return normalise(np.asarray(small)[None], spec.pixels)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("ultraface.slim-320", 260_188),
        ("ultraface.rfb-320", 276_292),
        ("retinaface.mobilenet0.25", 426_608),
        ("retinaface.resnet50", 27_293_600),
        ("blazeface.front", 101_390),
        ("blazeface.back", 136_240),
    ],
)
def test_number_of_parameters_is_the_published_one(name: str, numbers: int) -> None:
    with torch.device("meta"):
        network = build(model(name).network)
    assert sum(parameter.numel() for parameter in network.parameters()) == numbers


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_load_strictly_and_the_published_digest_is_required(name: str, tmp_path: Path) -> None:
    spec = model(name)
    path = write_checkpoint(spec.network, tmp_path / "seeded.pt")
    assert load(spec, path, any_digest=True).sha256 == sha256_of_file(path)
    with pytest.raises(WeightsError, match=f"expected {spec.weights.sha256}"):
        load(spec, path)
    state = torch.load(path, weights_only=True)
    torch.save(dict(list(state.items())[1:]), path)
    with pytest.raises(WeightsError, match=r"1 \(.*\) missing"):
        load(spec, path, any_digest=True)


def test_another_detectors_weights_are_refused(tmp_path: Path) -> None:
    spec = model("ultraface.rfb-320")
    with pytest.raises(WeightsError, match=r"weights of another network than ultraface\.rfb-320"):
        load(spec, write_checkpoint("ultraface_slim", tmp_path / "slim.pt"), any_digest=True)


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.single_shot and "50" not in name])
def test_rows_are_as_many_as_priors_and_a_batch_changes_nothing(name: str) -> None:
    spec = model(name)
    height, width = (128, 160) if spec.input.dims[2].step == 32 else (130, 97)
    if spec.input.dims[2].is_fixed:
        height, width = spec.input.dims[2].low, spec.input.dims[3].low
    torch.manual_seed(0)
    network = build(spec.network)
    images = torch.rand(3, 3, height, width)
    with torch.inference_mode():
        together = network(images)
        alone = network(images[1:2])
    for tensor, all_of_them, one in zip(spec.outputs, together, alone, strict=True):
        assert all_of_them.shape == (3, len(priors(_shot(spec).priors, height, width)), tensor.dims[2].low)
        assert torch.allclose(all_of_them[1], one[0], atol=1e-5, rtol=1e-5)


@pytest.mark.weights
@pytest.mark.parametrize("name", PUBLISHED)
def test_final_onnx_equals_pytorch_on_a_photograph_alone_and_in_a_batch(
    name: str, sample: Path, seeded: Callable[..., Path]
) -> None:
    spec = model(name)
    image = _image(spec, sample / "images" / "Person_01" / "Person_01_0001.jpg")
    images = np.concatenate([image, image[:, :, :, ::-1], image * np.float32(0.5)])
    folder = seeded(name)
    network = load(spec, folder / f"{name}.pt", any_digest=True).network
    with torch.inference_mode():
        expected = [output.numpy() for output in network(torch.from_numpy(images))]
    with open_session(OnnxRuntime(), spec, spec.final(folder)) as session:
        batch = session.run(np.ascontiguousarray(images))
        alone = session.run(image)
    for tensor, reference, three, one in zip(spec.outputs, expected, batch, alone, strict=True):
        # 1e-4; and for BlazeFace, whose answers here are large, the conversion's own criterion, since one float32 step
        # at that size is more, and torch's answer changes by several with its number of threads.
        limit = max(1e-4, 1e-5 * float(np.abs(reference).max()))
        assert np.abs(three - reference).max() <= limit, tensor.name
        assert np.abs(one - reference[:1]).max() <= limit, tensor.name


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("ultraface.slim-320", "version-slim-320.onnx"),
        ("ultraface.rfb-320", "version-RFB-320.onnx"),
        ("ultraface.rfb-640", "version-RFB-640.onnx"),
    ],
)
def test_ours_agrees_with_the_published_onnx(name: str, published: str, assets: Path, weights_dir: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    theirs = onnxruntime.InferenceSession(
        str(assets / "weights" / "ultraface" / published), options, providers=["CPUExecutionProvider"]
    )
    spec = model(name)
    shot = _shot(spec)
    for photograph in ("multiface.jpg", "group_ultraface_1.jpg"):
        image = _image(spec, assets / "photos" / photograph)
        scores, boxes = theirs.run(None, {"input": image})
        with open_session(OnnxRuntime(), spec, spec.final(weights_dir)) as session:
            offsets, logits = session.run(image)
        ours = decode_boxes(offsets[0], priors(shot.priors, *shot.size), shot.code)
        assert scores[0, :, 1].max() > 0.9
        assert np.abs(face_scores(logits)[0] - scores[0, :, 1]).max() <= 1e-4
        assert np.abs(ours - boxes[0]).max() <= 1e-4


@pytest.mark.weights
def test_a_side_that_the_stride_does_not_divide_is_refused_in_words(seeded: Callable[..., Path]) -> None:
    spec = model("retinaface.mobilenet0.25")
    with (
        open_session(OnnxRuntime(), spec, spec.final(seeded(spec.name))) as session,
        pytest.raises(TensorError, match=r"is float32 \[1, 3, 250, 250\], expected .*32~8192 in steps of 32"),
    ):
        session.run(np.zeros((1, 3, 250, 250), np.float32))
