# SPDX-License-Identifier: Apache-2.0
"""LFW accuracy through the whole pipeline, by every way that must give the same."""

from __future__ import annotations

import functools
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from checks import BIN, OUT, Check, Measured, NotRun, anew, assets, at_least, attempt, facepipe, make, read

EMBEDDER = "mobilefacenet.ms1m"
WITHOUT_FACE = ["Marilyn_Monroe/Marilyn_Monroe_0001.jpg"]


@functools.cache
def fused(batch: int) -> dict[str, Any]:
    """accuracy.json of `make lfw` with this batch."""
    assets()
    run = anew(f"lfw-fused-{batch}")
    make("lfw", log=run.name, BATCH=batch, EMBEDDER=EMBEDDER, DETECTOR="mtcnn", RUN=run)
    return {**read(run / "accuracy.json"), "faces": (run / "faces.jsonl").read_bytes()}


def accuracy() -> Measured:
    found = fused(16)
    note = f"± {found['accuracy']['std']:.4f}, {found['pairs']['total']} pairs, {found['pairs']['missing']} missing"
    return Measured(
        found["accuracy"]["mean"], found["accuracy"]["mean"] >= 0.991 and found["pairs"]["total"] == 6000, note
    )


def without_face() -> Measured:
    found = fused(16)["images"]
    return Measured(found["no_face"], found["no_face"] == WITHOUT_FACE, f"of {found['total']} photographs")


def batch_one() -> Measured:
    first, second = fused(16), fused(1)
    value = [first["accuracy"]["mean"], second["accuracy"]["mean"]]
    same = "faces.jsonl is the same" if first["faces"] == second["faces"] else "faces.jsonl differs in some digits"
    return Measured(value, value[0] == value[1], same)


def staged() -> Measured:
    folder, run = assets() / "lfw", anew("lfw-staged-16")
    facepipe("lfw", "--staged", "--data", folder, "--embedder", EMBEDDER, "--batch", 16, "--run", run, log=run.name)
    value = [fused(16)["accuracy"]["mean"], read(run / "accuracy.json")["accuracy"]["mean"]]
    same = fused(16)["faces"] == (run / "faces.jsonl").read_bytes()
    return Measured(value, value[0] == value[1] and same, "the same faces.jsonl" if same else "faces.jsonl differs")


def embedder_alone() -> Measured:
    aligned, run = assets() / "lfw_aligned112" / "images", anew("lfw-aligned")
    pairs = assets() / "lfw" / "pairs.txt"
    facepipe("verification", aligned, "--pairs", pairs, "--embedder", EMBEDDER, "--run", run, log=run.name)
    found = read(run / "verification.json")
    return at_least(found["accuracy"]["mean"], 0.993, f"with flip {found['accuracy_flip']['mean']:.4f}")


def absent_weights() -> Measured:
    """`fetch` with a closed network, then `lfw`: one line, status 1, and an empty weights folder."""
    environment = {name: value for name, value in os.environ.items() if name != "FACEPIPE_ASSETS"}
    environment |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    with tempfile.TemporaryDirectory(prefix="facepipe-accept-") as name:
        folder = Path(name)
        seen = []
        for arguments in (["fetch", "facenet.vggface2"], ["onnx", "facenet.vggface2"]):
            done = attempt([str(BIN / "facepipe"), *arguments], folder=folder, environment=environment)
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            seen.append({"status": done.returncode, "lines": lines})
        left = sorted(path.name for path in folder.rglob("*") if path.is_file())
    clear = all(
        one["status"] == 1 and len(one["lines"]) == 1 and "20180402-114759-vggface2.pt" in one["lines"][0]
        for one in seen
    )
    return Measured({"runs": seen, "left_behind": left}, clear and left == [])


def make_puts_the_error_last() -> Measured:
    """`make lfw` without FaceNet's weights: facepipe's line stands directly above make's."""
    if next((OUT.parents[1] / "weights").glob("20180402-*"), None):
        raise NotRun("facenet.vggface2 is in weights/")
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = attempt(["make", "lfw", "BATCH=16"], environment={**os.environ, **closed})
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    value = lines[-2:]
    right = (
        len(value) == 2
        and value[0].startswith("facepipe fetch:")
        and re.match(r"make(\[\d+\])?: \*\*\*", value[1]) is not None
    )
    return Measured(value, right and done.returncode == 2)


CHECKS = (
    Check("lfw_accuracy", "LFW, MTCNN + mobilefacenet.ms1m, BATCH=16", "at least 0.991 over 6,000 pairs", accuracy),
    Check("lfw_no_face", "photographs without a face", f"exactly {WITHOUT_FACE}", without_face),
    Check("lfw_batch_1", "BATCH=1 gives the same mean", "equal to BATCH=16", batch_one),
    Check("lfw_staged", "the staged run gives the same mean and boxes", "equal to fused", staged),
    Check("lfw_aligned", "the embedder alone, on aligned faces", "at least 0.993", embedder_alone),
    Check("absent_weights", "facenet.vggface2 absent, no network", "one line, status 1, nothing left", absent_weights),
    Check(
        "make_error_line", "make lfw without weights", "facepipe's line directly above make's", make_puts_the_error_last
    ),
)
