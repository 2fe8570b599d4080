# SPDX-License-Identifier: Apache-2.0
"""Detectors of one network: weights, parity, WIDER FACE, LFW through RetinaFace, eight bits, group photographs."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

from checks import BIN, OUT, REPOSITORY, Check, Measured, anew, assets, call, facepipe, make, read

# Measured once with the published ONNX files: easy, medium, hard on the mirror's 100 photographs.
REFERENCE = {
    ("ultraface.slim-320", 320): (0.639, 0.514, 0.288),
    ("ultraface.rfb-320", 320): (0.662, 0.548, 0.343),
    ("ultraface.rfb-640", 640): (0.782, 0.759, 0.528),
}
ULTRAFACE = ("ultraface.slim-320", "ultraface.rfb-320", "ultraface.slim-640", "ultraface.rfb-640")
RETINAFACE = "retinaface.mobilenet0.25"


def _tests(log: str, *arguments: str) -> Measured:
    """The package's own tests; a skipped one is no proof."""
    out = call([str(BIN / "python"), "-m", "pytest", "-q", *arguments], log=log)
    line = out.strip().splitlines()[-1]
    return Measured(line, "passed" in line and "skipped" not in line)


def strict_loading() -> Measured:
    return _tests("detector-weights", "tests/networks/test_detector_networks.py", "-k", "strictly or refused")


def onnx_parity() -> Measured:
    return _tests("detector-parity", "tests/networks/test_detector_networks.py", "-k", "final_onnx or published_onnx")


def evaluator() -> Measured:
    return _tests("wider-evaluator", "tests/metrics/test_detection.py", "tests/datasets/test_widerface.py")


@functools.cache
def wider(detector: str, size: int, precision: str = "f32") -> dict[str, Any]:
    """wider.json of one run over the mirror's photographs, made once by each acceptance."""
    run = OUT / f"wider-{detector}-{size}-{precision}"
    shutil.rmtree(run, ignore_errors=True)
    make("wider", log=run.name, DETECTOR=detector, SIZE=size, RUN=run, PRECISION=precision)
    found: dict[str, Any] = read(run / "wider.json")
    return found


def _figures(found: dict[str, Any]) -> list[float]:
    return [round(found["ap"][setting], 3) for setting in ("easy", "medium", "hard")]


def reference() -> Measured:
    """The three models whose figures are known."""
    worst, value = 0.0, {}
    for (detector, size), known in REFERENCE.items():
        found = wider(detector, size)
        value[f"{detector} at {size}"] = _figures(found)
        gaps = [abs(found["ap"][setting] - was) for setting, was in zip(("easy", "medium", "hard"), known, strict=True)]
        worst = max(worst, *gaps)
    return Measured(value, worst <= 0.01, f"the greatest difference is {worst:.4f}")


def table() -> Measured:
    """Every model of the table in the documentation."""
    rows = {f"{name} at {size}": _figures(wider(name, size)) for name in ULTRAFACE for size in (320, 640)}
    rows |= {f"{RETINAFACE} at {size}": _figures(wider(RETINAFACE, size)) for size in (320, 640)}
    scored = wider(RETINAFACE, 640)
    said = f"{scored['images_scored']} of {scored['images_total']} photographs; {scored['protocol']}"
    return Measured(rows, scored["images_scored"] == 100 and scored["images_total"] == 3226, said)


def eight_bits() -> Measured:
    """Size and AP of the quantised UltraFace models, at the size each was trained for."""
    value, right = {}, True
    for name in ULTRAFACE:
        size = int(name[-3:])
        small, whole = wider(name, size, "int8"), wider(name, size)
        octets = (REPOSITORY / "weights" / f"{name}.int8.onnx").stat().st_size
        value[name] = {"bytes": octets, "ap": _figures(small), "ap_f32": _figures(whole)}
        right = right and octets < 370_000 and abs(small["ap"]["easy"] - whole["ap"]["easy"]) <= 0.03
    return Measured(value, right)


def retinaface_lfw() -> Measured:
    """All 6,000 pairs through RetinaFace."""
    run = anew("lfw-retinaface")
    make("lfw", log="lfw-retinaface", DETECTOR=RETINAFACE, EMBEDDER="mobilefacenet.ms1m", BATCH=16, RUN=run)
    found = read(run / "accuracy.json")
    mean = found["accuracy"]["mean"]
    return Measured(mean, mean >= 0.992, f"{len(found['images']['no_face'])} photographs without a face")


def groups() -> Measured:
    """Drawn boxes of the group photographs; they are kept to be looked at."""
    photographs = [*sorted(assets().glob("photos/group_*.jpg")), assets() / "photos" / "multiface.jpg"]
    value = {}
    for name in ("ultraface.rfb-640", RETINAFACE, "blazeface.back"):
        out = OUT / "groups" / name
        lines = facepipe("detect", *photographs, "--detector", name, "--draw", out, "--json", log=f"groups-{name}")
        found = map(json.loads, lines.splitlines())
        value[name] = {Path(one["photograph"]).stem: len(one["faces"]) for one in found}
    return Measured(value, all(counts["multiface"] == 6 for counts in value.values()), f"drawn in {OUT / 'groups'}")


CHECKS = (
    Check("detector_weights", "the seven published weight files load strictly", "its tests pass", strict_loading),
    Check("detector_parity", "torch, our ONNX and the published ONNX", "within 1e-4: its tests pass", onnx_parity),
    Check("wider_evaluator", "WIDER's protocol beside a literal program", "within 1e-6: its tests pass", evaluator),
    Check("wider_reference", "AP of three UltraFace models, 100 photographs", "within .01 of the reference", reference),
    Check("wider_table", "AP of four UltraFace models and RetinaFace", "100 of 3,226 photographs scored", table),
    Check("ultraface_int8", "UltraFace in eight bits", "below 370 kB, AP easy within .03", eight_bits),
    Check("lfw_retinaface", "LFW, RetinaFace + mobilefacenet.ms1m", "at least 0.992 over 6,000 pairs", retinaface_lfw),
    Check("group_photographs", "drawn boxes of the group photographs", "six faces on multiface.jpg", groups),
)
