# SPDX-License-Identifier: Apache-2.0
"""Weights by the order of places, and what is said of them when they are in none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from local_server import Site, served
from PIL import Image

import facepipe
from facepipe.assets.workspace import (
    HOME_VARIABLE,
    Workspace,
    fetch_weights,
    find_weights,
    home_folder,
    locate_weights,
    open_workspace,
    trained_embedder,
)
from facepipe.catalogue import MODELS
from facepipe.cli._main import main
from facepipe.errors import AssetError, BackendError, WeightsError
from facepipe.specs import Address, ModelSpec, UserFile

CONTENT = b"weights of a network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with served(Site({"/w.pt": CONTENT})) as site:
        yield site


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    (tmp_path / "mirror").mkdir()
    return Workspace(tmp_path / "weights", tmp_path / "data", tmp_path / "mirror")


def spec_at(url: str, sha256: str | None = SHA256) -> ModelSpec:
    base = MODELS["mobilefacenet.ms1m"]
    weights = replace(base.weights, file="w.pt", sha256=sha256, size=None, origin=Address(url), mirror="weights/m/w.pt")
    return replace(base, weights=weights)


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_own_weights_come_before_the_mirror_and_the_mirror_before_a_download(ws: Workspace, site: Site) -> None:
    spec = spec_at(f"{site.url}/w.pt")
    assert ws.mirror is not None
    mirrored = put(ws.mirror / "weights/m/w.pt")
    assert fetch_weights(spec, ws) == locate_weights(spec, ws) == mirrored
    assert not ws.weights.exists()
    own = put(ws.weights / "w.pt")
    assert fetch_weights(spec, ws) == own
    assert site.asked == []
    own.unlink()
    mirrored.unlink()
    assert fetch_weights(spec, ws) == own
    assert own.read_bytes() == CONTENT


def test_weights_that_are_nowhere_are_one_error_that_says_where_they_may_be_put(ws: Workspace) -> None:
    spec = spec_at("https://example.org/w.pt")
    expected = (
        r"weights/w\.pt: no such file, expected the weights of mobilefacenet\.ms1m\. "
        r"Try: `facepipe fetch mobilefacenet\.ms1m`, or put it at \S+weights/w\.pt or \S+mirror/weights/m/w\.pt by "
        r"hand; it comes from https://example\.org/w\.pt$"
    )
    with pytest.raises(AssetError, match=expected):
        locate_weights(spec, ws)
    assert find_weights(spec, ws) is None


def test_a_failed_fetch_writes_nothing(ws: Workspace, site: Site) -> None:
    with pytest.raises(AssetError, match=r"w\.pt: no such file, and .* \(the server answers 404 Not Found\)"):
        fetch_weights(spec_at(f"{site.url}/other.pt"), ws)
    assert list(ws.weights.iterdir()) == []


def test_weights_that_only_a_user_has_say_which(ws: Workspace) -> None:
    base = spec_at("")
    spec = replace(base, weights=replace(base.weights, origin=UserFile("your own r50 checkpoint")))
    with pytest.raises(AssetError, match=r"put it at .*w\.pt.* by hand: your own r50 checkpoint"):
        fetch_weights(spec, ws)


def test_weights_of_a_recipe_say_how_they_are_made(ws: Workspace) -> None:
    with pytest.raises(AssetError, match=r"Try: `facepipe onnx facenet\.seeded`, which makes them on the spot"):
        fetch_weights(MODELS["facenet.seeded"], ws)


@pytest.mark.parametrize("place", ["weights/w.pt", "mirror/weights/m/w.pt"])
def test_a_file_of_another_digest_is_named_with_both(ws: Workspace, tmp_path: Path, place: str) -> None:
    put(tmp_path / place, b"another network")
    other = hashlib.sha256(b"another network").hexdigest()
    for call in (locate_weights, fetch_weights):
        with pytest.raises(WeightsError, match=rf"{place}: sha256 is {other}, expected {SHA256} for mobilefacenet"):
            call(spec_at("https://example.org/w.pt"), ws)


def test_a_digest_that_nobody_published_is_kept_and_held_against_the_file_later(ws: Workspace, site: Site) -> None:
    spec = spec_at(f"{site.url}/w.pt", sha256=None)
    path = fetch_weights(spec, ws)
    assert (ws.weights / "w.pt.sha256").read_text() == f"{SHA256}  w.pt\n"
    assert locate_weights(spec, ws) == path
    path.write_bytes(b"changed")
    with pytest.raises(WeightsError, match=rf"expected {SHA256} for .* Try: delete it, and \S+w\.pt\.sha256 with it"):
        locate_weights(spec, ws)


def test_a_file_without_any_known_digest_is_taken(ws: Workspace) -> None:
    own = put(ws.weights / "w.pt", b"anything")
    assert locate_weights(spec_at("https://example.org/w.pt", sha256=None), ws) == own


def test_where_no_embedder_is_converted_the_one_that_everybody_can_have_is_proposed(ws: Workspace) -> None:
    with pytest.raises(BackendError, match=r"no embedder is converted here, expected one of .*dlib\.resnet") as none:
        trained_embedder(ws)
    assert none.value.attempt == "`facepipe fetch dlib.resnet`, then `facepipe onnx dlib.resnet`."
    ws.weights.mkdir(parents=True, exist_ok=True)
    (ws.weights / MODELS["dlib.resnet"].weights.file).write_bytes(b"")
    with pytest.raises(BackendError) as fetched:
        trained_embedder(ws)
    assert fetched.value.attempt == "`facepipe onnx dlib.resnet`"
    MODELS["dlib.resnet"].final(ws.weights).write_bytes(b"")
    assert trained_embedder(ws).name == "dlib.resnet"


def test_the_mirror_is_what_the_environment_names(tmp_path: Path) -> None:
    assert open_workspace(tmp_path, {}).mirror is None
    assert open_workspace(tmp_path, {"FACEPIPE_ASSETS": ""}).mirror is None
    assert open_workspace(tmp_path, {"FACEPIPE_ASSETS": str(tmp_path)}).mirror == tmp_path
    assert open_workspace(tmp_path, {}).weights == tmp_path / "weights"
    with pytest.raises(AssetError, match=r"FACEPIPE_ASSETS: '.*nowhere' is no folder, expected a local mirror"):
        open_workspace(tmp_path, {"FACEPIPE_ASSETS": str(tmp_path / "nowhere")})


def test_every_mirrored_file_has_the_catalogues_digest(assets: Path, tmp_path: Path) -> None:
    ws = Workspace(tmp_path / "weights", tmp_path / "data", assets)
    found = [name for name, spec in MODELS.items() if find_weights(spec, ws) is not None]
    assert "mobilefacenet.ms1m" in found
    for name in found:
        assert locate_weights(MODELS[name], ws).is_relative_to(assets)
    assert not ws.weights.exists()


def test_weights_and_data_lie_here_or_in_the_home_or_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert home_folder().name == "facepipe" and home_folder() != Path()
    (tmp_path / "weights").mkdir()
    assert home_folder() == Path()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    assert home_folder() == tmp_path / "home"
    assert (open_workspace().weights, open_workspace().data) == (tmp_path / "home/weights", tmp_path / "home/data")


@pytest.mark.weights
def test_commands_and_programs_work_from_any_folder(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "weights").symlink_to(weights_dir.resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("dark.png")
    assert main(["detect", "dark.png", "--json"]) == 0
    assert '"faces": []' in capsys.readouterr().out
    with facepipe.load(embedder="facenet.seeded", backend="onnxruntime") as faces:
        assert len(faces.detect("dark.png")) == 0  # type: ignore[arg-type]
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "nowhere"))
    assert main(["detect", "dark.png"]) == 1
    assert str(tmp_path / "nowhere" / "weights") in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file" / "home"))
    for name, folder in (("mtcnn", "weights"), ("portraits", "data")):
        assert main(["fetch", name]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{tmp_path / 'file' / 'home' / folder}: cannot be made (" in line and f"--{folder} with another" in line


@pytest.mark.weights
def test_where_weights_lie_is_found_out_when_a_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults of every run are made when the module is imported, which may be before a program says where."""
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "dark.png")
    assert facepipe.embed_folder is not None  # what is exported is imported when it is asked for
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "later"))
    with pytest.raises(BackendError, match=str(tmp_path / "later" / "weights")):
        facepipe.embed_folder(tmp_path, tmp_path / "out")
