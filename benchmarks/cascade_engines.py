# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.cascade_engines --photographs 32 --rounds 15

Which engine runs MTCNN's three networks in the least processor time? onnxruntime, OpenVINO, `native` with Winograd's
convolutions and without, and MNN, ncnn and Halide where they install (into `.venv-engines`), each in a process and on
one thread. They get the very arrays that the cascade gives its networks on photographs of LFW: PNet's levels in
batches, RNet's and ONet's candidates in batches of 48. Each round every engine has its turn, in another order; the
ratio to `native` is of the same round. What an engine answers is held against onnxruntime.

Writes docs/decisions/0001-native-engine.json beside the decision, and prints the table that stands in it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib import metadata
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.foreign_engines import ENGINES as FOREIGN
from benchmarks.foreign_engines import answers_alone, serve
from facepipe.assets.lfw import locate_lfw
from facepipe.assets.workspace import open_workspace
from facepipe.backends import backend_by_name
from facepipe.backends.base import Run, open_session
from facepipe.backends.native import session as native
from facepipe.backends.native.chain import Convolution, chain_from_onnx
from facepipe.catalogue import model
from facepipe.datasets.images import list_keys, read
from facepipe.detect.mtcnn import Mtcnn, MtcnnSettings
from facepipe.store.files import write_json

NETWORKS: Final = ("pnet", "rnet", "onet")
PROJECTS: Final = {"onnxruntime": "onnxruntime", "openvino": "openvino", "native": "llvmlite", "direct": "llvmlite"}
"""Engines of this environment, and the distribution that each stands on; "direct" is native without Winograd."""
BASELINE: Final = "native"
ENVIRONMENT: Final = Path(".venv-engines")
BATCH: Final = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--engines", nargs="+", default=[*PROJECTS, *FOREIGN])
    parser.add_argument("--out", type=Path, default=Path("docs/decisions/0001-native-engine.json"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args.child[0], Path(args.child[1]), args.weights)
        return
    with tempfile.TemporaryDirectory(prefix="facepipe-engines-") as scratch:
        write_calls(Path(scratch), args.weights, args.photographs)
        found = measure(Path(scratch), args.engines, args.photographs, args.rounds, args.weights)
    about = {
        "command": f"python -m benchmarks.cascade_engines --photographs {args.photographs} --rounds {args.rounds}",
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "numpy": metadata.version("numpy"),
    }
    write_json(args.out, {**about, **found}, overwrite=True)
    print("\n".join(table(found)))


def write_calls(folder: Path, weights: Path, photographs: int) -> None:
    """What the cascade gives each network on so many photographs of LFW, and onnxruntime's answers; and the layers."""
    root, _ = locate_lfw(open_workspace())
    keys = list_keys(root)
    chosen = [read(root / key) for key in keys[:: max(1, len(keys) // photographs)][:photographs]]
    calls: dict[str, list[np.ndarray]] = {name: [] for name in NETWORKS}
    answers: dict[str, list[np.ndarray]] = {name: [] for name in NETWORKS}

    def recorded(name: str, run: Run) -> Run:
        def wrapped(images: np.ndarray) -> tuple[np.ndarray, ...]:
            outputs = run(images)
            calls[name].append(np.array(images))
            answers[name].append(np.concatenate(outputs, axis=1))
            return outputs

        return wrapped

    with ExitStack() as stack:
        runs: list[Run] = []
        for name in NETWORKS:
            spec = model(name)
            session = stack.enter_context(open_session(backend_by_name("onnxruntime"), spec, spec.final(weights)))
            runs.append(recorded(name, session.run))
        pnet, rnet, onet = runs
        detector = Mtcnn(pnet, rnet, onet, MtcnnSettings(batch=BATCH))
        for start in range(0, len(chosen), BATCH):
            detector.detect(chosen[start : start + BATCH])
    for name in NETWORKS:
        arrays = {f"call{i}": call for i, call in enumerate(calls[name])}
        arrays |= {f"answer{i}": answer for i, answer in enumerate(answers[name])}
        np.savez(folder / f"{name}.calls.npz", **arrays)  # type: ignore[arg-type]
        _write_layers(folder, name, model(name).final(weights))


def _write_layers(folder: Path, name: str, path: Path) -> None:
    """The network as plain layers and numbers, for engines that read no ONNX."""
    import onnx

    shutil.copyfile(path, folder / f"{name}.onnx")
    graph = onnx.load(path).graph
    chain = chain_from_onnx(path.read_bytes(), path)
    layers: list[dict[str, object]] = []
    numbers: dict[str, np.ndarray] = {}
    for place, layer in enumerate(chain.layers):
        if isinstance(layer, Convolution):
            layers.append({"kind": "convolution", "size": layer.taps, "prelu": layer.slopes is not None})
            numbers |= {f"weights{place}": layer.weights, f"bias{place}": layer.bias}
            if layer.slopes is not None:
                numbers[f"slopes{place}"] = layer.slopes
        else:
            layers.append({"kind": "pool", "size": layer.size, "stride": layer.stride})
    about = {
        "layers": layers,
        "channels": sum(chain.heads),
        "input": graph.input[0].name,
        "outputs": [output.name for output in graph.output],
    }
    (folder / f"{name}.json").write_text(json.dumps(about))
    contiguous = {key: np.ascontiguousarray(array, np.float32) for key, array in numbers.items()}
    np.savez(folder / f"{name}.npz", **contiguous)  # type: ignore[arg-type]


def measure(folder: Path, engines: Sequence[str], photographs: int, rounds: int, weights: Path) -> dict[str, Any]:
    """Processor milliseconds a photograph of every engine, in paired rounds; and why an engine is not there."""
    children: dict[str, subprocess.Popen[str]] = {}
    found: dict[str, Any] = {"photographs": photographs, "rounds": rounds, "engines": {}, "absent": {}}
    taken: dict[str, list[dict[str, float]]] = {}
    try:
        for engine in engines:
            child = _started(engine, folder, weights)
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line:
                child.wait()
                assert child.stderr is not None
                said = child.stderr.read().strip().splitlines() or ["it ended without a word"]
                found["absent"][engine] = said[-1]
                continue
            children[engine], taken[engine] = child, []
            found["engines"][engine] = json.loads(line)
            print(f"{engine}: {line.strip()}", file=sys.stderr, flush=True)
        order = list(children)
        for number in range(rounds):
            random.Random(number).shuffle(order)
            for engine in order:
                child = children[engine]
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write("run\n")
                child.stdin.flush()
                taken[engine].append(json.loads(child.stdout.readline()))
    finally:
        for child in children.values():
            assert child.stdin is not None
            child.stdin.close()
            child.wait()
    for engine, rows in taken.items():
        totals = [1e3 * sum(row.values()) / photographs for row in rows]
        base = [1e3 * sum(row.values()) / photographs for row in taken.get(BASELINE, rows)]
        found["engines"][engine] |= {
            "core_ms": _told(totals),
            "networks": {name: _told([1e3 * row[name] / photographs for row in rows]) for name in NETWORKS},
            "ratio": _told([one / other for one, other in zip(totals, base, strict=True)]),
            "more_ms": _told([one - other for one, other in zip(totals, base, strict=True)]),
        }
    return found


def _told(values: Sequence[float]) -> dict[str, float]:
    """The median and its interval of 95 %, by order statistics: no assumption on how the values are spread."""
    ordered, count = sorted(values), len(values)
    cut = 0  # the largest for which both tails of the binomial distribution hold at most 2.5 %
    while 2 * cut + 2 < count and sum(comb(count, k) for k in range(cut + 1)) <= 0.025 * 2**count:
        cut += 1
    low = max(0, cut - 1)
    return {
        "median": round(statistics.median(ordered), 4),
        "low": round(ordered[low], 4),
        "high": round(ordered[count - 1 - low], 4),
    }


def table(found: dict[str, Any]) -> list[str]:
    """The measurements as Markdown."""
    lines = [
        "| engine | core-ms a photograph | PNet | RNet | ONet | ratio to native | apart from onnxruntime |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for engine, row in sorted(found["engines"].items(), key=lambda item: float(item[1]["core_ms"]["median"])):
        networks = " | ".join(f"{row['networks'][name]['median']:.2f}" for name in NETWORKS)
        lines.append(
            f"| {engine} {row['version']} | {_interval(row['core_ms'])} | {networks} | {_interval(row['ratio'])} | "
            f"{max(row['apart'].values()):.1e} |"
        )
    return [*lines, *(f"{engine}: {reason}" for engine, reason in found["absent"].items())]


def _interval(told: dict[str, float]) -> str:
    return f"{told['median']:.2f} ({told['low']:.2f} to {told['high']:.2f})"


def _started(engine: str, folder: Path, weights: Path) -> subprocess.Popen[str]:
    if engine in PROJECTS:
        command = [sys.executable, "-m", "benchmarks.cascade_engines", "--child", engine, str(folder)]
        command += ["--weights", str(weights)]
    else:
        command = [str(_python()), str(Path(__file__).with_name("foreign_engines.py")), engine, str(folder)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, text=True, **pipes)


def _python() -> Path:
    """The interpreter of the other libraries' environment, which is made once."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        for project, _ in FOREIGN.values():  # one by one: what does not install leaves the others
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", project, "numpy"], check=False)
    return python


def _child(engine: str, folder: Path, weights: Path) -> None:
    """One of this environment's engines, in a process of its own."""
    if engine == "direct":
        native.LEAST_INPUTS = 1 << 30  # type: ignore[misc]
    backend, answers = backend_by_name("native" if engine == "direct" else engine), answers_alone()
    with ExitStack() as stack:
        networks: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        for name in NETWORKS:
            session = stack.enter_context(open_session(backend, model(name), model(name).final(weights)))
            networks[name] = _joined(session.run)
        serve(networks, folder, metadata.version(PROJECTS[engine]), answers)


def _joined(run: Run) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: np.concatenate(run(images), axis=1)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


if __name__ == "__main__":
    main()
