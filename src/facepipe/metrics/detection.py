# SPDX-License-Identifier: Apache-2.0
"""Average precision of face detections by the protocol of WIDER FACE.

Yang et al. 2016, "WIDER FACE: A Face Detection Benchmark", section 4; the steps are those of the evaluation code that
published figures come from (wondervictor/WiderFace-Evaluation, `evaluation.py`):

1. Scores of all photographs together are brought to 0..1.
2. A prediction belongs to the face it overlaps most, when that IoU is at least the limit; sides count both corners.
3. If that face does not count in this setting, the prediction is neither right nor wrong. If it counts and was not
   found yet, it is found; else the prediction is wrong. A prediction that belongs to no face is wrong.
4. For 1,000 thresholds the predictions of a photograph are those up to the last, in the file's order, whose score is
   at least the threshold. (In a file that is not sorted, lower ones before it count too.)
5. AP is the area under precision over recall, where precision is the best at this recall or higher.

Everything is float64, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLDS = 1000
MEAN_AP_OVERLAPS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
MEAN_AP_DEFINITION = (
    "mean of the APs at IoU 0.50, 0.55, ... 0.95 (ten limits, both ends included), for each of easy, medium, hard; "
    "published figures differ: the RetinaFace paper's 'mAP' is the hard set's alone, some ports average the three sets "
    "or leave 0.95 out"
)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPhotograph:
    """One photograph's predictions held against its faces; no setting and no limit chosen yet.

    Attributes:
        scores: float64 [N], brought to 0..1 over all photographs, in the file's order.
        overlaps: float64 [N], IoU of each prediction with the face that it overlaps most.
        nearest: intp [N], which face that is; the first of equals.
        faces: how many faces the photograph has.
    """

    scores: np.ndarray
    overlaps: np.ndarray
    nearest: np.ndarray
    faces: int


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCurve:
    """Precision and recall at the 1,000 thresholds, and the area under them.

    Attributes:
        precision: float64 [1000]; NaN where nothing was predicted.
        recall: float64 [1000].
        average_precision: in [0, 1]; None where no face counts.
        faces: how many faces count.
    """

    precision: np.ndarray
    recall: np.ndarray
    average_precision: float | None
    faces: int


def held_against(predictions: Sequence[np.ndarray], faces: Sequence[np.ndarray]) -> list[ScoredPhotograph]:
    """Steps 1 and 2: scores of all photographs brought to 0..1, and the face that each prediction belongs to.

    Args:
        predictions: for each photograph float64 [N, 5], x, y, width, height, score, in the file's order.
        faces: for each photograph float64 [G, 4], x, y, width, height, all faces of the ground truth.

    Returns:
        One for each photograph. Where all scores are equal (the published code divides by zero there), they are 1.
    """
    scores = [one[:, 4] for one in predictions if len(one)]
    low = min((float(one.min()) for one in scores), default=0.0)
    spread = max((float(one.max()) for one in scores), default=0.0) - low
    held = []
    for found, truth in zip(predictions, faces, strict=True):
        level = (found[:, 4] - low) / spread if spread > 0 else np.ones(len(found))
        if len(found) == 0 or len(truth) == 0:
            overlaps, nearest = np.zeros(len(found)), np.zeros(len(found), np.intp)
        else:
            table = _overlaps(found, truth)  # (N, G)
            nearest = table.argmax(axis=1)
            overlaps = table[np.arange(len(found)), nearest]
        held.append(ScoredPhotograph(level, overlaps, nearest, len(truth)))
    return held


def detection_curve(
    photographs: Sequence[ScoredPhotograph], counted: Sequence[np.ndarray], least_overlap: float
) -> DetectionCurve:
    """Steps 3 to 5 for one setting and one IoU limit.

    Args:
        photographs: from `held_against`.
        counted: for each photograph bool [G], which of its faces count in the setting; the others are ignored.
        least_overlap: of a prediction with its face.
    """
    levels = 1 - (np.arange(THRESHOLDS) + 1) / THRESHOLDS
    proposed, found = np.zeros(THRESHOLDS), np.zeros(THRESHOLDS)
    for photograph, counts in zip(photographs, counted, strict=True):
        if photograph.faces == 0 or len(photograph.scores) == 0:
            continue  # the published code passes over both, so predictions on a photograph without faces cost nothing
        running_proposed, running_found = _running(photograph, counts, least_overlap)
        last = _last_at_least(photograph.scores, levels)
        reached = last >= 0
        proposed[reached] += running_proposed[last[reached]]
        found[reached] += running_found[last[reached]]
    faces = int(sum(int(counts.sum()) for counts in counted))
    precision = np.divide(found, proposed, out=np.full(THRESHOLDS, np.nan), where=proposed > 0)
    recall = found / faces if faces else np.zeros(THRESHOLDS)
    return DetectionCurve(precision, recall, _area(precision, recall) if faces else None, faces)


def _overlaps(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU float64 [N, G] of boxes given as x, y, width, height, whose far corners are x + width and y + height."""
    a, b = found[:, None, :], truth[None]
    width = np.minimum(a[..., 0] + a[..., 2], b[..., 0] + b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + 1
    height = np.minimum(a[..., 1] + a[..., 3], b[..., 1] + b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + 1
    both = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (a[..., 0] + a[..., 2] - a[..., 0] + 1) * (a[..., 1] + a[..., 3] - a[..., 1] + 1)
    area_b = (b[..., 0] + b[..., 2] - b[..., 0] + 1) * (b[..., 1] + b[..., 3] - b[..., 1] + 1)
    iou: np.ndarray = both / (area_a + area_b - both)
    return iou


def _running(photograph: ScoredPhotograph, counts: np.ndarray, least_overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """After each prediction, in the file's order: how many count as proposals, and how many faces were found."""
    belongs = photograph.overlaps >= least_overlap
    of_counted = belongs & counts[photograph.nearest]
    ignored = belongs & ~counts[photograph.nearest]
    first = np.zeros(len(belongs), np.bool_)
    rows = np.flatnonzero(of_counted)
    first[rows[np.unique(photograph.nearest[rows], return_index=True)[1]]] = True
    return np.cumsum(~ignored), np.cumsum(first)


def _last_at_least(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """For each level the last position whose score is at least that; -1 where there is none."""
    best_from_here = np.maximum.accumulate(scores[::-1])[::-1]  # never rises
    return np.searchsorted(-best_from_here, -levels, side="right") - 1


def _area(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the curve with precision made non-increasing from the right."""
    padded_recall = np.concatenate([[0.0], recall, [1.0]])
    padded = np.concatenate([[0.0], np.nan_to_num(precision, nan=0.0), [0.0]])
    # Where nothing is predicted the recall is 0 and does not change, so what stands for NaN adds no area.
    envelope = np.maximum.accumulate(padded[::-1])[::-1]
    steps = np.flatnonzero(padded_recall[1:] != padded_recall[:-1])
    return float(((padded_recall[steps + 1] - padded_recall[steps]) * envelope[steps + 1]).sum())
