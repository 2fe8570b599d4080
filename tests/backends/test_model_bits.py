# SPDX-License-Identifier: Apache-2.0
"""A flip of any bit of a model with a record, or of the record, is found by what loads it, or changes nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from small_networks import PNET, write_onnx

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, model_file, open_session
from facepipe.catalogue import model
from facepipe.errors import StageError
from facepipe.store.files import sidecar_of
from facepipe.store.made_from import MadeFrom, write_record

HEADER = 64  # bytes, of which every bit is flipped
SAMPLE = 400  # bits of the rest

KINDS = ("converted", "quantised")


@pytest.fixture(params=KINDS)
def file(request: pytest.FixtureRequest, weights_dir: Path, tmp_path: Path) -> Path:
    """A model as `facepipe onnx` and `facepipe quantise` leave it."""
    if request.param == "converted":
        path = write_onnx(PNET, PNET.final(tmp_path))
        write_record(path, "pnet", MadeFrom({"weights": "ab" * 32}), {}, again="facepipe onnx pnet --force")
        return path
    spec = model("mobilefacenet.ms1m")
    if not spec.quantised(weights_dir).is_file():  # any model in its place has bits and a record too
        path = write_onnx(spec, spec.quantised(tmp_path))
        write_record(path, spec.name, MadeFrom({"onnx": "cd" * 32}), {}, again=f"facepipe quantise {spec.name} --force")
        return path
    for path in (spec.quantised(weights_dir), sidecar_of(spec.quantised(weights_dir))):
        shutil.copy(path, tmp_path / path.name)
    return spec.quantised(tmp_path)


def opened(file: Path) -> str:
    """What is loaded, by digest, as every command and the API load it."""
    spec, options = (PNET, RuntimeOptions()) if "pnet" in file.name else (model("mobilefacenet.ms1m"), None)
    backend = backend_by_name("onnxruntime", options or RuntimeOptions(precision="int8"))
    path = model_file(backend, spec, file.parent, 1)
    assert path == file
    with open_session(backend, spec, path) as session:
        return f"{session.file.sha256} {session.file.weights_sha256}"


def test_every_bit_of_a_model_is_looked_at(file: Path) -> None:
    whole, content = opened(file), file.read_bytes()
    rest = range(8 * HEADER, 8 * len(content))
    for place in [*range(8 * HEADER), *random.Random(0).sample(rest, min(SAMPLE, len(rest)))]:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(bytes(flipped))
        with pytest.raises(StageError, match=r"onnx: sha256 is .*, its record says .*Try: `facepipe (onnx|quantise) "):
            opened(file)
    file.write_bytes(content)
    assert opened(file) == whole


def test_every_bit_of_its_record_is_looked_at(file: Path) -> None:
    whole, beside = opened(file), sidecar_of(file)
    content = beside.read_bytes()
    places = range(8 * len(content))
    refused = 0
    for place in random.Random(1).sample(places, min(SAMPLE, len(places))):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        beside.write_bytes(bytes(flipped))
        try:
            assert opened(file) == whole, f"bit {place}"
        except StageError:
            refused += 1
    assert refused > SAMPLE / 2
