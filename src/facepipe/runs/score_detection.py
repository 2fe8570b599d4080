# SPDX-License-Identifier: Apache-2.0
"""Prediction files and ground truth to wider.json: average precision for easy, medium and hard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.datasets.widerface import SETTINGS, Prediction, WiderTruth
from facepipe.metrics.detection import (
    MEAN_AP_DEFINITION,
    MEAN_AP_OVERLAPS,
    DetectionCurve,
    detection_curve,
    held_against,
)

WIDER_FILE = "wider.json"


@dataclass(frozen=True, slots=True, eq=False)
class WiderScores:
    """What predictions are worth, setting by setting.

    Attributes:
        curves: at IoU 0.5.
        mean_ap: over the ten limits of `MEAN_AP_OVERLAPS`; None where no face counts.
        images: photographs that were scored.
        unsorted: of their files, those whose scores are not best first; the protocol takes them as they are.
    """

    curves: Mapping[str, DetectionCurve]
    mean_ap: Mapping[str, float | None]
    images: int
    boxes: int
    unsorted: tuple[str, ...]


def score_predictions(predictions: Sequence[Prediction], truth: WiderTruth) -> WiderScores:
    """Score predictions against the ground truth of just their photographs."""
    by_key = truth.by_key()
    photographs = [by_key[prediction.key] for prediction in predictions]
    held = held_against([one.rows for one in predictions], [photograph.faces for photograph in photographs])
    curves: dict[str, DetectionCurve] = {}
    mean_ap: dict[str, float | None] = {}
    for setting in SETTINGS:
        counted = [photograph.counted[setting] for photograph in photographs]
        at_every = [detection_curve(held, counted, limit) for limit in MEAN_AP_OVERLAPS]
        curves[setting] = at_every[0]
        values = [curve.average_precision for curve in at_every if curve.average_precision is not None]
        mean_ap[setting] = float(np.mean(values)) if values else None
    return WiderScores(
        curves=curves,
        mean_ap=mean_ap,
        images=len(predictions),
        boxes=sum(len(one.rows) for one in predictions),
        unsorted=tuple(one.key for one in predictions if not one.is_sorted),
    )


def wider_content(
    passes: Mapping[str, WiderScores], truth: WiderTruth, protocol: str, details: Mapping[str, object]
) -> dict[str, object]:
    """wider.json as JSON values.

    Args:
        passes: name to scores. The APs of several are averaged arithmetically, and each is listed.
        protocol: the label that stands beside the figures.
        details: what the figures came from: detector, back end, digests, versions.
    """
    first = next(iter(passes.values()))
    total = len(truth.photographs)
    content: dict[str, object] = {
        "ap": {setting: _mean([_ap(scores, setting) for scores in passes.values()]) for setting in SETTINGS},
        "map_50_95": {
            **{setting: _mean([scores.mean_ap[setting] for scores in passes.values()]) for setting in SETTINGS},
            "definition": MEAN_AP_DEFINITION,
        },
        "protocol": protocol,
        "images_scored": first.images,
        "images_total": total,
        "is_subset": first.images < total,
        "faces": {setting: first.curves[setting].faces for setting in SETTINGS},
        "boxes": {name: scores.boxes for name, scores in passes.items()},
        "unsorted_files": {name: list(scores.unsorted) for name, scores in passes.items() if scores.unsorted},
    }
    if len(passes) > 1:
        content["ap_by_pass"] = {
            name: {setting: _ap(scores, setting) for setting in SETTINGS} for name, scores in passes.items()
        }
    assert not details.keys() & content.keys(), sorted(details)
    return {**content, **details}


def _ap(scores: WiderScores, setting: str) -> float | None:
    return scores.curves[setting].average_precision


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
