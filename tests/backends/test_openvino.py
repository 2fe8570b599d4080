# SPDX-License-Identifier: Apache-2.0
"""OpenVINO beside onnxruntime on the same files: answers, precision that is read back, shapes, threads, cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, model_file, network_precision, open_session
from facepipe.catalogue import model
from facepipe.errors import BackendError
from facepipe.metrics.parity import parity
from facepipe.store.model_content import read_model

pytest.importorskip("openvino", reason="this back end is the extra [openvino]")

NETWORKS = {
    "pnet": (3, 3, 60, 41),
    "rnet": (70, 3, 24, 24),
    "onet": (9, 3, 48, 48),
    "mobilefacenet.ms1m": (5, 3, 112, 112),
}


def has_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def answers(
    name: str, image: np.ndarray, weights: Path, backend: str, options: RuntimeOptions
) -> tuple[np.ndarray, ...]:
    spec, opened = model(name), backend_by_name(backend, options)
    path = model_file(opened, spec, weights, len(image))
    with open_session(opened, spec, path) as session:
        return session.run(image)


@pytest.fixture
def weights(seeded: Callable[..., Path]) -> Path:
    """MTCNN, and a recogniser of seeded weights."""
    return seeded("mobilefacenet.ms1m")


def probe(name: str) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, NETWORKS[name]).astype(np.float32)


@pytest.mark.weights
@pytest.mark.parametrize("name", NETWORKS)
def test_f32_answers_as_onnxruntime_does(name: str, weights: Path) -> None:
    image = probe(name)
    reference = answers(name, image, weights, "onnxruntime", RuntimeOptions())
    mine = answers(name, image, weights, "openvino", RuntimeOptions())
    for one, other in zip(reference, mine, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4 * max(1, float(np.abs(one).max())))


@pytest.mark.weights
@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_several_threads_give_every_row_in_its_place(hint: str, rows: int, weights: Path) -> None:
    image = probe("rnet")[:rows]
    one = answers("rnet", image, weights, "openvino", RuntimeOptions())
    two = answers("rnet", image, weights, "openvino", RuntimeOptions(threads=2, hint=hint))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.weights
def test_one_session_takes_one_shape_after_another_and_its_answers_are_the_callers(weights: Path) -> None:
    spec, backend = model("pnet"), backend_by_name("openvino")
    rng = np.random.default_rng(0)
    images = [
        rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((1, 3, 30, 30), (2, 3, 12, 50), (1, 3, 30, 30))
    ]
    with open_session(backend, spec, spec.final(weights)) as session:
        first = session.run(images[0])
        kept = [array.copy() for array in first]
        for image in images[1:]:
            session.run(image)
        for array, copy in zip(first, kept, strict=True):
            np.testing.assert_array_equal(array, copy)
        again = session.run(images[0])
    np.testing.assert_array_equal(again[0], kept[0])


@pytest.mark.weights
def test_bf16_is_the_recognisers_and_detectors_stay_in_f32(weights: Path) -> None:
    if not has_bf16():
        pytest.skip("this processor does not compute in bf16")
    options = RuntimeOptions(precision="bf16")
    backend = backend_by_name("openvino", options)
    seen = {
        name: backend.load(model(name), read_model(model(name).final(weights))).precision for name in ("pnet", "rnet")
    }
    assert seen == {"pnet": "f32", "rnet": "f32"}
    image = probe("mobilefacenet.ms1m")
    (exact,) = answers("mobilefacenet.ms1m", image, weights, "openvino", RuntimeOptions())
    (rough,) = answers("mobilefacenet.ms1m", image, weights, "openvino", options)
    assert float(np.abs(exact - rough).max()) > 1e-5  # it is another arithmetic
    assert parity(exact, rough).cosine > 0.995  # of noise, which is no face
    everywhere = backend_by_name("openvino", replace(options, precision="bf16-all"))
    assert everywhere.load(model("pnet"), read_model(model("pnet").final(weights))).precision == "bf16"


@pytest.mark.weights
def test_a_precision_that_would_not_run_is_an_error(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    compile_model = openvino.Core.compile_model

    def without_bf16(core: openvino.Core, path: str, device: str, wanted: dict[str, object]) -> object:
        return compile_model(core, path, device, {**wanted, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino.Core, "compile_model", without_bf16)
    backend = backend_by_name("openvino", RuntimeOptions(precision="bf16-all"))
    with pytest.raises(BackendError, match="would compute rnet in f32, expected bf16"):
        backend.load(model("rnet"), read_model(model("rnet").final(weights)))


@pytest.mark.weights
@pytest.mark.parametrize(("name", "suffix"), [("onet", "blob"), ("mobilefacenet.ms1m", "blob")])
def test_compiled_models_are_kept_and_read_again(name: str, suffix: str, weights: Path, tmp_path: Path) -> None:
    image = probe(name)
    options = RuntimeOptions(cache=tmp_path / "cache")
    first = answers(name, image, weights, "openvino", options)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob(f"*.{suffix}")}
    assert kept
    second = answers(name, image, weights, "openvino", options)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob(f"*.{suffix}")} == kept
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("pnet", "bf16", "f32"),
        ("pnet", "int8", "f32"),
        ("onet", "bf16-all", "bf16"),
        ("ultraface.slim-320", "bf16", "f32"),
        ("mobilefacenet.ms1m", "bf16", "bf16"),
        ("mobilefacenet.ms1m", "int8", "int8"),
        ("mobilefacenet.ms1m", "f32", "f32"),
    ],
)
def test_which_network_computes_in_what(name: str, precision: str, expected: str) -> None:
    assert network_precision(model(name), precision) == expected


def test_an_unknown_precision_and_a_broken_file_are_named(tmp_path: Path) -> None:
    reason = backend_by_name("openvino", RuntimeOptions(precision="f8")).why_unavailable()
    assert reason is not None and "precision f8 was asked for" in reason
    broken = tmp_path / "ultraface.slim-320.simplified.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(BackendError, match=r"ultraface\.slim-320\.simplified\.onnx: is no ONNX model"):
        backend_by_name("openvino").load(model("ultraface.slim-320"), read_model(broken))


@pytest.mark.weights
def test_a_model_of_the_same_path_size_and_time_is_not_taken_for_the_one_in_the_cache(
    weights: Path, tmp_path: Path
) -> None:
    """OpenVINO's own cache took it for that: it knew a model by these three."""
    spec, path = model("pnet"), tmp_path / "pnet.onnx"
    backend, image = backend_by_name("openvino", RuntimeOptions(cache=tmp_path / "cache")), probe("pnet")
    exact = backend_by_name("onnxruntime")
    content = spec.final(weights).read_bytes()
    tensors = onnx.load_from_string(content).graph.initializer
    numbers = next(tensor.raw_data for tensor in tensors if len(tensor.raw_data) > 256)
    larger = (np.frombuffer(numbers, "<f4") * np.float32(1.5)).tobytes()
    found = []
    for exchanged in (content, content.replace(numbers, larger)):
        path.write_bytes(exchanged)
        os.utime(path, ns=(10**18, 10**18))
        with open_session(backend, spec, path) as session, open_session(exact, spec, path) as reference:
            found.append(session.run(image)[0])
            np.testing.assert_allclose(found[-1], reference.run(image)[0], rtol=1e-3, atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 1e-2


@pytest.mark.weights
def test_a_compiled_model_with_another_bit_is_made_anew(weights: Path, tmp_path: Path) -> None:
    """OpenVINO uses what it finds there: of 40 flips of a bit in a compiled PNet 21 gave other answers, unsaid."""
    image, options = probe("pnet"), RuntimeOptions(cache=tmp_path / "cache")
    first = answers("pnet", image, weights, "openvino", options)
    (blob,) = (tmp_path / "cache").glob("*.blob")
    whole = blob.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 25).astype(int).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        blob.write_bytes(bytes(flipped))
        for one, same in zip(answers("pnet", image, weights, "openvino", options), first, strict=True):
            np.testing.assert_array_equal(one, same)
        content = blob.read_bytes()
        assert hashlib.sha256(content[32:]).digest() == content[:32]
