# SPDX-License-Identifier: Apache-2.0
"""The catalogue: every record is complete and fits the network, the passes and the other records it names."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from facepipe.catalogue import DETECTORS, EMBEDDERS, MODELS, detector_models, embedder, model
from facepipe.errors import DataError
from facepipe.metrics.far_thresholds import WITHIN
from facepipe.specs import VERDICT_FAR, Address, ModelSpec, Recipe, WheelMember

EVERY_MODEL = pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.name)


def test_the_models_that_facepipe_promises_are_there() -> None:
    promised = ["pnet", "rnet", "onet", "facenet.vggface2", "facenet.casia", "facenet.seeded", "mobilefacenet.ms1m"]
    assert [name for name in promised if name not in MODELS] == []
    assert list(MODELS) == [spec.name for spec in MODELS.values()]


@EVERY_MODEL
def test_the_weights_have_a_name_a_licence_and_a_digest_of_the_right_form(spec: ModelSpec) -> None:
    weights = spec.weights
    assert "/" not in weights.file
    assert weights.licence
    assert weights.sha256 is None or re.fullmatch("[0-9a-f]{64}", weights.sha256)
    assert (weights.size is None) <= (weights.sha256 is None)  # whoever knew the digest knew the size
    if isinstance(weights.origin, WheelMember):
        assert re.fullmatch("[0-9a-f]{64}", weights.origin.sha256)
    if isinstance(weights.origin, Address):
        assert weights.origin.url.startswith("https://")


def test_no_two_models_share_a_weight_file_or_an_onnx_file() -> None:
    counts = Counter(spec.weights.file for spec in MODELS.values())
    assert [file for file, count in counts.items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z0-9.\-]+", name) for name in MODELS)


@EVERY_MODEL
def test_the_axes_are_sensible(spec: ModelSpec) -> None:
    assert len(spec.inputs) == 1
    assert len(spec.input.dims) == 4
    assert str(spec.input.dims[1]) == "3"
    names = [tensor.name for tensor in (*spec.inputs, *spec.outputs)]
    assert len(set(names)) == len(names)
    for tensor in (*spec.inputs, *spec.outputs):
        assert all(1 <= dim.low <= dim.high for dim in tensor.dims)
        moving = [dim.name for dim in tensor.dims if not dim.is_fixed]
        assert len(set(moving)) == len(moving), "equal names would mean equal sizes"
        assert tensor.dims[0] == spec.input.dims[0], "what goes in as N rows comes out as N rows"


@EVERY_MODEL
def test_the_opset_is_one_that_ascends_compiler_documents(spec: ModelSpec) -> None:
    assert 11 <= spec.opset <= 17


@EVERY_MODEL
def test_pixels_are_normalised_to_a_few_units(spec: ModelSpec) -> None:
    for mean, scale in zip(spec.pixels.mean, spec.pixels.scale, strict=True):
        assert 0 <= mean <= 255
        assert abs((0 - mean) * scale) <= 255
        assert scale > 0


@pytest.mark.parametrize("name", EMBEDDERS)
def test_an_embedder_says_how_faces_are_aligned_to_its_input(name: str) -> None:
    spec = embedder(name)
    assert spec.alignment is not None
    assert [dim.low for dim in spec.input.dims[2:]] == [spec.alignment.size] * 2
    assert len(spec.outputs) == 1
    assert len(spec.outputs[0].dims) == 2


@EVERY_MODEL
def test_thresholds_are_cosines_with_intervals_and_a_source_and_never_of_seeded_weights(spec: ModelSpec) -> None:
    if spec.thresholds is not None:
        rates, similarities = zip(*((one.far, one.similarity) for one in spec.thresholds.rates), strict=True)
        assert sorted(rates, reverse=True) == list(rates) and sorted(similarities) == list(similarities)
        assert VERDICT_FAR in rates
        for one in spec.thresholds.rates:
            assert -1 < one.similarity < 1 and float(np.float32(one.similarity)) == one.similarity
            assert one.far / WITHIN <= one.low <= one.far <= one.high <= one.far * WITHIN
        assert spec.thresholds.source
        assert spec.for_accuracy
    assert spec.for_accuracy is not isinstance(spec.weights.origin, Recipe)
    if spec.linking is not None:  # groups are not joined by what one pair of strangers in a hundred has
        assert spec.thresholds is not None and spec.thresholds.rates[0].similarity < spec.linking < 1


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_made_of_detecting_models(name: str) -> None:
    assert [spec.task for spec in detector_models(name)] == ["detect"] * len(DETECTORS[name])


@EVERY_MODEL
def test_network_passes_and_recipe_exist(spec: ModelSpec) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from facepipe.convert.onnx.passes import PASSES
    from facepipe.networks import build
    from facepipe.networks.seeded import RECIPES

    with torch.device("meta"):  # its form alone, no numbers
        assert list(build(spec.network).parameters())
    assert [name for name in spec.passes if name not in PASSES] == []
    if isinstance(spec.weights.origin, Recipe):
        assert spec.weights.origin.name in RECIPES


@EVERY_MODEL
def test_the_network_returns_what_the_catalogue_says(spec: ModelSpec) -> None:
    torch = pytest.importorskip("torch")
    from facepipe.networks import build

    sizes = [min(dim.high, max(3, 2 * dim.low)) if not dim.is_fixed else dim.low for dim in spec.input.dims]
    with torch.device("meta"), torch.no_grad():  # shapes alone: nothing is computed
        outputs = build(spec.network)(torch.empty(sizes))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert len(outputs) == len(spec.outputs)
    for tensor, output in zip(spec.outputs, outputs, strict=True):
        assert len(output.shape) == len(tensor.dims), tensor.name
        assert all(d.low <= size <= d.high for d, size in zip(tensor.dims, output.shape, strict=True)), tensor.name


@pytest.mark.parametrize(
    ("look_up", "name", "message"),
    [
        (model, "pnett", r"model 'pnett' is not in the catalogue, expected one of pnet, .*did you mean 'pnet'\?"),
        (embedder, "facenet.vggface", r"embedder 'facenet.vggface' is not known.*did you mean 'facenet.vggface2'\?"),
        (embedder, "pnet", "embedder 'pnet' is not known"),
        (detector_models, "mtcn", r"detector 'mtcn' is not known.*did you mean 'mtcnn'\?"),
        (model, "zzzzzz", "model 'zzzzzz' is not in the catalogue"),
    ],
)
def test_an_unknown_name_lists_the_choices_and_guesses(look_up: object, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        look_up(name)  # type: ignore[operator]
