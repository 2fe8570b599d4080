# SPDX-License-Identifier: Apache-2.0
"""Networks and converted models beside golden tensors, and parity after every conversion step, measured again here."""

from __future__ import annotations

import numpy as np
from checks import REPOSITORY, Check, Measured, facepipe, golden, read

from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.catalogue import MODELS
from facepipe.geometry.normalise import normalise

WEIGHTS = REPOSITORY / "weights"
GOLDEN_OUTPUTS = {
    "pnet": ("box_offsets", "probabilities"),
    "rnet": ("box_offsets", "probabilities"),
    "onet": ("box_offsets", "landmarks", "probabilities"),
}


def golden_tensors() -> list[tuple[str, np.ndarray, tuple[np.ndarray, ...]]]:
    """(model, input, outputs) of every golden network."""
    nets = np.load(golden() / "mtcnn_nets.npz")
    found = [
        (name, nets[f"{name}_input"], tuple(nets[f"{name}_{output}"] for output in outputs))
        for name, outputs in GOLDEN_OUTPUTS.items()
    ]
    facenet = np.load(golden() / "inception_resnet_v1.npz")
    crops = normalise(facenet["crops"], MODELS["facenet.seeded"].pixels)
    return [*found, ("facenet.seeded", crops, (facenet["embeddings"],))]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the second axis."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def difference(name: str, outputs: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> float:
    """The greatest difference; the last output of the detector's networks is compared after softmax."""
    if name in GOLDEN_OUTPUTS:
        outputs = (*outputs[:-1], softmax(outputs[-1]))
    return max(float(np.abs(one - two).max()) for one, two in zip(outputs, expected, strict=True))


def modules() -> Measured:
    import torch

    from facepipe.assets.workspace import locate_weights, open_workspace
    from facepipe.convert.onnx.checkpoint import load
    from facepipe.specs import Recipe

    facepipe("fetch", "mtcnn", log="fetch")
    found = {}
    for name, image, expected in golden_tensors():
        spec = MODELS[name]
        recipe = isinstance(spec.weights.origin, Recipe)
        network = load(spec, None if recipe else locate_weights(spec, open_workspace(REPOSITORY))).network
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image))
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        found[name] = difference(name, tuple(output.numpy() for output in outputs), expected)
    return Measured(found, max(found.values()) <= 1e-5)


def final_models() -> Measured:
    facepipe("fetch", "mtcnn", log="fetch")
    facepipe("onnx", "mtcnn", "facenet.seeded", log="onnx-golden")
    found = {}
    for name, image, expected in golden_tensors():
        spec = MODELS[name]
        with open_session(OnnxRuntime(RuntimeOptions()), spec, spec.final(WEIGHTS)) as session:
            found[name] = difference(name, session.run(image), expected)
    return Measured(found, max(found.values()) <= 1e-4)


def parity() -> Measured:
    """Every file that conversion left, against the PyTorch module, on fresh random inputs."""
    import onnxruntime
    import torch

    from facepipe.assets.workspace import find_weights, open_workspace
    from facepipe.convert.onnx.checkpoint import load
    from facepipe.specs import Recipe

    facepipe("fetch", "mtcnn", log="fetch")
    facepipe("onnx", log="onnx")
    workspace = open_workspace(REPOSITORY)
    steps = {name: model["steps"] for name, model in read(WEIGHTS / "parity.json")["models"].items()}
    found, right = {}, bool(steps)
    for name in steps:
        spec, rng = MODELS[name], np.random.default_rng(1)
        recipe = isinstance(spec.weights.origin, Recipe)
        network = load(spec, None if recipe else find_weights(spec, workspace)).network
        shape = [1 if axis == 0 and dim.is_fixed else 2 if axis == 0 else min(dim.high, max(dim.low, 96))
                 for axis, dim in enumerate(spec.input.dims)]  # fmt: skip
        image = rng.uniform(-1, 1, shape).astype(np.float32)
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image))
        reference = [o.numpy() for o in ((outputs,) if isinstance(outputs, torch.Tensor) else outputs)]
        worst, cosine = 0.0, 1.0
        for path in (spec.exported(WEIGHTS), spec.fixed(WEIGHTS), spec.final(WEIGHTS)):
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            answers = session.run(None, {session.get_inputs()[0].name: image})
            for one, two in zip(reference, answers, strict=True):
                worst = max(worst, float(np.abs(one - two).max() / max(1.0, np.abs(one).max())))
                if spec.task == "embed":
                    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, two)]
                    cosine = min(cosine, float((unit[0] * unit[1]).sum(axis=1).min()))
        found[name] = {"max_abs_difference_scaled": worst, "cosine": cosine}
        right = right and worst <= 1e-5 and cosine >= 0.99999
    worst_of_all = max((row["max_abs_difference_scaled"] for row in found.values()), default=float("nan"))
    return Measured(found, right, f"{len(found)} models, worst {worst_of_all:.1e}")


CHECKS = (
    Check("golden_modules", "PyTorch modules and the golden tensors", "within 1e-5", modules),
    Check("golden_onnx", "final ONNX files and the golden tensors", "within 1e-4", final_models),
    Check(
        "parity",
        "exported, fixed and simplified ONNX of every model whose weights are present, against PyTorch",
        "max|a - b| at most 1e-5 max(1, max|reference|); embeddings' cosine at least 0.99999",
        parity,
    ),
)
