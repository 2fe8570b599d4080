# SPDX-License-Identifier: Apache-2.0
"""Decoded detectors in engines that are no part of facepipe, in an environment of their own."""

from __future__ import annotations

import sys

from checks import BIN, OUT, REPOSITORY, Check, Measured, NotRun, call

from facepipe.catalogue import MODELS

ENVIRONMENT = REPOSITORY / "runs" / "engines"
PACKAGES = ("onnx", "onnxruntime", "opencv-python-headless", "openvino", "apache-tvm")
ENGINES = ("opencv", "openvino", "tvm")


def other_engines() -> Measured:
    """Every detector of one network whose model is here, decoded, in OpenCV, OpenVINO and TVM, beside onnxruntime."""
    weights = REPOSITORY / "weights"
    names = [name for name, spec in MODELS.items() if spec.single_shot and spec.final(weights).is_file()]
    if not names:
        raise NotRun("no detector of one network is converted in weights/")
    python = ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        call([sys.executable, "-m", "venv", str(ENVIRONMENT)], log="engines-venv")
    call([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], log="engines-pip")
    files = []
    for name in names:
        files.append(OUT / f"{name}.decoded.onnx")
        command = [str(BIN / "facepipe"), "export", name, "--decoded", "--overwrite", "--output", str(files[-1])]
        call(command, log=f"export-{name}")
    told = call([str(python), "examples/other_engines.py", *map(str, files)], log="other-engines")
    rows = [line.split("\t") for line in told.splitlines() if line.count("\t") == 2]
    found = {engine: [float(value) for _, one, value in rows if one == engine] for engine in ENGINES}
    worst = {engine: max(values, default=None) for engine, values in found.items()}
    complete = all(len(values) == len(names) for values in found.values())
    near = complete and all(value <= 1e-3 for values in found.values() for value in values)
    return Measured(worst, near, f"{len(names)} detectors: {', '.join(names)}")


CHECKS = (
    Check(
        "other_engines",
        "decoded detectors in OpenCV's DNN module, OpenVINO and TVM, against onnxruntime",
        "every output within 1e-3",
        other_engines,
    ),
)
