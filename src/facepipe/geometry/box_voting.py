# SPDX-License-Identifier: Apache-2.0
"""Several boxes on one face become one by averaging: blending, and voting after suppression."""

from __future__ import annotations

import numpy as np

from facepipe.geometry.boxes import overlap
from facepipe.geometry.nms import nms


def blend(
    boxes: np.ndarray,
    scores: np.ndarray,
    landmarks: np.ndarray,
    threshold: float,
    *,
    weights: str = "score",
    plus_one: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best box together with all that overlap it, averaged; then the best of the rest.

    Args:
        boxes: float32 [N, 4].
        scores: float32 [N].
        landmarks: float32 [N, K, 2], averaged like the boxes.
        threshold: IoU with the best above which a box joins it.
        weights: "score": boxes weigh their score, and the face's score is the plain mean (BlazeFace). "exp": boxes
            weigh exp(score), and so do the scores (UltraFace's demos for ncnn and MNN).

    Returns:
        boxes [F, 4], scores [F], landmarks [F, K, 2], in the order in which the best ones were taken.
    """
    waiting = np.argsort(-scores, kind="stable")
    faces: list[tuple[np.ndarray, np.float32, np.ndarray]] = []
    while len(waiting):
        best = waiting[0]
        joins = overlap(boxes[best], boxes[waiting], plus_one=plus_one) > np.float32(threshold)
        joins[0] = True  # a box without area overlaps nothing, not even itself
        members, waiting = waiting[joins], waiting[~joins]
        weight = np.exp(scores[members]) if weights == "exp" else scores[members]
        share = weight / max(weight.sum(), np.finfo(np.float32).tiny)
        score = (scores[members] * share).sum() if weights == "exp" else scores[members].mean()
        box = (boxes[members] * share[:, None]).sum(axis=0)
        points = (landmarks[members] * share[:, None, None]).sum(axis=0)
        faces.append((box, np.float32(score), points))
    if not faces:
        return boxes[:0], scores[:0], landmarks[:0]
    kept_boxes, kept_scores, kept_points = zip(*faces, strict=True)
    return (
        np.stack(kept_boxes).astype(np.float32),
        np.array(kept_scores, np.float32),
        np.stack(kept_points).astype(np.float32),
    )


def vote(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, *, plus_one: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Hard suppression, then every box that stays moves to the score-weighted mean of all that overlap it.

    For boxes of one photograph from several scales and its mirror image. Scores stay those of the best boxes.

    Args:
        boxes: float32 [N, 4].
        scores: float32 [N].
        threshold: IoU of both steps.

    Returns:
        boxes float32 [K, 4] and scores float32 [K], best first.

    Source:
        Gidaris & Komodakis 2015, "Object detection via a multi-region and semantic segmentation-aware CNN model",
        section 5.
    """
    kept = nms(boxes, scores, threshold, plus_one=plus_one)
    moved = []
    for row in kept:
        voters = overlap(boxes[row], boxes, plus_one=plus_one) >= np.float32(threshold)
        voters[row] = True
        weight = scores[voters] / max(scores[voters].sum(), np.finfo(np.float32).tiny)
        moved.append((boxes[voters] * weight[:, None]).sum(axis=0))
    return (np.stack(moved).astype(np.float32) if moved else boxes[:0]), scores[kept]
