# SPDX-License-Identifier: Apache-2.0
"""Recognisers, verification sets and galleries: what they promise, in full."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from checks import BIN, OUT, Check, Measured, NotRun, anew, assets, attempt, call, facepipe, read
from lfw import fused

EMBEDDER = "mobilefacenet.ms1m"
FIGURES = ("accuracy_flip", "accuracy", "xnorm", "tar_at_far_1e-3", "auc", "eer")
CAST = ("Jennifer_Aniston", "Matthew_Perry", "Matt_LeBlanc")  # on the group photograph, and in LFW


def packed_set() -> Measured:
    """lfw_aligned112 packed as lfw.bin and read back, beside the folder."""
    faces, pairs = assets() / "lfw_aligned112" / "images", assets() / "lfw" / "pairs.txt"
    packed = OUT / "lfw.bin"
    facepipe("verification", faces, "--pairs", pairs, "--pack", packed, log="verification-pack")
    found = {}
    for name, source in (("folder", [faces, "--pairs", pairs]), ("bin", [packed])):
        run = OUT / f"verification-{name}"
        facepipe("verification", *source, "--embedder", EMBEDDER, "--run", run, log=run.name)
        found[name] = read(run / "verification.json")
    packed.unlink()
    same = all(found["folder"][name] == found["bin"][name] for name in FIGURES)
    flip = found["bin"]["accuracy_flip"]
    return Measured(
        flip["mean"],
        flip["mean"] >= 0.993 and same,
        f"± {flip['std']:.4f}; XNorm {found['bin']['xnorm']:.4f}; "
        + ("equal" if same else "not equal")
        + " to the folder",
    )


def published_onnx() -> Measured:
    """The publisher's own ONNX and ours on 64 aligned faces."""
    import onnxruntime

    from facepipe.catalogue import model
    from facepipe.datasets.images import read as read_picture
    from facepipe.geometry.normalise import normalise

    spec, root = model(EMBEDDER), assets() / "lfw_aligned112" / "images"
    faces = sorted(root.rglob("*.jpg"))[::120][:64]
    batch = normalise(np.stack([read_picture(path) for path in faces]), spec.pixels)
    published = onnxruntime.InferenceSession(str(assets() / "weights/mobilefacenet/mobilefacenet_reference.onnx"))
    ours = onnxruntime.InferenceSession(str(spec.final(OUT.parents[1] / "weights")))
    (found,) = ours.run(None, {"image": batch})
    expected = np.concatenate([published.run(None, {"input0": batch[i : i + 1]})[0] for i in range(len(batch))])
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    least = float(((found * expected).sum(axis=1) / lengths).min())
    return Measured(least, least >= 0.99999, f"least cosine over {len(faces)} aligned faces")


def iresnet50() -> Measured:
    """Parameters, names of the public checkpoints, torch against ONNX on random weights: the package's own tests."""
    tests = ["tests/networks/test_arcface_networks.py", "tests/convert/test_convert_arcface.py"]
    out = call([str(BIN / "python"), "-m", "pytest", "-q", *tests, "-k", "iresnet50 or entries"], log="iresnet50")
    line = out.strip().splitlines()[-1]
    return Measured(line, "passed" in line and "skipped" not in line, "43,590,848 parameters; within 1e-4")


def identification() -> Measured:
    """Rank-1 and open-set rates of the run that `lfw_accuracy` made."""
    fused(16)
    run = OUT / "lfw-fused-16"
    told = facepipe("gallery", "evaluate", run, log="identification")
    found = read(run / "identification.json")
    value: dict[str, Any] = {"rank_1": found["rank_one"]}
    value |= {f"dir_at_fpir_{rate['fpir_target']:g}": rate["dir"] for rate in found["open_set"]}
    right = (found["enrolled"], found["people"]) == (1559, 4281) and "1,559 of 4,281 people" in told
    probes = f"{found['mated']:,} mated, {found['non_mated']:,} non-mated probes; {found['protocol']}"
    return Measured(value, right and 0 < found["open_set"][0]["dir"] <= found["rank_one"] <= 1, probes)


def million_rows() -> Measured:
    """Exact and approximate search among 1,000,000 random vectors, by `python -m benchmarks`."""
    out = OUT / "gallery-search"
    call([sys.executable, "-m", "benchmarks", "gallery", "--out", str(out)], log="gallery-search")
    found = read(out / "bench.json")["gallery"]
    value = {
        kind: {"median_ms": round(found[kind]["latency_ms"]["median"], 2), **found[kind]["copies"]}
        for kind in ("exact", "approximate")
    }
    misses = f"recall at 1 of random probes {found['approximate']['random']['recall_at_1']:.4f}"
    return Measured(value, found["rows"] == 1_000_000 and found["approximate"]["copies"]["recall_at_1"] >= 0.99, misses)


def named_group() -> Measured:
    """multiface.jpg with a gallery of three of its people and two others; the drawing is kept."""
    out = OUT / "multiface"
    with tempfile.TemporaryDirectory(prefix="facepipe-accept-") as name:
        people = Path(name)
        for person in (*CAST, "Tony_Blair", "Serena_Williams"):
            shutil.copytree(assets() / "lfw" / "images" / person, people / person)
        gallery = out / "people.gallery"
        facepipe(
            "gallery", "build", people, "--out", gallery, "--embedder", EMBEDDER, "--threshold", 0.4, log="gallery"
        )
    photograph = assets() / "photos" / "multiface.jpg"
    facepipe(*f"recognise --det --rec --index {gallery} --input {photograph} --output {out}".split(), log="recognise")
    labels = [face["label"] for face in read(out / "multiface.jpg.json")["faces"]]
    right = sorted(label for label in labels if label) == sorted(CAST) and labels.count(None) == 3
    return Measured(labels, right, f"drawn in {out / 'multiface.jpg'}")


class _MakesFolder:
    """Pickles as a call of os.mkdir."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def nothing_runs() -> Measured:
    """An index, a verification set, a record, a checkpoint and Paddle's weights that would each make a folder."""
    try:
        import torch
    except ImportError as error:
        raise NotRun("torch is not installed") from error
    seen = {}
    with tempfile.TemporaryDirectory(prefix="facepipe-accept-") as name:
        folder = Path(name)
        evil = _MakesFolder(folder / "made")
        value = pickle.dumps(evil)
        (folder / "index.bin").write_bytes(pickle.dumps({"label": ["A"], "feature": [evil]}, 3))
        (folder / "lfw.bin").write_bytes(pickle.dumps(([b"a", evil], [True])))
        (folder / "records").mkdir()
        record = struct.pack("<I", 1) + b"a" + struct.pack("<I", len(value)) + value
        (folder / "records" / "a.bin").write_bytes(record)
        torch.save({"conv1.weight": evil}, folder / "arcface.iresnet18.pth")
        (folder / "mobilefacenet.paddle.pdparams").write_bytes(pickle.dumps({"conv1.conv.weight": evil}))
        weights = OUT.parents[1] / "weights"
        commands = {
            "index": ["gallery", "import", folder / "index.bin", "--out", folder / "g", "--embedder", EMBEDDER],
            "set": ["verification", folder / "lfw.bin", "--embedder", EMBEDDER],
            "record": ["bin2image", folder / "records", folder / "out"],
            "checkpoint": ["onnx", "arcface.iresnet18", "--weights", folder],
            "paddle": ["onnx", "mobilefacenet.paddle", "--weights", folder],
        }
        for kind, command in commands.items():
            more = ["--weights", weights] if kind in ("index", "set") else []
            done = attempt([str(BIN / "facepipe"), *map(str, [*command, *more])], folder=OUT.parents[1])
            seen[kind] = {"status": done.returncode, "line": done.stderr.strip().splitlines()[-1:]}
        made = (folder / "made").exists()
    refused = all(one["status"] == 1 and one["line"] for one in seen.values())
    return Measured(seen, refused and not made, "nothing was executed" if not made else "CODE RAN")


def report_page() -> Measured:
    """A run over a part of LFW's seventh fold as one page, and that page in a browser."""
    run, pairs = anew("report"), OUT / "report-pairs.txt"
    lines = (assets() / "lfw" / "pairs.txt").read_text(encoding="utf-8").splitlines()
    same, different = lines[3781:3901], lines[4081:4201]  # ten folds of 12 and 12; some pairs are judged wrongly
    folds = [line for i in range(0, 120, 12) for line in (*same[i : i + 12], *different[i : i + 12])]
    pairs.write_text("\n".join(["10\t12", *folds]) + "\n", encoding="utf-8")
    options = ["--pairs", pairs, "--embedder", EMBEDDER, "--batch", 16, "--run", run]
    facepipe("lfw", "--data", assets() / "lfw", *options, "--report", log="report-run")
    page = run / "report.html"
    first = page.read_bytes()
    page.unlink()
    facepipe("report", run, log="report")
    same_page = page.read_bytes() == first
    text = first.decode("utf-8")
    outside = [word for word in ("http://", "https://", 'src="/', "url(/") if word in text]
    size = page.stat().st_size
    pictures = text.count("<img") - 2  # beside ROC and distances
    right = size > 100_000 and same_page and not outside and pictures > 0
    again = "the same" if same_page else "another"
    told = (
        f"bytes; {pictures} pictures of pairs judged wrongly; `report` gives {again}; outside: {outside or 'nothing'}"
    )
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return Measured(size, right, f"{told}; no browser here to look at it with")
    shot = OUT / "report.png"
    shot.unlink(missing_ok=True)
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", "--no-sandbox", "--window-size=1240,5200"]
    call([browser, *options, f"--screenshot={shot}", page.as_uri()], log="browser")
    return Measured(size, right and shot.stat().st_size > 100_000, f"{told}; looked at in {shot}")


CHECKS = (
    Check(
        "verification_bin",
        "lfw_aligned112 as lfw.bin: Accuracy-Flip",
        "at least 0.993, equal to the folder",
        packed_set,
    ),
    Check("mobilefacenet_published", "the publisher's ONNX and ours", "cosine at least 0.99999", published_onnx),
    Check("iresnet50", "iResNet-50: parameters, names, torch and ONNX", "its tests pass", iresnet50),
    Check("identification", "rank-1 and open-set rates on LFW", "1,559 of 4,281 people, printed", identification),
    Check("gallery_search", "search among 1,000,000 x 128", "exact and approximate, copies found", million_rows),
    Check("gallery_drawn", "multiface.jpg with some of its people", "three named, three unknown", named_group),
    Check("pickles_refused", "files that would run code", "status 1, nothing executed", nothing_runs),
    Check("report_page", "a run as one HTML page", "in one file, shown by a browser", report_page),
)
