# SPDX-License-Identifier: Apache-2.0
"""How photographs of WIDER FACE become inputs: one size, five sizes whose APs are averaged, or several sizes merged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facepipe.catalogue import detector_models
from facepipe.errors import DataError
from facepipe.geometry.fit import Fit, Inside, Original, ShortSide, Stretch
from facepipe.specs import ModelSpec

Kind = Literal["single", "five-size-mean", "multi-scale"]
KINDS: tuple[Kind, ...] = ("single", "five-size-mean", "multi-scale")

FIVE_SIZES, LONGEST = (500, 800, 1100, 1400, 1700), 2150
"""Short sides, and the most that the long side may get: sukibean163/RetinaFace_Paddle, test_widerface.py."""


@dataclass(frozen=True, slots=True)
class WiderProtocol:
    """One protocol.

    Attributes:
        label: what it is, in words; stands beside every figure.
        passes: for each scored pass its name and its fits. Several fits of one pass are merged; the APs of several
            passes are averaged.
        flips: every input also mirrored.
    """

    kind: Kind
    label: str
    passes: tuple[tuple[str, tuple[Fit, ...]], ...]
    flips: bool


def wider_protocol(detector: str, kind: str, size: str, aspect: str, weights: Path | None = None) -> WiderProtocol:
    """The protocol that a command line asks for.

    Args:
        size: of "single": a number of pixels, WIDTHxHEIGHT, "original", or "short:SIDE" (the long side at most 2150).
            Ignored by the others.
        aspect: "keep", "stretch" or "default" (as the detector is usually run). A number of pixels is the width of a
            stretch to 4:3, or the longest side when the aspect is kept.
        weights: the folder of models, for one's own.

    Raises:
        DataError: no such protocol, detector or size, or the detector takes no other size than its own.
    """
    fits = tuple(ShortSide(side, LONGEST) for side in FIVE_SIZES)
    sizes = ", ".join(map(str, FIVE_SIZES))
    if kind == "single":
        fit, label = _single(detector, detector_models(detector, weights)[0], size, aspect)
        return WiderProtocol("single", f"single scale, {label}", (("single", (fit,)),), flips=False)
    spec = detector_models(detector, weights)[0]
    if spec.single_shot is None or spec.input.dims[2].is_fixed:
        raise DataError(
            f"wider: {detector} cannot be run at several sizes, which protocol '{kind}' does.", "--protocol single"
        )
    if kind == "five-size-mean":
        label = (
            f"arithmetic mean of the APs of five single-scale runs (short side {sizes}; long side at most {LONGEST}); "
            "no boxes are merged"
        )
        return WiderProtocol("five-size-mean", label, tuple((str(fit.side), (fit,)) for fit in fits), flips=False)
    if kind == "multi-scale":
        label = (
            f"multi-scale: boxes of five sizes (short side {sizes}; long side at most {LONGEST}) and of their mirror "
            "images, merged by box voting"
        )
        return WiderProtocol("multi-scale", label, (("multi-scale", fits),), flips=True)
    raise DataError(f"wider: protocol '{kind}' is not known, expected one of {', '.join(KINDS)}.")


def _single(detector: str, spec: ModelSpec, size: str, aspect: str) -> tuple[Fit, str]:
    if aspect not in ("keep", "stretch", "default"):
        raise DataError(f"wider: aspect is '{aspect}', expected keep, stretch or default.")
    if spec.single_shot is None:
        if size not in ("original", "default"):
            raise DataError(
                f"wider: {detector} builds its own pyramid, and size {size} was asked for.", "--size original"
            )
        return Original(), "photographs as they are"
    shot = spec.single_shot
    stretches = aspect == "stretch" or (aspect == "default" and shot.fit == "stretch")
    if spec.input.dims[2].is_fixed:
        height, width = shot.size
        if size not in ("default", str(width), f"{width}x{height}"):
            raise DataError(f"wider: {detector} takes {width}x{height} alone, and size {size} was asked for.")
        if stretches:
            return Stretch(height, width), f"{width}x{height}, aspect not kept"
        return Inside(height, width, grow=True), f"inside {width}x{height}, aspect kept"
    if size == "default":
        size = str(shot.size[1])
    if size == "original":
        return Original(), "original size"
    if short := re.fullmatch(r"short:([1-9]\d*)", size):
        fit = ShortSide(int(short[1]), LONGEST)
        return fit, f"short side {fit.side}, long side at most {LONGEST}, aspect kept"
    if both := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", size):
        width, height = int(both[1]), int(both[2])
    elif re.fullmatch(r"[1-9]\d*", size):
        width = int(size)
        height = width * 3 // 4 if stretches else width
    else:
        raise DataError(f"wider: size is '{size}', expected PIXELS, WIDTHxHEIGHT, short:PIXELS or original.")
    least, most = spec.input.dims[2].low, spec.input.dims[2].high
    if not (least <= width <= most and least <= height <= most):
        raise DataError(f"wider: size is {width}x{height}, expected sides of {least} to {most} for {detector}.")
    if stretches:
        return Stretch(height, width), f"{width}x{height}, aspect not kept"
    return Inside(height, width, grow=True), f"inside {width}x{height}, aspect kept"
