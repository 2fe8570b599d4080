# SPDX-License-Identifier: Apache-2.0
"""The Ascend leg, through the stand-ins of `tests/fakes`, and rehearsed in half precision."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from checks import BIN, OUT, REPOSITORY, Check, Measured, anew, assets, attempt, call, read

EMBEDDER = "mobilefacenet.ms1m"
MODELS = ("pnet", "rnet", "onet", EMBEDDER)
GEARS = "151,151;107,107;76,76;54,54;38,38;27,27;20,20;14,14"
FAKES = REPOSITORY / "tests" / "fakes"
WEIGHTS = OUT / "ascend-weights"
PAIRS = OUT / "ascend-pairs.txt"


def board(**changes: str) -> dict[str, str]:
    """The environment in which the stand-ins are CANN."""
    path = os.pathsep.join([str(FAKES / "bin"), str(BIN), os.environ.get("PATH", "")])
    libraries = os.pathsep.join([str(FAKES / "devlib"), os.environ.get("LD_LIBRARY_PATH", "")])
    found = {"PATH": path, "PYTHONPATH": str(FAKES / "cann"), "LD_LIBRARY_PATH": libraries}
    return {**os.environ, **found, **changes}


def dry_run(**variables: str) -> list[str]:
    words = [f"{name}={value}" for name, value in {"DRY_RUN": "1", **variables}.items()]
    return call(["make", "om", *words], log="ascend-dry-run").splitlines()


def commands() -> Measured:
    found = [line for line in dry_run(SOC="Ascend310", BATCH="16") if line.startswith("atc ")]
    shapes = [" ".join(re.findall(r'--(?:input_shape|dynamic_\w+)="[^"]*"', line)) for line in found]
    wanted = [
        f'--input_shape="image:16,3,-1,-1" --dynamic_image_size="{GEARS}"',
        '--input_shape="image:-1,3,24,24" --dynamic_batch_size="1,2,4,8,16,32,64,128,256"',
        '--input_shape="image:-1,3,48,48" --dynamic_batch_size="1,2,4,8,16,32,64,128,256"',
        '--input_shape="image:16,3,160,160"',
    ]
    return Measured(shapes, shapes == wanted and all("~" not in line for line in found))


def ranges() -> Measured:
    offered = "\n".join(dry_run(SOC="Ascend310P3", BATCH="16"))
    old = "\n".join(dry_run(SOC="Ascend310P3", BATCH="16", CANN="old", SHAPES="range"))
    value = {
        "new": re.findall(r'--input_shape="image:1~16[^"]*"', offered),
        "old": re.findall(r'--input_shape_range="[^"]*"', old)[:1],
    }
    passed = value == {
        "new": ['--input_shape="image:1~16,3,12~151,12~151"'],
        "old": ['--input_shape_range="image:[1~16,3,12~151,12~151]"'],
    }
    return Measured(value, passed)


@functools.cache
def prepared() -> None:
    """Models compiled by the stand-in for ATC, and the pairs of LFW's first fold as ten folds of 60."""
    lines = (assets() / "lfw" / "pairs.txt").read_text(encoding="utf-8").splitlines()
    same, different = lines[1:301], lines[301:601]
    folds = [same[30 * fold : 30 * fold + 30] + different[30 * fold : 30 * fold + 30] for fold in range(10)]
    OUT.mkdir(parents=True, exist_ok=True)
    PAIRS.write_text("\n".join(["10\t30", *(line for fold in folds for line in fold)]) + "\n", encoding="utf-8")
    shutil.rmtree(WEIGHTS, ignore_errors=True)
    WEIGHTS.mkdir(parents=True)
    for name in MODELS:
        for file in (f"{name}.simplified.onnx", f"{name}.simplified.onnx.json"):
            (WEIGHTS / file).symlink_to(REPOSITORY / "weights" / file)
    call(
        ["make", "om", "SOC=Ascend310", "BATCH=16", f"EMBEDDER={EMBEDDER}", "CANN=8.0", f"WEIGHTS={WEIGHTS}"],
        log="ascend-om",
        environment=board(),
    )


def lfw(backend: str, run: Path, **changes: str) -> list[str]:
    """`make lfw` over the first fold."""
    variables = {"BACKEND": backend, "BATCH": "16", "EMBEDDER": EMBEDDER, "DATA": str(assets() / "lfw")}
    variables |= {"PAIRS": str(PAIRS), "RUN": str(run), "WEIGHTS": str(WEIGHTS)}
    return ["make", "lfw", *(f"{name}={value}" for name, value in variables.items())]


@functools.cache
def reference() -> dict[str, Any]:
    prepared()
    run = anew("ascend-lfw-onnxruntime")
    call(lfw("onnxruntime", run), log=run.name)
    return {"accuracy": read(run / "accuracy.json")["accuracy"], "faces": (run / "faces.jsonl").read_text()}


def through(backend: str) -> Measured:
    """The first fold through a stand-in: the same boxes, the same accuracy, nothing alive at the end."""
    wanted = reference()
    run, report = anew(f"ascend-lfw-{backend}"), OUT / f"ascend-{backend}.live"
    report.unlink(missing_ok=True)
    call(lfw(backend, run), log=run.name, environment=board(FAKE_ACL_REPORT=str(report)))
    found = read(run / "accuracy.json")
    alive = [json.loads(line)["live"] for line in report.read_text().splitlines()] if report.is_file() else []
    shift = _largest_shift((run / "faces.jsonl").read_text(), wanted["faces"])
    value = {"mean": found["accuracy"]["mean"], "photographs": found["images"]["total"], "box_shift_px": shift}
    if backend == "pyacl":
        value["alive"] = alive
    same = found["accuracy"]["per_fold"] == wanted["accuracy"]["per_fold"]
    return Measured(value, same and shift <= 1e-3 and found["images"]["total"] == 807 and alive in ([], [[]]))


def _largest_shift(ours: str, theirs: str) -> float:
    lines = [[json.loads(line) for line in text.splitlines()] for text in (ours, theirs)]
    assert [line["key"] for line in lines[0]] == [line["key"] for line in lines[1]]
    pairs = [(a["box"], b["box"]) for a, b in zip(*lines, strict=True)]
    return max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True))


def resumed() -> Measured:
    """Errors injected in the middle of a run: one line each, nothing alive, and the last call finishes the run."""
    wanted = reference()
    run, report = anew("ascend-lfw-injected"), OUT / "ascend-injected.live"
    report.unlink(missing_ok=True)
    seen = []
    for call_, number, code in (("mdl.execute", 400, 507015), ("rt.memcpy", 700, 507018), ("rt.malloc", 2, 207001)):
        environment = board(FAKE_ACL_FAIL=f"{call_}:{number}:{code}", FAKE_ACL_REPORT=str(report))
        done = attempt(lfw("pyacl", run), environment=environment)
        line = next((line for line in done.stderr.splitlines() if line.startswith("facepipe lfw:")), "")
        seen.append({"call": call_, "status": done.returncode, "line": line[:200]})
    call(lfw("pyacl", run), log=run.name, environment=board(FAKE_ACL_REPORT=str(report)))
    alive = [json.loads(line)["live"] for line in report.read_text().splitlines()]
    clear = all(one["status"] != 0 and f"acl.{one['call']} failed" in one["line"] for one in seen)
    shift = _largest_shift((run / "faces.jsonl").read_text(), wanted["faces"])
    return Measured({"errors": seen, "alive": alive}, clear and alive == [[]] * 4 and shift <= 1e-3)


def overlap() -> Measured:
    """Host and chip at once: photographs on a stand-in that replays its outputs and takes a 310's time, 29 ns a pixel.

    (FaceNet at batch 16 took 12 ms a call on one device of the vendor's card: 409,600 pixels.) Seconds are those of all
    photographs less those of the first 32, so that starting is not counted.
    """
    prepared()
    tape, report = OUT / "ascend-tape", OUT / "ascend-overlap.live"
    tape.mkdir(exist_ok=True)
    photographs = sorted((assets() / "lfw").rglob("*.jpg"))[:416]
    folders = {count: anew(f"ascend-overlap-{count}") for count in (32, len(photographs))}
    for count, folder in folders.items():
        folder.mkdir(parents=True)
        for path in photographs[:count]:
            (folder / path.name).symlink_to(path)

    def seconds(*more: str, **told: str) -> tuple[float, float]:
        """Of the photographs beyond the first 32: wall time, and the chip's time."""
        spent, waited = [], []
        for folder in folders.values():
            report.unlink(missing_ok=True)
            out = anew("ascend-overlap-run")
            words = ["embed", str(folder), "--out", str(out), "--backend", "pyacl", "--embedder", EMBEDDER]
            words += ["--weights", str(WEIGHTS), "--batch", "16", "--shard", "32", *more]
            began = time.perf_counter()
            environment = board(FAKE_ACL_TAPE=str(tape), FAKE_ACL_REPORT=str(report), **told)
            call([str(BIN / "facepipe"), *words], log="ascend-overlap", environment=environment)
            spent.append(time.perf_counter() - began)
            waited.append(sum(json.loads(line)["waited"] for line in report.read_text().splitlines()))
        return spent[1] - spent[0], waited[1] - waited[0]

    seconds("--workers", "1")  # records
    host, _ = seconds("--workers", "1")
    value: dict[str, Any] = {"host_s": round(host, 2)}
    for lock in ("held", "released"):
        alone, chip = seconds("--workers", "1", FAKE_ACL_WAIT=f"29:{lock}")
        together, _ = seconds(FAKE_ACL_WAIT=f"29:{lock}")
        value[lock] = {
            "chip_s": round(chip, 2),
            "one_process_s": round(alone, 2),
            "default_s": round(together, 2),
            "over_the_longer": round(together / max(host, chip), 3),
        }
    return Measured(value, all(value[lock]["over_the_longer"] <= 1.15 for lock in ("held", "released")))


def mutations() -> Measured:
    """The driver, broken: every one must fail a scenario."""
    done = attempt([sys.executable, "-m", "pytest", "-q", "tests/test_ascend_mutations.py", "-k", "broken"])
    found = re.search(r"(\d+) passed", done.stdout)
    count = int(found[1]) if found else 0
    return Measured(count, done.returncode == 0 and count >= 30, done.stdout.strip().splitlines()[-1])


def rehearsed(embedder: str) -> dict[str, Any]:
    assets()
    out = OUT / f"rehearsal-{embedder}"
    call(["make", "rehearse", f"EMBEDDER={embedder}", "BATCH=16", f"OUT={out}"], log=out.name)
    return dict(read(out / "rehearsal.json"))


def rehearsal_of_accuracy() -> Measured:
    found = rehearsed(EMBEDDER)
    means = [found["accuracy"][name]["accuracy"]["mean"] for name in ("f32", "fp16")]
    run, sample = found["run"], found["sample"]
    value = {
        "accuracy": means,
        "faces_gained_lost": [len(run["gained"]), len(run["lost"])],
        "boxes_gained_lost": [sample["gained"], sample["lost"]],
        "least_cosine_same_crops": sample["cosines"]["least"],
    }
    return Measured(value, abs(means[0] - means[1]) <= 0.002 and sample["cosines"]["least"] >= 0.999)


def rehearsal_of_facenet() -> Measured:
    found = rehearsed("facenet.seeded")
    value = {"same_crops": found["sample"]["cosines"], "mean_centred": found["sample"]["centred"]}
    return Measured(value, value["same_crops"]["least"] >= 0.999)


def aipp() -> Measured:
    """All 256 byte values and 200 real crops: bytes with the folded constants, against the host, in half precision."""
    import numpy as np

    sys.path.append(str(FAKES))
    from aipp_formula import aipp_output

    from facepipe.catalogue import model
    from facepipe.datasets.images import list_keys
    from facepipe.datasets.images import read as read_image
    from facepipe.geometry.normalise import normalise

    spec, folder = model("facenet.vggface2"), assets() / "lfw_aligned112" / "images"
    every = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 16, 16, 3)
    crops = np.stack([read_image(folder / key) for key in list_keys(folder)[:200]])
    wrong = 0
    for images in (every, crops):
        host = normalise(images, spec.pixels).astype(np.float16)
        wrong += int((aipp_output(images, spec).view(np.uint16) != host.view(np.uint16)).sum())
    return Measured(wrong, wrong == 0, f"of {every.size + crops.size:,} numbers")


CHECKS = (
    Check(
        "ascend-commands",
        "four ATC commands for Ascend310: gears, no range, the right input",
        "as documented",
        commands,
    ),
    Check(
        "ascend-ranges", "Ascend310P3: a range in the new spelling, and in the old on request", "as documented", ranges
    ),
    *(
        Check(
            f"ascend-{name}",
            f"LFW's first fold through the stand-in for {name}: onnxruntime's boxes and accuracy, no handle alive",
            "equal; boxes within 1e-3 px",
            functools.partial(through, name),
        )
        for name in ("pyacl", "msame", "ais_bench")
    ),
    Check("ascend-injected", "an injected error is one clear line, and the run is resumed", "all", resumed),
    Check("ascend-overlap", "host and chip at once, both ways of the interpreter lock", "at most 1.15", overlap),
    Check("ascend-mutations", "the driver, broken in at least 30 ways, fails a test each time", "all", mutations),
    Check(
        "ascend-rehearsal",
        "half precision rehearsed on all 6,000 pairs: accuracy, boxes, cosines",
        "accuracy within 0.002, cosine on the same crops at least 0.999",
        rehearsal_of_accuracy,
    ),
    Check(
        "ascend-rehearsal-facenet",
        "half precision rehearsed with facenet.seeded: cosine and mean-centred cosine",
        "cosine on the same crops at least 0.999",
        rehearsal_of_facenet,
    ),
    Check("ascend-aipp", "AIPP's input is the host's, bit for bit in half precision", "0 numbers differ", aipp),
)
