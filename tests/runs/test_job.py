# SPDX-License-Identifier: Apache-2.0
"""What a run is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.catalogue import DETECTORS, detector_models, model
from facepipe.detect import asked_settings, default_settings
from facepipe.runs.faces_run import fused_stage, open_fused
from facepipe.runs.job import RunJob, detection_parameters, models_of
from facepipe.store.stage import begin


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_job_without_settings_runs_with_those_of_its_detector(detector: str, tmp_path: Path) -> None:
    for spec in (*detector_models(detector), model("facenet.seeded")):
        (tmp_path / f"{spec.name}.simplified.onnx").touch()  # the back end `null` reads none
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "one.png")
    job = RunJob(tmp_path, tmp_path / "run", tmp_path, detector, "facenet.seeded", "null")
    settings = detection_parameters(job)["settings"]
    assert isinstance(settings, dict) and "kernels" not in settings
    job = replace(job, models=models_of(job))
    stage = fused_stage(job, ("one.png",), models_of(job))
    begin(stage, tmp_path.joinpath)
    with open_fused(job, 0) as do:
        assert do(stage.shards()[0]).photographs == 1


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("wish", [{"min_face_px": 77}, {"least_score": 0.77}])
def test_the_least_face_and_the_least_score_are_part_of_what_a_run_is(
    detector: str, wish: dict[str, float], tmp_path: Path
) -> None:
    job = RunJob(tmp_path, tmp_path, tmp_path, detector, "facenet.seeded", "null")
    settings = default_settings(detector)
    asked = asked_settings(settings, batch=settings.batch, **wish)  # type: ignore[arg-type]
    assert detection_parameters(replace(job, settings=asked)) != detection_parameters(replace(job, settings=settings))
