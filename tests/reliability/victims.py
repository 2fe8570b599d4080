# SPDX-License-Identifier: Apache-2.0
"""The commands that are killed, on work that is small and real: MTCNN's own networks, a recogniser of few numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

from killing import Victim
from small_networks import write_onnx

from facepipe.catalogue import model
from facepipe.datasets.sample import SampleSettings, make_sample

RUNNING = (
    "facepipe.cli.lfw",
    "facepipe.detect.mtcnn",
    "facepipe.geometry.kernels",
    "facepipe.preprocess.staged",
    "facepipe.postprocess.score",
    "onnxruntime",
    "PIL.JpegImagePlugin",
)
SETTINGS = SampleSettings(people=4, photographs=6, faceless=2, folds=2, pairs_per_kind=5)
SHARD = 5


def make_work(folder: Path, weights: Path) -> None:
    """Below `folder`: the sample, and weights with the cascade's networks and a small recogniser."""
    make_sample(folder / "sample", SETTINGS)
    (folder / "weights").mkdir()
    for name in ("pnet", "rnet", "onet"):
        final = model(name).final(weights)
        for path in (final, final.with_name(f"{final.name}.json")):
            shutil.copy(path, folder / "weights" / path.name)
    write_onnx(model("facenet.seeded"), model("facenet.seeded").final(folder / "weights"))


def lfw(work: Path, staged: bool, workers: int) -> Victim:
    """`facepipe lfw` in its four forms."""

    def words(folder: Path) -> list[str]:
        return [
            "lfw", "--data", str(work / "sample"), "--weights", str(work / "weights"), "--run", str(folder),
            "--embedder", "facenet.seeded", "--min-face", "40", "--batch", "4", "--shard", str(SHARD),
            "--workers", str(workers), *(["--staged"] if staged else []),
        ]  # fmt: skip

    return Victim(
        f"lfw {'staged' if staged else 'fused'}, {workers} worker{'s' if workers > 1 else ''}",
        words,
        imports=RUNNING,
        once=("*/shard-*.npz", "*/manifest.json", "pack/bins/*.bin", "embed/outputs/*.bin"),
    )
