# SPDX-License-Identifier: Apache-2.0
"""The three lines of the README, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import facepipe
from facepipe.api import Embedded
from facepipe.datasets.images import list_keys, read
from facepipe.errors import BackendError, DataError
from facepipe.results import NoFace


@pytest.mark.process
def test_importing_facepipe_loads_no_numpy() -> None:
    code = "import sys, facepipe; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_facepipe_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'close', expected one of __version__, open"):
        facepipe.close  # noqa: B018


@pytest.mark.weights
def test_a_photograph_is_at_distance_zero_from_itself_and_further_from_another(weights_dir: Path, sample: Path) -> None:
    photographs = _photographs(sample)
    with facepipe.open("mtcnn", "facenet.seeded", weights=weights_dir) as faces:
        same = faces.distance(photographs[0], read(photographs[0]))
        different = faces.distance(photographs[0], photographs[-1])
    assert same < 1e-9 < different <= 4


@pytest.mark.weights
def test_a_photograph_without_a_face_keeps_its_place(weights_dir: Path, sample: Path) -> None:
    empty = np.zeros((80, 80, 3), np.uint8)
    path = _photographs(sample)[0]
    with facepipe.open("mtcnn", "facenet.seeded", weights=weights_dir) as faces:
        first, second, third = faces.embed([path, empty, path])
        assert faces.embed([]) == []
        with pytest.raises(DataError, match="the array: no face found, expected a photograph with a face"):
            faces.distance(empty, path)
    assert isinstance(second, NoFace)
    assert isinstance(first, Embedded) and isinstance(third, Embedded)
    assert first.embedding.shape == (512,)
    assert np.array_equal(first.embedding, third.embedding)


def test_models_that_were_not_converted_are_named_with_the_command(tmp_path: Path) -> None:
    with (
        pytest.raises(BackendError, match=r"pnet\.simplified\.onnx: no such model file.*facepipe onnx pnet"),
        facepipe.open("mtcnn", "facenet.seeded", weights=tmp_path),
    ):
        pass


def test_an_embedder_that_is_not_in_the_catalogue_is_refused() -> None:
    with (
        pytest.raises(DataError, match=r"embedder 'facenet' is not known, expected one of facenet\.vggface2"),
        facepipe.open("mtcnn", "facenet"),
    ):
        pass


def _photographs(sample: Path) -> list[Path]:
    keys = [key for key in list_keys(sample) if key.endswith(".jpg")]
    return [sample / key for key in keys]
