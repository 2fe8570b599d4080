# SPDX-License-Identifier: Apache-2.0
"""MNN, ncnn and Halide on the cascade's calls; runs in the environment of these libraries, which has no facepipe.

Started by `benchmarks.cascade_engines`: ENGINE FOLDER. The folder holds, for each network, `<name>.onnx`, `<name>.json`
(its layers), `<name>.npz` (weights and biases, slopes) and `<name>.calls.npz`. Answers one line of JSON for each line.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np

Network = Callable[[np.ndarray], np.ndarray]  # images [N, C, h, w] to the outputs side by side, [N, channels, ...]


def mnn(folder: Path, name: str) -> Network:
    """By MNN's own converter; any shape, batches."""
    import MNN
    import MNN.expr
    import MNN.nn

    converted = folder / f"{name}.mnn"
    command = [Path(sys.executable).with_name("mnnconvert"), "-f", "ONNX"]
    command += ["--modelFile", folder / f"{name}.onnx", "--MNNModel", converted, "--bizCode", "x"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    layers = json.loads((folder / f"{name}.json").read_text())
    config = {"backend": "CPU", "numThread": 1, "precision": "high"}
    manager = MNN.nn.create_runtime_manager((config,))
    module = MNN.nn.load_module_from_file(str(converted), [layers["input"]], layers["outputs"], runtime_manager=manager)

    def run(images: np.ndarray) -> np.ndarray:
        image = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)
        found = module.forward([image])
        arrays = [np.array(MNN.expr.convert(one, MNN.expr.NCHW).read(), copy=True) for one in found]
        return np.concatenate(arrays, axis=1)

    return run


def ncnn(folder: Path, name: str) -> Network:
    """A file of ncnn's own form, written from the layers. One image a call: ncnn knows no batch."""
    import ncnn as library

    layers = json.loads((folder / f"{name}.json").read_text())["layers"]
    numbers = np.load(folder / f"{name}.npz")
    lines, content, last = ["Input input 0 1 b0"], b"", "b0"
    for place, layer in enumerate(layers):
        now = f"b{place + 1}"
        if layer["kind"] == "pool":
            sizes = f"0=0 1={layer['size']} 2={layer['stride']} 5=0"
            lines.append(f"Pooling p{place} 1 1 {last} {now} {sizes}")
        else:
            weights = numbers[f"weights{place}"]
            sizes = f"0={len(weights)} 1={weights.shape[2]} 5=1 6={weights.size}"
            middle = f"{now}c" if layer["prelu"] else now
            lines.append(f"Convolution c{place} 1 1 {last} {middle} {sizes}")
            content += bytes(4) + weights.tobytes() + numbers[f"bias{place}"].tobytes()
            if layer["prelu"]:
                lines.append(f"PReLU a{place} 1 1 {middle} {now} 0={len(weights)}")
                content += numbers[f"slopes{place}"].tobytes()
        last = now
    blobs = 1 + sum(line.split()[0] != "Input" for line in lines)
    (folder / f"{name}.param").write_text("\n".join(["7767517", f"{len(lines)} {blobs}", *lines]) + "\n")
    (folder / f"{name}.bin").write_bytes(content)
    net = library.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    assert net.load_param(str(folder / f"{name}.param")) == 0 and net.load_model(str(folder / f"{name}.bin")) == 0

    def run(images: np.ndarray) -> np.ndarray:
        rows = []
        for image in images:
            extractor = net.create_extractor()
            extractor.input("b0", library.Mat(image))
            code, found = extractor.extract(last)
            assert code == 0
            array = np.array(found)
            rows.append(array.reshape(-1, 1, 1) if array.ndim == 1 else array)
        return np.stack(rows)

    return run


def halide(folder: Path, name: str) -> Network:
    """Sums of products in blocks of registers, as `backends/native` does without Winograd; a plain schedule."""
    import halide as hl

    layers = json.loads((folder / f"{name}.json").read_text())["layers"]
    numbers = np.load(folder / f"{name}.npz")
    target = hl.get_jit_target_from_environment()
    width = target.natural_vector_size(hl.Float(32))
    c, x, y, n = (hl.Var(letter) for letter in "cxyn")
    co, ci, xo, xi = (hl.Var(letter) for letter in ("co", "ci", "xo", "xi"))
    image = hl.ImageParam(hl.Float(32), 4)  # x, y, c, n
    first = hl.Func("first")
    first[c, x, y, n] = image[x, y, c, n]
    last, sides, channels = first, (image.dim(0).extent(), image.dim(1).extent()), 0
    kept, stages = [], []
    for place, layer in enumerate(layers):
        func = hl.Func(f"f{place}")
        if layer["kind"] == "pool":
            size, stride = layer["size"], layer["stride"]
            r = hl.RDom([(0, size), (0, size)])
            at = [hl.min(v * stride + r[i], sides[i] - 1) for i, v in enumerate((x, y))]
            func[c, x, y, n] = hl.maximum(last[c, at[0], at[1], n])
            func.compute_root().vectorize(c, width, hl.TailStrategy.RoundUp)
            sides = tuple((side - size + stride - 1) // stride + 1 for side in sides)
        else:
            weights = numbers[f"weights{place}"]
            outputs, inputs, taps, _ = weights.shape
            padded = -(-outputs // width) * width
            packed = np.zeros((taps, taps, inputs, padded), np.float32)
            packed[..., :outputs] = weights.transpose(2, 3, 1, 0)
            bias, slopes = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
            bias[:outputs] = numbers[f"bias{place}"]
            w, b = hl.Buffer(packed), hl.Buffer(bias)  # c, in, x, y
            kept += [packed, bias, slopes, w, b]
            r = hl.RDom([(0, inputs), (0, taps), (0, taps)])
            total = hl.Func(f"t{place}")
            total[c, x, y, n] = b[c]
            total[c, x, y, n] += w[c, r[0], r[1], r[2]] * last[r[0], x + r[1], y + r[2], n]
            if layer["prelu"]:
                slopes[:outputs] = numbers[f"slopes{place}"]
                s = hl.Buffer(slopes)
                kept.append(s)
                func[c, x, y, n] = hl.select(total[c, x, y, n] > 0, total[c, x, y, n], s[c] * total[c, x, y, n])
            else:
                func[c, x, y, n] = total[c, x, y, n]
            vectors = 2 if padded % (2 * width) == 0 else 1
            sides = tuple(side - taps + 1 for side in sides)
            channels = padded
            func.bound(c, 0, padded).compute_root()
            rows = 12 if not (name != "pnet" and place == len(layers) - 1) else 1
            func.split(c, co, ci, vectors * width).split(x, xo, xi, rows, hl.TailStrategy.GuardWithIf)
            func.reorder(ci, xi, xo, y, n, co).vectorize(ci, width).unroll(ci)
            total.compute_at(func, xo).vectorize(c, width).unroll(c).unroll(x)
            update = total.update()
            update.reorder(c, x, r[0], r[1], r[2]).vectorize(c, width).unroll(c).unroll(x)
        stages.append(func)
        last = func
    first.compute_root().bound(c, 0, numbers["weights0"].shape[1]).unroll(c)
    last.compile_jit(target)
    count = json.loads((folder / f"{name}.json").read_text())["channels"]

    def run(images: np.ndarray) -> np.ndarray:
        image.set(hl.Buffer(images))
        down, across = images.shape[2:]
        for layer in layers:
            taps = layer["size"]
            stride = layer.get("stride", 1)
            down, across = (-(-(side - taps) // stride) + 1 for side in (down, across))
        out = np.empty((len(images), down, across, channels), np.float32)  # n, y, x, c
        last.realize(hl.Buffer(out))
        return out[..., :count].transpose(0, 3, 1, 2)

    run.kept = kept  # type: ignore[attr-defined]
    return run


ENGINES = {"mnn": ("MNN", mnn), "ncnn": ("ncnn", ncnn), "halide": ("halide", halide)}


def main() -> None:
    engine, folder = sys.argv[1], Path(sys.argv[2])
    project, opened = ENGINES[engine]
    answers = answers_alone()
    networks = {name: opened(folder, name) for name in ("pnet", "rnet", "onet")}
    serve(networks, folder, importlib.metadata.version(project), answers)


def answers_alone() -> TextIO:
    """Standard output for answers; what libraries print goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def serve(networks: dict[str, Network], folder: Path, version: str, answers: TextIO) -> None:
    """Say that all is ready; then answer every line on standard input with one line of JSON."""
    stored = {name: np.load(folder / f"{name}.calls.npz") for name in networks}
    calls = {name: [file[f"call{i}"] for i in range(len(file.files) // 2)] for name, file in stored.items()}
    apart = {}
    for name, network in networks.items():  # the first round warms up, and is compared
        wanted = [stored[name][f"answer{i}"] for i in range(len(calls[name]))]
        found = [network(call).reshape(answer.shape) for call, answer in zip(calls[name], wanted, strict=True)]
        apart[name] = max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))
    print(json.dumps({"version": version, "apart": apart}), file=answers, flush=True)
    for _ in sys.stdin:
        taken = {}
        for name, network in networks.items():
            began = time.process_time()
            for call in calls[name]:
                network(call)
            taken[name] = time.process_time() - began
        print(json.dumps(taken), file=answers, flush=True)


if __name__ == "__main__":
    main()
