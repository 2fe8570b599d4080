# SPDX-License-Identifier: Apache-2.0
"""A model that is exchanged while a run goes on: what a result names by digest is what computed it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_networks import write_onnx

from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import model
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.engine.local import Local
from facepipe.errors import FacepipeError, StageError
from facepipe.runs import faces_run, staged_run
from facepipe.runs.faces_run import embed_photographs
from facepipe.runs.job import RunJob
from facepipe.runs.provenance_check import changes
from facepipe.runs.staged_run import run_all_stages, run_one_stage
from facepipe.runs.wider_run import WiderFile, WiderJob, run_pass, wider_models, wider_stage
from facepipe.store.files import read_json, sha256_of_file, sidecar_of

EMBEDDER = "facenet.seeded"
BACKENDS = ("onnxruntime", "openvino", "native+onnxruntime")
LIBRARIES = {"openvino": "openvino", "native+onnxruntime": "llvmlite"}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param in LIBRARIES:
        pytest.importorskip(LIBRARIES[request.param])
    return str(request.param)


@pytest.fixture
def weights(weights_dir: Path, tmp_path: Path) -> Path:
    """Copies of a run's models, which may be exchanged."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("pnet", "rnet", "onet", EMBEDDER):
        final = model(name).final(weights_dir)
        for path in (final, sidecar_of(final)):
            if path.is_file():
                shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture
def few(sample: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """Three photographs with a face."""
    folder = tmp_path / "few"
    folder.mkdir()
    keys = []
    for path in sorted((sample / "images").rglob("*.jpg"))[:3]:
        shutil.copy(path, folder / path.name)
        keys.append(path.name)
    return folder, sorted(keys)


def exchange(weights: Path, name: str) -> str:
    """Another network of the same interface in the place of a model, without a record; its sha256."""
    spec = model(name)
    final = spec.final(weights)
    sidecar_of(final).unlink(missing_ok=True)
    write_onnx(spec, final.with_name("other"))
    final.with_name("other").replace(final)
    return sha256_of_file(final)


def job_of(few: tuple[Path, list[str]], run: Path, weights: Path, backend: str) -> RunJob:
    settings = MtcnnSettings(min_face_px=40)
    options = RuntimeOptions(cache=weights / "cache")
    return RunJob(few[0], run, weights, "mtcnn", EMBEDDER, backend, options, settings=settings)


def then(ask: Callable[..., Any], do: Callable[[], object]) -> Callable[..., Any]:
    """`ask`, and another terminal right after its first answer."""
    waiting = [do]

    def asked(*arguments: Any, **more: Any) -> Any:
        answer = ask(*arguments, **more)
        if waiting:
            waiting.pop()()
        return answer

    return asked


@pytest.mark.weights
@pytest.mark.parametrize("name", ["pnet", EMBEDDER])
def test_a_model_that_is_exchanged_before_it_is_loaded_is_refused(
    name: str, backend: str, few: tuple[Path, list[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran, and `facepipe check` said of the run, once the file was put back: all are what they were."""
    job, final = job_of(few, tmp_path / "run", weights, backend), model(name).final(weights)
    whole, before = final.read_bytes(), sha256_of_file(final)
    now: list[str] = []
    monkeypatch.setattr(faces_run, "models_of", then(faces_run.models_of, lambda: now.append(exchange(weights, name))))
    with pytest.raises(StageError) as refused:
        embed_photographs(job, few[1], Local(1))
    told = str(refused.value)
    assert final.name in told and before[:12] in told and now[0][:12] in told and "\n" not in told
    assert not (job.run / "run.json").exists()
    final.write_bytes(whole)
    models = embed_photographs(job, few[1], Local(1)).models
    assert {file.model: file.sha256 for file in models}[name] == before


@pytest.mark.weights
def test_a_model_that_is_exchanged_after_it_was_loaded_is_told_by_check(
    backend: str, few: tuple[Path, list[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(few, tmp_path / "run", weights, backend)
    plain = replace(job, run=tmp_path / "plain")
    embed_photographs(plain, few[1], Local(1))
    before = {name: sha256_of_file(model(name).final(weights)) for name in ("pnet", "rnet", "onet", EMBEDDER)}
    shard = faces_run.do_shard

    def exchanged(*arguments: Any) -> Any:
        for name in before:
            exchange(weights, name)
        return shard(*arguments)

    monkeypatch.setattr(faces_run, "do_shard", exchanged)
    embed_photographs(job, few[1], Local(1))
    record = read_json(job.run / "run.json")
    assert {file["model"]: file["sha256"] for file in record["models"]} == before
    for name in ("faces.jsonl", "embeddings.npy"):
        assert (job.run / name).read_bytes() == (plain.run / name).read_bytes()
    states = {found.path.name: found.state for found in changes(job.run) if found.kind == "model"}
    assert states == {model(name).final(weights).name: "changed" for name in before}


@pytest.mark.weights
def test_a_worker_of_its_own_refuses_too(
    few: tuple[Path, list[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(job_of(few, tmp_path / "run", weights, "onnxruntime"), shard_size=1)
    monkeypatch.setattr(faces_run, "models_of", then(faces_run.models_of, lambda: exchange(weights, "rnet")))
    with pytest.raises(FacepipeError, match=r"rnet\.simplified\.onnx: sha256 is .*, expected .*\.\.\."):
        embed_photographs(job, few[1], Local(2))


@pytest.mark.weights
@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_a_stage_refuses_a_model_that_is_exchanged_before_it_is_loaded(
    name: str, few: tuple[Path, list[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(few, tmp_path / "run", weights, "onnxruntime")
    for stage in ("pnet", "rnet", "onet")[: ("pnet", "rnet", "onet").index(name)]:
        run_one_stage(stage, job, few[1], Local(1))
    monkeypatch.setattr(staged_run, "models_of", then(staged_run.models_of, lambda: exchange(weights, name)))
    with pytest.raises(StageError, match=rf"{name}\.simplified\.onnx: sha256 is .*, expected .*\.\.\."):
        run_one_stage(name, job, few[1], Local(1))


@pytest.mark.weights
@pytest.mark.parametrize("name", ["rnet", EMBEDDER])
def test_a_staged_run_names_the_models_that_its_stages_loaded(
    name: str, few: tuple[Path, list[str]], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exchanged when all stages had their answers: run.json named the file that lay there at the end."""
    job = job_of(few, tmp_path / "run", weights, "onnxruntime")
    before = sha256_of_file(model(name).final(weights))
    monkeypatch.setattr(staged_run, "embed", then(staged_run.embed, lambda: exchange(weights, name)))
    models = run_all_stages(job, few[1], Local(1)).models
    assert {file.model: file.sha256 for file in models}[name] == before
    states = {found.path.name: found.state for found in changes(job.run) if found.kind == "model"}
    assert [file for file, state in states.items() if state != "same"] == [model(name).final(weights).name]


@pytest.mark.weights
def test_stages_that_ran_one_by_one_with_other_models_do_not_make_one_run(
    few: tuple[Path, list[str]], weights: Path, tmp_path: Path
) -> None:
    job = job_of(few, tmp_path / "run", weights, "onnxruntime")
    for name in staged_run.ORDER:
        run_one_stage(name, job, few[1], Local(1))
    before = sha256_of_file(model("onet").final(weights))
    exchange(weights, "onet")
    with pytest.raises(StageError, match=rf"onet.*{before[:12]}"):
        staged_run.collect_run(job, few[1])


@pytest.mark.weights
def test_a_pass_over_wider_s_photographs_refuses_too(
    few: tuple[Path, list[str]], weights: Path, tmp_path: Path
) -> None:
    job = WiderJob(few[0], tmp_path / "wider", weights, "mtcnn", "onnxruntime", None)
    files = [WiderFile(key, key, (100, 100)) for key in few[1]]
    models = wider_models(job)
    exchange(weights, "pnet")
    with pytest.raises(StageError, match=r"pnet\.simplified\.onnx: sha256 is "):
        run_pass(replace(job, models=models), files, wider_stage(job, files, models), Local(1))
