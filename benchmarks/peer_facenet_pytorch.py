# SPDX-License-Identifier: Apache-2.0
"""facenet-pytorch on a list of photographs, timed: the other side of `make bench`. Run by the peer's own Python.

Reads JSON objects from standard input and writes them to standard output, a line each:

    in:  photographs (paths), shard_size, batch, threads
    out: versions, when it is loaded
    in:  shard (a number), again and again
    out: faces, when that shard's photographs are done

or answers one question:

    in:  photographs (paths), threads, answers (true)
    out: answers: boxes, scores and landmarks by path; versions
    in:  crops (numbers of crops), threads
    out: latency_ms of the recogniser alone, by that number

The recogniser's weights are facepipe's `facenet.seeded`, which no file is needed for. A shard is decoded, detected,
selected, cropped and embedded, as the library's own LFW notebook does.
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
    """Load, then do what is asked."""
    settings = json.loads(sys.stdin.readline())
    torch.set_num_threads(settings["threads"])
    warnings.simplefilter("ignore")  # the library's own deprecations; standard output is for the answer
    from facenet_pytorch import MTCNN, InceptionResnetV1

    network = InceptionResnetV1(pretrained=None).eval()
    network.load_state_dict({key: seeded(key, value) for key, value in network.state_dict().items()})
    if "crops" in settings:
        with torch.inference_mode():
            say({"latency_ms": {count: latency_ms(network, count) for count in settings["crops"]}})
        return
    detector = MTCNN(image_size=160, margin=14, selection_method="center_weighted_size")
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    paths = [Path(path) for path in settings["photographs"]]
    with torch.inference_mode():
        if settings.get("answers"):
            say({"answers": {path.as_posix(): answers(path, detector) for path in paths}, "versions": versions})
            return
        say({"versions": versions})
        size, batch = settings["shard_size"], settings["batch"]
        for line in sys.stdin:
            first = json.loads(line)["shard"] * size
            shard = paths[first : first + size]
            batches = [shard[start : start + batch] for start in range(0, len(shard), batch)]
            say({"faces": sum(process(batch, detector, network) for batch in batches)})


def say(answer: dict[str, object]) -> None:
    """One line of standard output."""
    print(json.dumps(answer), flush=True)


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
