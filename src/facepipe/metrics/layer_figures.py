# SPDX-License-Identifier: Apache-2.0
"""How far one tensor is from its reference, in the figures that the vendor's comparison tool prints.

Source: `msit debug compare`, columns of result_<time>.csv and the thresholds below which it lists a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.errors import TensorError

LEAST_COSINE = 0.99
MOST_EUCLIDEAN, MOST_DIVERGENCE, MOST_RMSE, MOST_MEAN_RELATIVE = 0.05, 0.005, 1.0, 1.0
"""A tensor passes with a cosine above the first and the other four figures below theirs."""


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """One tensor `other` against its reference; NaN where a figure means nothing, as the cosine of zeros.

    Attributes:
        cosine: of the two as vectors.
        max_absolute: max |a - b|.
        accumulated_relative: sum |a - b| / sum |a|.
        relative_euclidean: |a - b| / |a|, Euclidean lengths.
        divergence: Kullback-Leibler, of softmax(a) from softmax(b).
        mean, deviation: of a, then of b.
        mean_absolute: mean |a - b|.
        rmse: root of the mean of (a - b)^2.
        max_relative, mean_relative: of |a - b| / |a|, where a is not 0.
    """

    cosine: float
    max_absolute: float
    accumulated_relative: float
    relative_euclidean: float
    divergence: float
    mean: tuple[float, float]
    deviation: tuple[float, float]
    mean_absolute: float
    rmse: float
    max_relative: float
    mean_relative: float

    @property
    def drifts(self) -> str | None:
        """The first figure that the vendor's tool would list the tensor for; None when it would not."""
        limits = (
            ("cosine", self.cosine, self.cosine > LEAST_COSINE),
            ("relative Euclidean distance", self.relative_euclidean, self.relative_euclidean < MOST_EUCLIDEAN),
            ("Kullback-Leibler divergence", self.divergence, self.divergence < MOST_DIVERGENCE),
            ("root mean square error", self.rmse, self.rmse < MOST_RMSE),
            ("mean relative error", self.mean_relative, self.mean_relative < MOST_MEAN_RELATIVE),
        )
        return next((f"{name} {value:.6g}" for name, value, passes in limits if not passes), None)


def layer_figures(reference: np.ndarray, other: np.ndarray) -> LayerFigures:
    """Compare `other` with `reference`, both of any shape and dtype.

    Raises:
        TensorError: the shapes differ, or there is nothing to compare.
    """
    if reference.shape != other.shape or reference.size == 0:
        raise TensorError(
            f"figures: the shapes are {list(reference.shape)} and {list(other.shape)}, expected one shape, not empty."
        )
    a, b = (array.astype(np.float64).reshape(-1) for array in (reference, other))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = np.abs(a - b)
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        relative = difference[a != 0] / np.abs(a[a != 0])
        same = bool((a == b).all())
        return LayerFigures(
            cosine=1.0 if same else float(a @ b / (lengths[0] * lengths[1])),
            max_absolute=float(difference.max()),
            accumulated_relative=_ratio(difference.sum(), np.abs(a).sum()),
            relative_euclidean=_ratio(float(np.linalg.norm(difference)), float(lengths[0])),
            divergence=_divergence(a, b),
            mean=(float(a.mean()), float(b.mean())),
            deviation=(float(a.std()), float(b.std())),
            mean_absolute=float(difference.mean()),
            rmse=float(np.sqrt((difference**2).mean())),
            max_relative=float(relative.max(initial=0.0)),
            mean_relative=float(relative.mean()) if len(relative) else 0.0,
        )


def _ratio(over: float, under: float) -> float:
    return float(over / under) if under else (0.0 if not over else float("inf"))


def _divergence(a: np.ndarray, b: np.ndarray) -> float:
    logs = [values - values.max() - np.log(np.exp(values - values.max()).sum()) for values in (a, b)]
    return float(max(0.0, (np.exp(logs[0]) * (logs[0] - logs[1])).sum()))
