# SPDX-License-Identifier: Apache-2.0
"""What the outputs of a one-pass detector are, row by row: offsets of boxes, offsets of landmarks, scores of faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from facepipe.geometry.anchors import face_scores


def joined(
    outputs: Sequence[np.ndarray], heads: Literal["joined", "scrfd", "yunet"]
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """One photograph's outputs in the order of the priors.

    Args:
        outputs: "joined": offsets [P, 4], landmarks [P, 2 K] where there are some, logits [P, 2] or [P, 1]. "scrfd": of
            each stride scores [p, 1], then of each distances [p, 4], then landmarks [p, 2 K], where there are some.
            "yunet": classes [p, 1], objectness [p, 1], boxes [p, 4], landmarks [p, 2 K], alike.

    Returns:
        float32 [P, 4]; [P, 2 K], or None; [P], in 0..1.

    Source: as `catalogue.own_detectors`.
    """
    if heads == "joined":
        return outputs[0], outputs[1] if len(outputs) > 2 else None, face_scores(outputs[-1])
    strides = 3
    parts = [np.concatenate(outputs[start : start + strides]) for start in range(0, len(outputs), strides)]
    if heads == "scrfd":
        return parts[1], parts[2] if len(parts) > 2 else None, parts[0][:, 0]
    classes, objectness = (np.clip(part[:, 0], 0, 1) for part in parts[:2])
    return parts[2], parts[3], np.sqrt(classes * objectness)
