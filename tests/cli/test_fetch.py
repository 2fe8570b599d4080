# SPDX-License-Identifier: Apache-2.0
"""`facepipe fetch`: what its names mean, and how it fails."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from facepipe.catalogue import MODELS
from facepipe.cli import main
from facepipe.errors import DataError
from facepipe.runs.fetch import names_of
from facepipe.specs import UserFile


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address leads to a port of this machine that nobody listens on; no mirror."""
    monkeypatch.delenv("FACEPIPE_ASSETS", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, closed)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def fetch(folder: Path, *names: str) -> int:
    return main(["fetch", *names, "--weights", str(folder / "weights"), "--data", str(folder / "data")])


def test_names_stand_for_models_and_data_sets_each_once() -> None:
    assert names_of(["mtcnn"]) == ["pnet", "rnet", "onet"]
    assert names_of(["rnet", "mtcnn", "lfw"]) == ["rnet", "pnet", "onet", "lfw"]


def test_all_is_everything_that_can_be_fetched() -> None:
    named = names_of(["all"])
    assert {"pnet", "facenet.vggface2", "facenet.casia", "lfw"} <= set(named)
    assert not [name for name in named if name in MODELS and isinstance(MODELS[name].weights.origin, UserFile)]


def test_a_wrong_name_lists_the_choices_and_guesses() -> None:
    with pytest.raises(
        DataError, match=r"'mtccn' is nothing that can be fetched, expected one of all, mtcnn, .*lfw, portraits\. "
    ):
        names_of(["mtccn"])
    with pytest.raises(DataError, match=r"did you mean 'facenet\.casia'"):
        names_of(["facenet.cassia"])


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "file"), [("facenet.vggface2", "20180402-114759-vggface2.pt"), ("facenet.casia", "casia-webface.pt")]
)
def test_without_weights_and_network_there_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, file: str
) -> None:
    assert fetch(tmp_path, name) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("facepipe fetch: ")
    for part in (
        f"{file}: no such file",
        "cannot be downloaded (Connection refused)",
        f"weights/{MODELS[name].weights.file} by hand",
        "it comes from https://github.com/timesler/facenet-pytorch/releases/",
    ):
        assert part in err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("no_network")
def test_lfw_without_network_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(tmp_path, "lfw") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "lfw.tgz: no such file, and https://ndownloader.figshare.com/files/5976018 cannot be downloaded" in err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("no_network")
@pytest.mark.process
def test_all_goes_on_after_a_failure_and_counts_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    assert fetch(tmp_path, "all") == 1
    out, err = capsys.readouterr()
    assert "facenet.seeded: nothing to fetch, made on the spot" in out
    assert "pnet: absent." in err
    assert "lfw: absent." in err
    last, count = err.strip().splitlines()[-1], len(names_of(["all"]))
    assert last.startswith(f"facepipe fetch: {count - 1} of {count} could not be fetched")


@pytest.mark.usefixtures("no_network")
def test_weights_that_are_here_are_named_with_their_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights_dir: Path
) -> None:
    (tmp_path / "weights").mkdir()
    shutil.copy(weights_dir / "pnet.pt", tmp_path / "weights")
    assert fetch(tmp_path, "pnet") == 0
    assert MODELS["pnet"].weights.sha256 in capsys.readouterr().out


@pytest.mark.usefixtures("no_network")
def test_a_converted_model_needs_no_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights_dir: Path
) -> None:
    (tmp_path / "weights").mkdir()
    for path in weights_dir.glob("pnet.simplified.onnx*"):
        shutil.copy(path, tmp_path / "weights")
    assert fetch(tmp_path, "pnet") == 0
    assert "pnet: nothing to fetch" in capsys.readouterr().out


@pytest.mark.usefixtures("no_network")
def test_a_weight_file_of_another_network_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights_dir: Path
) -> None:
    (tmp_path / "weights").mkdir()
    shutil.copy(weights_dir / "rnet.pt", tmp_path / "weights" / "pnet.pt")
    assert fetch(tmp_path, "pnet") == 1
    err = capsys.readouterr().err
    assert f"pnet.pt: sha256 is {MODELS['rnet'].weights.sha256}, expected {MODELS['pnet'].weights.sha256}" in err
