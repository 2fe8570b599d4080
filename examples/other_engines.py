# SPDX-License-Identifier: Apache-2.0
"""A decoded detector in OpenCV's DNN module, OpenVINO and TVM, beside onnxruntime: how each runs it, and how far it is.

    python -m venv engines
    engines/bin/pip install onnxruntime opencv-python-headless openvino apache-tvm onnx
    facepipe export ultraface.rfb-320 --decoded --output face.onnx
    engines/bin/python examples/other_engines.py face.onnx

Prints a line for each file and engine: the largest difference of any output from onnxruntime's, on noise. Ends with 1
when one is above 1e-3, or when no other engine is installed. It does not need facepipe.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import numpy as np

MOST = 1e-3
Answers = list[np.ndarray]


def by_onnxruntime(path: str, image: np.ndarray, names: list[str]) -> Answers:
    """The reference."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(names, {"input": image}))


def by_opencv(path: str, image: np.ndarray, names: list[str]) -> Answers:
    """OpenCV's DNN module."""
    import cv2

    network = cv2.dnn.readNetFromONNX(path)
    network.setInput(image, "input")
    return list(network.forward(names))


def by_openvino(path: str, image: np.ndarray, names: list[str]) -> Answers:
    """OpenVINO on the processor; without the hint, one with bfloat16 computes in that."""
    import openvino

    network = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = network({"input": image})
    return [answers[name] for name in names]


def by_tvm(path: str, image: np.ndarray, names: list[str]) -> Answers:
    """TVM: ONNX to Relax, compiled by LLVM for this processor, run by Relax's virtual machine. Outputs are by place."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    compiled = tvm.compile(from_onnx(onnx.load(path)), tvm.target.Target("llvm"))
    machine = relax.VirtualMachine(compiled, tvm.cpu())
    return [answer.numpy() for answer in machine["main"](tvm.runtime.tensor(image))]


ENGINES: dict[str, Callable[[str, np.ndarray, list[str]], Answers]] = {
    "opencv": by_opencv,
    "openvino": by_openvino,
    "tvm": by_tvm,
}


def noise_and_names(path: str) -> tuple[np.ndarray, list[str]]:
    """A picture of noise as the file's description says that inputs are made, and the outputs' names."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().description
    mean, scale = (
        np.array([float(number) for number in re.findall(rf"{word} (\S+), (\S+), ([^\s;]+?)[;.](?:\s|$)", told)[0]])
        for word in ("mean", "scale")
    )
    byte = np.random.default_rng(0).integers(0, 256, session.get_inputs()[0].shape)
    image = ((byte - mean[:, None, None]) * scale[:, None, None]).astype(np.float32)
    return image, [output.name for output in session.get_outputs()]


def main(paths: list[str]) -> int:
    """Every file in every engine that is installed."""
    near, compared = True, 0
    for path in paths:
        image, names = noise_and_names(path)
        expected = by_onnxruntime(path, image, names)
        for engine, run in ENGINES.items():
            try:
                answers = run(path, image, names)
            except ModuleNotFoundError as error:
                print(f"{path}\t{engine}\tnot installed (no module {error.name})")
                continue
            shapes = [answer.shape for answer in answers]
            if shapes != [answer.shape for answer in expected]:
                print(f"{path}\t{engine}\tother shapes: {shapes}")
                return 1
            # NumPy's maximum of a NaN is one, and Python's is not.
            difference = float(np.max([np.abs(a - b).max() for a, b in zip(expected, answers, strict=True)]))
            print(f"{path}\t{engine}\t{difference:.1e}", flush=True)
            near, compared = near and difference <= MOST, compared + 1  # no NaN is near
    return 0 if compared and near else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
