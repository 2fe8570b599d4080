# SPDX-License-Identifier: Apache-2.0
"""The vendor's figures: by hand on small numbers, and where they mean nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facepipe.errors import TensorError
from facepipe.metrics.layer_figures import layer_figures


def test_figures_of_two_small_vectors_by_hand() -> None:
    found = layer_figures(np.array([3.0, 4.0, 0.0]), np.array([3.0, 4.5, 0.25]))
    assert found.cosine == pytest.approx((9 + 18) / (5 * math.sqrt(9 + 20.25 + 0.0625)))
    assert found.max_absolute == 0.5 and found.mean_absolute == pytest.approx(0.25)
    assert found.accumulated_relative == pytest.approx(0.75 / 7)
    assert found.relative_euclidean == pytest.approx(math.sqrt(0.3125) / 5)
    assert found.rmse == pytest.approx(math.sqrt(0.3125 / 3))
    assert found.max_relative == pytest.approx(0.125) and found.mean_relative == pytest.approx(0.0625)
    assert found.mean == (pytest.approx(7 / 3), pytest.approx(7.75 / 3))
    weights = [np.exp(values) / np.exp(values).sum() for values in ([3, 4, 0], [3, 4.5, 0.25])]
    assert found.divergence == pytest.approx(float((weights[0] * np.log(weights[0] / weights[1])).sum()))


def test_equal_tensors_pass_zeros_too() -> None:
    for array in (np.zeros((2, 3)), np.full((4,), 7.0)):
        found = layer_figures(array, array.copy())
        assert found.cosine == 1 and found.drifts is None and found.max_relative == 0
        assert found.accumulated_relative == found.relative_euclidean == 0


@pytest.mark.parametrize(
    ("other", "figure"),
    [
        ([1.0, -1.0], "cosine 0"),
        ([1.06, 1.06], "relative Euclidean distance 0.06"),
        ([math.nan, 1.0], "cosine nan"),
    ],
)
def test_a_drift_is_named_by_its_first_figure(other: list[float], figure: str) -> None:
    assert layer_figures(np.array([1.0, 1.0]), np.array(other)).drifts == figure


def test_zeros_against_something_drift() -> None:
    assert layer_figures(np.zeros(3), np.ones(3)).drifts == "cosine nan"


def test_large_errors_of_large_numbers_drift_by_their_root_mean_square() -> None:
    reference = np.array([1e4, 1e4 + 1])
    assert (layer_figures(reference, reference + 2).drifts or "").startswith("root mean square error 2")


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((0,), (0,))])
def test_other_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(TensorError, match="expected one shape, not empty"):
        layer_figures(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_logits_that_tell_another_story_drift_by_their_divergence() -> None:
    drift = layer_figures(np.array([100.0, 100.0]), np.array([100.2, 99.9])).drifts
    of = np.exp([0.2, -0.1]) / np.exp([0.2, -0.1]).sum()  # against one half each
    assert drift == f"Kullback-Leibler divergence {-0.5 * np.log(2 * of).sum():.6g}"
