# SPDX-License-Identifier: Apache-2.0
"""facenet-pytorch on a list of photographs, timed: the other side of `make bench`. Run by the peer's own Python.

Reads one JSON object from standard input, writes one to standard output:

    in:  photographs (paths), batch, threads, repeats (0: no timing), answers (bool)
    out: photographs, faces, seconds (one for each repeat), load_seconds, peak_memory_bytes, versions,
         and with answers: boxes, scores and landmarks by path
    in:  crops (numbers of crops), threads
    out: latency_ms of the recogniser alone, by that number

The recogniser's weights are facepipe's `facenet.seeded`, which no file is needed for. Each repeat decodes, detects,
selects, crops and embeds every photograph, as the library's own LFW notebook does.
This is the only file of the project that imports facenet_pytorch; the package never does.
"""

import json
import statistics
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def main() -> None:
    """Load, warm up on one batch, then time each repeat from the first byte read to the last embedding."""
    settings = json.load(sys.stdin)
    torch.set_num_threads(settings["threads"])
    warnings.simplefilter("ignore")  # the library's own deprecations; standard output is for the answer
    begun = time.perf_counter()
    from facenet_pytorch import MTCNN, InceptionResnetV1

    network = InceptionResnetV1(pretrained=None).eval()
    network.load_state_dict({key: seeded(key, value) for key, value in network.state_dict().items()})
    if "crops" in settings:
        with torch.inference_mode():
            json.dump({"latency_ms": {count: latency_ms(network, count) for count in settings["crops"]}}, sys.stdout)
        return
    detector = MTCNN(image_size=160, margin=14, selection_method="center_weighted_size")
    load_seconds = time.perf_counter() - begun

    paths, size = [Path(path) for path in settings["photographs"]], settings["batch"]
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    seconds, faces = [], 0
    with torch.inference_mode():
        if settings["repeats"]:
            process(batches[0], detector, network)
        for _ in range(settings["repeats"]):
            begun = time.perf_counter()
            faces = sum(process(batch, detector, network) for batch in batches)
            seconds.append(time.perf_counter() - begun)
    answer = {
        "photographs": len(paths),
        "faces": faces,
        "seconds": seconds,
        "load_seconds": load_seconds,
        "peak_memory_bytes": peak_memory(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    if settings.get("answers"):
        answer["answers"] = {path.as_posix(): answers(path, detector) for path in paths}
    json.dump(answer, sys.stdout)


def process(paths: list[Path], detector: object, network: object) -> int:
    """Photographs to embeddings; returns how many had a face.

    Detection and embedding are batched. Selection goes photograph by photograph: with NumPy 1.24 or newer the
    library's own call on a batch raises as soon as one photograph has no face (its issue 224).
    """
    images = [open_rgb(path) for path in paths]
    crops = []
    for image, boxes, scores, landmarks in zip(images, *detector.detect(images, landmarks=True), strict=True):
        if boxes is not None:
            box, _, _ = detector.select_boxes(boxes, scores, landmarks, image, method=detector.selection_method)
            crops.append(detector.extract(image, box, None))
    if crops:
        network(torch.stack(crops)).numpy()
    return len(crops)


def latency_ms(network: torch.nn.Module, count: int) -> float:
    """One call of the recogniser on `count` crops: the median of five after one."""
    crops = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (count, 3, 160, 160)).astype(np.float32))
    network(crops)
    spent = []
    for _ in range(5):
        begun = time.perf_counter()
        network(crops)
        spent.append(1000 * (time.perf_counter() - begun))
    return statistics.median(spent)


def peak_memory() -> int:
    """Bytes of memory that this process held at its highest, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def answers(path: Path, detector: object) -> dict[str, list]:
    """Every face of one photograph as the library gives it."""
    boxes, scores, landmarks = detector.detect(open_rgb(path), landmarks=True)
    if boxes is None:
        return {"boxes": [], "scores": [], "landmarks": []}
    return {"boxes": boxes.tolist(), "scores": scores.tolist(), "landmarks": landmarks.tolist()}


def seeded(key: str, value: torch.Tensor) -> torch.Tensor:
    """One entry of the state dict, drawn from a generator that its own name seeds."""
    rng, shape = np.random.default_rng(zlib.crc32(key.encode())), tuple(value.shape)
    if key.startswith("logits."):  # the classifier, which embedding does not use
        return value
    if key.endswith("num_batches_tracked"):
        return torch.zeros_like(value)
    if key.endswith("running_var") or ("bn." in key and key.endswith("weight")):
        drawn = rng.uniform(0.5, 1.5, shape)
    elif key.endswith(("running_mean", "bias")):
        drawn = rng.normal(0, 0.1, shape)
    else:
        drawn = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return torch.from_numpy(drawn).to(value.dtype)


def open_rgb(path: Path) -> Image.Image:
    """One photograph, decoded."""
    with Image.open(path) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    main()
