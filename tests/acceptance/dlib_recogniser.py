# SPDX-License-Identifier: Apache-2.0
"""dlib's recogniser: its answers beside dlib's own, live, and its accuracy on LFW behind two detectors."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
from checks import OUT, REPOSITORY, Check, Measured, anew, assets, at_least, at_most, facepipe, make, read

from facepipe.assets.workspace import locate_weights, open_workspace
from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.catalogue import MODELS
from facepipe.datasets.dlib_network import read_dlib_network
from facepipe.faces.pipeline import open_pipeline
from facepipe.geometry.normalise import normalise
from facepipe.runs.calibration import collect_crops

sys.path += [str(REPOSITORY), str(REPOSITORY / "tests" / "fakes")]
from benchmarks.peer import dlib_python
from dlib_file import chips, dlib_file, seeded

NAME = "dlib.resnet"
GOLDEN = REPOSITORY / "tests" / "networks" / "dlib_seeded.npy"


def dlib_answers(weights: Path, crops: np.ndarray) -> np.ndarray:
    """float32 [N, 128]: the mean of dlib's answers for uint8 [N, 150, 150, 3] and for their mirror images."""
    python = dlib_python(REPOSITORY / ".venv-dlib", print)
    given, made = OUT / "dlib-crops.npy", OUT / "dlib-answers.npy"
    OUT.mkdir(parents=True, exist_ok=True)
    np.save(given, np.concatenate([crops, crops[:, :, ::-1]]))
    script = REPOSITORY / "benchmarks" / "peer_dlib.py"
    subprocess.run([str(python), str(script), str(weights), str(given), str(made)], check=True)
    return np.load(made).reshape(2, len(crops), -1).mean(axis=0)


def outputs() -> Measured:
    """Fifty faces of LFW, cut as the pipeline cuts them: the ONNX that is run, and dlib."""
    facepipe("fetch", "mtcnn", NAME, log="dlib-fetch")
    facepipe("onnx", "mtcnn", NAME, log="dlib-onnx")
    spec, workspace = MODELS[NAME], open_workspace(REPOSITORY)
    photographs = sorted((assets() / "lfw" / "images").rglob("*.jpg"))
    random.Random(0).shuffle(photographs)
    with open_pipeline("mtcnn", NAME, backend_by_name("onnxruntime"), workspace.weights, 1) as pipeline:
        crops = collect_crops(photographs, pipeline, 50).crops
    expected = dlib_answers(locate_weights(spec, workspace), crops)
    with open_session(OnnxRuntime(RuntimeOptions()), spec, spec.final(workspace.weights)) as session:
        (found,) = session.run(normalise(crops, spec.pixels))
    scale = float(np.abs(expected).max())
    return at_most(float(np.abs(found - expected).max()), 1e-5, f"{len(crops)} faces, values up to {scale:.2f}")


def seeded_outputs() -> Measured:
    """The committed answers for seeded weights, by dlib again; made where they are not there."""
    weights = OUT / "seeded.dat"
    OUT.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(dlib_file(seeded))
    found = dlib_answers(weights, chips(50))
    if not GOLDEN.is_file():
        np.save(GOLDEN, found)
        return Measured(None, False, f"{GOLDEN} was not there and is now: look at it, commit it")
    return at_most(float(np.abs(found - np.load(GOLDEN)).max()), 1e-6)


def same_file() -> Measured:
    """The published numbers, written by the tests' writer: the published bytes."""
    facepipe("fetch", NAME, log="dlib-fetch")
    path = locate_weights(MODELS[NAME], open_workspace(REPOSITORY))
    content = path.read_bytes()
    network = read_dlib_network(content, str(path))
    written = dlib_file(lambda place, *_: network.layers[place].numbers)
    return Measured(len(written), written == content, "bytes, all the same" if written == content else "bytes, others")


def lfw(detector: str) -> Measured:
    assets()
    run = anew(f"lfw-{NAME}-{detector}")
    make("lfw", log=run.name, EMBEDDER=NAME, DETECTOR=detector, RUN=run)
    found = read(run / "accuracy.json")
    note = f"± {found['accuracy']['std']:.4f}, {found['pairs']['missing']} pairs lack a face"
    return at_least(found["accuracy"]["mean"], 0.990, note)


CHECKS = (
    Check("dlib_outputs", "dlib.resnet and dlib itself on fifty faces", "within 1e-5", outputs),
    Check("dlib_seeded", "the committed answers of dlib for seeded weights", "within 1e-6", seeded_outputs),
    Check("dlib_file", "the tests' writer of dlib's file", "the published file's bytes", same_file),
    Check("dlib_lfw_mtcnn", "LFW, MTCNN + dlib.resnet", "at least 0.990", lambda: lfw("mtcnn")),
    Check(
        "dlib_lfw_retinaface",
        "LFW, RetinaFace + dlib.resnet",
        "at least 0.990",
        lambda: lfw("retinaface.mobilenet0.25"),
    ),
)
