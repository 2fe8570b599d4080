# SPDX-License-Identifier: Apache-2.0
"""Why two right implementations of one cascade may differ on a photograph: a decision that hangs on a hair.

The cascade is run again with one decision moved a little: a threshold or an overlap limit by 1e-3, every corner by
1e-3 px, or every score by the noise between two libraries. The first move that brings the other side's answer is the
explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from checks import REPOSITORY

from facepipe.backends.base import Run, RuntimeOptions, open_session
from facepipe.backends.ort import OnnxRuntime
from facepipe.catalogue import detector_models
from facepipe.datasets.images import read
from facepipe.detect import mtcnn
from facepipe.detect.mtcnn import Mtcnn, MtcnnSettings

CHECKS = ()
HAIR = 1e-3
NOISE = 2e-7  # of a score: three steps of float32 below 1; two libraries sum in another order
SEEDS = 40


def explanation(path: Path, agrees: Callable[[list[dict[str, Any]]], bool]) -> str | None:
    """What has to move for the answer to agree, in words; None when nothing of the kind does."""
    image = read(path)
    with open_networks() as networks:
        for words, detector in moved(networks):
            with detector as found:
                (faces,) = found.detect([image])
            if agrees(as_faces(faces)):
                return words
    return None


@contextmanager
def open_networks() -> Iterator[list[Run]]:
    """PNet, RNet and ONet on onnxruntime."""
    weights, backend = REPOSITORY / "weights", OnnxRuntime(RuntimeOptions())
    with ExitStack() as stack:
        specs = detector_models("mtcnn")
        yield [stack.enter_context(open_session(backend, spec, spec.final(weights))).run for spec in specs]


def moved(networks: list[Run]) -> Iterator[tuple[str, Any]]:
    """Detectors with one thing moved, and what."""
    settings = MtcnnSettings(borders="stretch")
    for stage, name in enumerate(("PNet", "RNet", "ONet")):
        for sign in (-HAIR, HAIR):
            thresholds = tuple(t + sign * (i == stage) for i, t in enumerate(settings.thresholds))
            words = f"a score within {HAIR} of {name}'s threshold {settings.thresholds[stage]}"
            yield words, plain(Mtcnn(*networks, replace(settings, thresholds=thresholds)))
    for name in ("NMS_SCALE", "NMS_IMAGE", "NMS_REFINE", "NMS_LOCATE"):
        for sign in (-HAIR, HAIR):
            words = f"an overlap within {HAIR} of {name} {getattr(mtcnn, name)}"
            yield words, with_limit(Mtcnn(*networks, settings), name, sign)
    for seed in range(SEEDS):
        yield (
            "a corner within 1e-3 px of a whole pixel, where a crop is cut",
            plain(Mtcnn(*(nudged(run, seed) for run in networks), settings)),
        )
    for seed in range(SEEDS):
        words = f"two overlapping candidates whose scores are equal to within {NOISE}, which is float32's noise"
        yield words, plain(Mtcnn(*(noisy(run, seed) for run in networks), settings))


@contextmanager
def plain(detector: Mtcnn) -> Iterator[Mtcnn]:
    """As it is."""
    yield detector


@contextmanager
def with_limit(detector: Mtcnn, name: str, by: float) -> Iterator[Mtcnn]:
    """With one overlap limit of the cascade moved."""
    was = getattr(mtcnn, name)
    setattr(mtcnn, name, was + by)
    try:
        yield detector
    finally:
        setattr(mtcnn, name, was)


def nudged(run: Run, seed: int) -> Run:
    """The network with its box offsets moved by at most 5e-6 of a box: 1e-3 px of one of 200 px."""

    def answer(image: np.ndarray) -> tuple[np.ndarray, ...]:
        offsets, *others = run(image)
        by = np.random.default_rng(seed).uniform(-5e-6, 5e-6, offsets.shape).astype(np.float32)
        return (offsets + by, *others)

    return answer


def noisy(run: Run, seed: int) -> Run:
    """The network with its scores moved by at most NOISE; they come of the logits, which are its last output."""

    def answer(image: np.ndarray) -> tuple[np.ndarray, ...]:
        *others, logits = run(image)
        odds = logits[:, 1] - logits[:, 0]
        slope = 1 / (2 + np.exp(odds) + np.exp(-odds))  # of the score over the odds
        by = np.random.default_rng(seed).uniform(-1, 1, odds.shape) * np.minimum(1, NOISE / np.maximum(slope, 1e-12))
        moved_logits = logits.copy()
        moved_logits[:, 1] += by.astype(np.float32)
        return (*others, moved_logits)

    return answer


def as_faces(found: Any) -> list[dict[str, Any]]:
    """Detections as `facepipe detect --json` prints them."""
    return [
        {"box": box.tolist(), "score": float(score), "landmarks": points.tolist()}
        for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True)
    ]
