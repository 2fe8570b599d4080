# SPDX-License-Identifier: Apache-2.0
"""The commands that are killed, on work that is small and real: MTCNN's own networks, a recogniser of few numbers."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killing import Victim
from local_server import Site, served
from small_networks import write_onnx
from stand_ins import DEVLIB

from facepipe.catalogue import model
from facepipe.convert.onnx.report import write_report
from facepipe.datasets.sample import SampleSettings, make_sample
from facepipe.store.files import sha256_of_file, sidecar_of

RUNNING = (
    "facepipe.cli.lfw",
    "facepipe.detect.mtcnn",
    "facepipe.geometry.kernels",
    "facepipe.runs.staged_run",
    "facepipe.runs.score",
    "onnxruntime",
    "PIL.JpegImagePlugin",
)
SETTINGS = SampleSettings(people=4, photographs=6, faceless=2, folds=2, pairs_per_kind=5)
SHARD = 5


def make_work(folder: Path, weights: Path, settings: SampleSettings = SETTINGS) -> None:
    """Below `folder`: the sample, and weights with the cascade's networks and a small recogniser."""
    make_sample(folder / "sample", settings)
    (folder / "weights").mkdir()
    for name in ("pnet", "rnet", "onet"):
        final = model(name).final(weights)
        for path in (final, sidecar_of(final)):
            shutil.copy(path, folder / "weights" / path.name)
    spec = model("facenet.seeded")
    made = write_onnx(spec, spec.final(folder / "weights"))
    digest = sha256_of_file(made)
    write_report(spec, folder / "weights", digest, (), {})  # a gallery names the weights that it was made with


def lfw(work: Path, staged: bool, workers: int, shard: int = SHARD) -> Victim:
    """`facepipe lfw` in its four forms."""

    def words(folder: Path) -> list[str]:
        return [
            "lfw", "--data", str(work / "sample"), "--weights", str(work / "weights"), "--run", str(folder),
            "--embedder", "facenet.seeded", "--min-face", "40", "--batch", "4", "--shard", str(shard),
            "--workers", str(workers), *(["--staged"] if staged else []),
        ]  # fmt: skip

    return Victim(
        f"lfw {'staged' if staged else 'fused'}, {workers} worker{'s' if workers > 1 else ''}",
        words,
        imports=RUNNING,
        once=("*/shard-*.json", "*/manifest.json", "pack/bins/*.bin", "embed/outputs/*.bin"),
    )


@contextmanager
def lfw_site(work: Path) -> Iterator[tuple[Site, str, str]]:
    """A server with an archive of the sample's photographs, and the digests of archive and pairs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(work / "sample/images", "lfw")
    pairs = (work / "sample/pairs.txt").read_bytes()
    files = {"/lfw.tgz": packed.getvalue(), "/pairs.txt": pairs}
    with served(Site(files)) as site:
        yield site, hashlib.sha256(files["/lfw.tgz"]).hexdigest(), hashlib.sha256(pairs).hexdigest()


def fetch(work: Path, url: str, images_sha256: str, pairs_sha256: str) -> Victim:
    """`facepipe fetch lfw` from a server on this machine."""
    return Victim(
        "fetch",
        lambda folder: [str(folder), url, images_sha256, pairs_sha256],
        call="fetch",
        imports=("facepipe.assets.lfw",),
        whole=("data/lfw/*/*.jpg",),
    )


def onnx(work: Path, weights: Path) -> Victim:
    """`facepipe onnx rnet`, from the published weights."""
    return Victim(
        "onnx",
        lambda folder: ["onnx", "rnet", "--weights", str(folder)],
        imports=("facepipe.cli.onnx", "facepipe.convert.onnx.conversion", "onnxruntime"),
        prepare=lambda folder: _link(weights / "rnet.pt", folder),
    )


def om(work: Path, weights: Path, logs: Path) -> Victim:
    """`facepipe om rnet` with the stand-in for ATC."""
    tools = f"{Path(sys.executable).parent}:{Path(__file__).parents[1] / 'fakes' / 'bin'}"
    return Victim(
        "om",
        lambda folder: [
            "om", "rnet", "--soc", "Ascend310", "--batch", "4", "--weights", str(folder), "--logs", str(logs),
        ],
        imports=("facepipe.cli.om",),
        loose=("*.om", "*.om.json"),
        environment={"PATH": f"{tools}:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(DEVLIB)},
        prepare=lambda folder: _link(model("rnet").final(weights), folder),
    )  # fmt: skip


def gallery(work: Path) -> Victim:
    """`facepipe gallery build` from the sample's photographs."""

    def label(folder: Path) -> None:
        keys = sorted(path.relative_to(work / "sample/images") for path in (work / "sample/images").rglob("*_0002.jpg"))
        lines = "".join(f"{key.as_posix()}\t{key.parts[0]}\n" for key in keys)
        (work / "label.txt").write_text(lines)

    return Victim(
        "gallery",
        lambda folder: [
            "gallery", "build", str(work / "sample/images"), "--labels", str(work / "label.txt"),
            "--out", str(folder / "people.gallery"), "--overwrite", "--weights", str(work / "weights"),
            "--embedder", "facenet.seeded", "--min-face", "40",
        ],
        imports=("facepipe.cli.gallery", *RUNNING[1:]),
        prepare=label,
    )  # fmt: skip


def _link(path: Path, folder: Path) -> None:
    (folder / path.name).symlink_to(path.resolve())
