# SPDX-License-Identifier: Apache-2.0
"""Every result names the engine of every network; a run goes on with the engines it was begun with, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from facepipe.backends import AUTO, FASTEST_FIRST, backend_by_name, resolve_backend
from facepipe.backends.base import RuntimeOptions
from facepipe.backends.native.backend import Native
from facepipe.cli import main
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.errors import StageError
from facepipe.runs.faces_run import fused_stage
from facepipe.runs.job import RunJob, models_of
from facepipe.runs.staged_run import staged_stage
from facepipe.store.files import read_json
from facepipe.store.stage import begin

pytest.importorskip("llvmlite", reason="the back end native is an extra")
EMBEDDER = "facenet.seeded"


def job(sample: Path, run: Path, weights: Path, backend: str) -> RunJob:
    return RunJob(sample, run, weights, "mtcnn", EMBEDDER, backend, RuntimeOptions(), settings=MtcnnSettings())


@pytest.mark.weights
@pytest.mark.parametrize("driver", ["fused", "staged"])
def test_a_run_that_was_begun_with_another_engine_is_refused(
    driver: str, weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same name: a facepipe in which the pair sends PNet elsewhere must not go on with such a run."""
    asked = job(tmp_path, tmp_path / "run", weights_dir, "native+onnxruntime")

    def stage() -> object:
        keys = ("nobody.jpg",)
        return fused_stage(asked, keys, models_of(asked)) if driver == "fused" else staged_stage("pnet", asked, keys)

    begin(stage(), tmp_path.joinpath)  # type: ignore[arg-type]
    monkeypatch.setattr(Native, "takes", lambda *_: False)
    with pytest.raises(StageError, match=r"begun with engines?(\.onet)?=native, this run asks for onnxrun"):
        begin(stage(), tmp_path.joinpath)  # type: ignore[arg-type]


@pytest.mark.weights
def test_what_a_run_leaves_names_the_engines(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", sample, "--run", tmp_path / "run", "--weights", weights_dir, "--embedder", EMBEDDER]
    arguments = [str(word) for word in ("lfw", *words, "--backend", "native+onnxruntime", "--workers", "1")]
    assert main(arguments) == 0
    wanted = {"pnet": "native", "rnet": "native", "onet": "native", EMBEDDER: "onnxruntime"}
    record = read_json(tmp_path / "run" / "run.json")
    assert isinstance(record, dict)
    assert {file["model"]: file["engine"] for file in record["models"]} == wanted
    accuracy = read_json(tmp_path / "run" / "accuracy.json")
    assert isinstance(accuracy, dict) and accuracy["engines"] == wanted
    told = f"backend: native+onnxruntime (pnet, rnet, onet by native; {EMBEDDER} by onnxruntime)\n"
    assert capsys.readouterr().err.startswith(told)


@pytest.mark.weights
def test_auto_is_resolved_once_and_a_run_goes_on_with_what_it_was(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["embed", sample / "images", "--out", tmp_path / "run", "--weights", weights_dir, "--embedder", EMBEDDER]
    arguments = [str(word) for word in (*words, "--workers", "1")]
    assert main([*arguments, "--backend", "onnxruntime"]) == 0
    before = (tmp_path / "run" / "faces.jsonl").read_bytes()
    capsys.readouterr()
    assert main(arguments) == 0  # auto, which elsewhere is another
    assert capsys.readouterr().err.startswith("backend: onnxruntime (")
    assert (tmp_path / "run" / "faces.jsonl").read_bytes() == before
    assert main([*arguments, "--precision", "int8"]) == 1
    assert "was made in f32 by onnxruntime, this asks for int8" in capsys.readouterr().err
    with monkeypatch.context() as without:
        without.setattr(type(backend_by_name("onnxruntime")), "why_unavailable", lambda _: "it is gone.")
        assert main(arguments) == 1
    assert "was made by 'onnxruntime', which is unavailable here: it is gone." in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert capsys.readouterr().err.startswith(f"backend: {resolve_backend(AUTO).name} (")


@pytest.mark.weights
def test_a_gallery_is_searched_by_what_made_it(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people, where = sample / "images", tmp_path / "people.gallery"
    common = ["--weights", str(weights_dir), "--embedder", EMBEDDER]
    build = ["gallery", "build", str(people), "--out", str(where), "--threshold", "0.5", *common]
    assert main([*build, "--backend", "onnxruntime"]) == 0
    capsys.readouterr()
    who = str(next(people.rglob("*.jpg")))
    search = ["gallery", "search", str(where), who, *common]
    assert main(search) == 0
    assert capsys.readouterr().err.startswith("backend: onnxruntime (")
    assert main([*search, "--precision", "int8"]) == 1
    assert "people.gallery: was made in f32 by onnxruntime" in capsys.readouterr().err
    assert main([*search, "--backend", "native+onnxruntime"]) == 0  # who names one is taken at their word


@pytest.fixture(scope="module")
def portraits(sample: Path) -> tuple[Path, str]:
    """The golden photographs and a published recogniser where the mirror has them, else the made sample and FaceNet."""
    mirror = os.environ.get("FACEPIPE_ASSETS")
    return (Path(mirror) / "photos", "mobilefacenet.ms1m") if mirror else (sample / "images", EMBEDDER)


@pytest.fixture(scope="module")
def by_onnxruntime(portraits: tuple[Path, str], weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_over(portraits, weights_dir, tmp_path_factory.mktemp("portraits") / "run", "onnxruntime")


def run_over(portraits: tuple[Path, str], weights: Path, run: Path, backend: str) -> Path:
    folder, embedder = portraits
    words = ["embed", folder, "--out", run, "--weights", weights, "--embedder", embedder]
    assert main([str(word) for word in (*words, "--backend", backend, "--workers", "1")]) == 0
    return run


@pytest.mark.weights
@pytest.mark.parametrize("backend", FASTEST_FIRST)
def test_every_pairing_gives_onnxruntime_s_boxes_and_embeddings(
    backend: str, by_onnxruntime: Path, portraits: tuple[Path, str], weights_dir: Path, tmp_path: Path
) -> None:
    if (reason := backend_by_name(backend).why_unavailable()) is not None:
        pytest.skip(reason)
    run = run_over(portraits, weights_dir, tmp_path / "run", backend)
    mine, theirs = (
        [json.loads(line) for line in (folder / "faces.jsonl").read_text(encoding="utf-8").splitlines()]
        for folder in (run, by_onnxruntime)
    )
    assert len(mine) == len(theirs) > 0
    for one, other in zip(mine, theirs, strict=True):
        assert one["key"] == other["key"] and one.get("row") == other.get("row")
        if "box" in other:
            np.testing.assert_allclose(one["box"], other["box"], rtol=0, atol=0.05)
            np.testing.assert_allclose(one["landmarks"], other["landmarks"], rtol=0, atol=0.05)
    embeddings = [np.load(folder / "embeddings.npy") for folder in (run, by_onnxruntime)]
    np.testing.assert_allclose(*embeddings, rtol=0, atol=1e-3)
