# SPDX-License-Identifier: Apache-2.0
"""The vectorised metrics against the protocol written down literally, and against formulas of other origin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facepipe.errors import DataError
from facepipe.metrics.verification import (
    auc,
    equal_error_rate,
    roc,
    squared_distances,
    tar_at_far,
    ten_fold_accuracy,
)


def _pairs(seed: int, per_kind: int = 12, fold_count: int = 10, overlap: float = 1.0, coarse: bool = False):
    """Distances of `fold_count` folds, each `per_kind` same and `per_kind` different pairs, that overlap somewhat."""
    rng = np.random.default_rng(seed)
    same = np.tile(np.repeat([True, False], per_kind), fold_count)
    folds = np.repeat(np.arange(fold_count), 2 * per_kind)
    distances = np.clip(np.where(same, 1.0, 2.0) + rng.normal(0, 0.4 * overlap, len(same)), 0, 4)
    return (np.round(distances, 2) if coarse else distances), same, folds


# The protocol as one would say it aloud; slow, and nothing shared with the code under test.


def _literal_accuracy(distances, same, folds):
    accuracies, chosen = [], []
    for judged in range(int(folds.max()) + 1):
        best, best_share = None, -1.0
        for step in range(400):
            threshold = step * 0.01
            right = total = 0
            for d, s, f in zip(distances, same, folds, strict=True):
                if f != judged:
                    total += 1
                    right += bool(d < threshold) == bool(s)
            if right / total > best_share:
                best, best_share = threshold, right / total
        verdicts = [bool(d < best) == bool(s) for d, s, f in zip(distances, same, folds, strict=True) if f == judged]
        accuracies.append(sum(verdicts) / len(verdicts))
        chosen.append(best)
    return accuracies, chosen


def _literal_tar(distances, same, folds, far):
    tars, fars = [], []
    for judged in range(int(folds.max()) + 1):
        others = [d for d, s, f in zip(distances, same, folds, strict=True) if f != judged and not s]
        points: dict[float, tuple[float, float]] = {}  # FAR -> lowest and highest threshold that has it
        for step in range(4000):
            threshold = step * 0.001
            share = sum(d < threshold for d in others) / len(others)
            points[share] = (points.get(share, (threshold,))[0], threshold)
        reached = [share for share in points if share <= far]
        beyond = [share for share in points if share > far]
        if max(points) < far:
            threshold = 0.0
        elif max(points) == far:
            threshold = points[far][1]
        else:
            low, high = max(reached), min(beyond)
            threshold = points[low][1] + (far - low) / (high - low) * (points[high][0] - points[low][1])
        own_same = [d for d, s, f in zip(distances, same, folds, strict=True) if f == judged and s]
        own_other = [d for d, s, f in zip(distances, same, folds, strict=True) if f == judged and not s]
        tars.append(sum(d < threshold for d in own_same) / len(own_same))
        fars.append(sum(d < threshold for d in own_other) / len(own_other))
    return tars, fars


@pytest.mark.parametrize("dimension", [5, 128, 512])
def test_a_distance_has_the_same_bits_in_any_company(dimension):
    """`facepipe verify` computes one; the threshold that it is held against was chosen on thousands together."""
    sides = np.random.default_rng(dimension).normal(size=(2, 300, dimension)).astype(np.float32)
    first, second = sides / np.linalg.norm(sides, axis=2, keepdims=True)
    whole = squared_distances(first, second)
    for part in (slice(i, i + count) for i in range(290) for count in (1, 7)):
        assert (squared_distances(first[part], second[part]) == whole[part]).all()
    assert (squared_distances(np.asfortranarray(first), np.asfortranarray(second)) == whole).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("coarse", [False, True], ids=["any distance", "distances on the thresholds"])
def test_accuracy_is_that_of_the_protocol_written_literally(seed, coarse):
    distances, same, folds = _pairs(seed, per_kind=4, fold_count=4, coarse=coarse)
    accuracy = ten_fold_accuracy(distances, same, folds)
    per_fold, thresholds = _literal_accuracy(distances, same, folds)
    assert accuracy.per_fold.tolist() == per_fold
    np.testing.assert_allclose(accuracy.thresholds, thresholds, atol=1e-12)


@pytest.mark.parametrize("far", [1e-3, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_tar_at_far_is_that_of_the_protocol_written_literally(seed, far):
    distances, same, folds = _pairs(seed, per_kind=8, fold_count=3, coarse=False)
    measured = tar_at_far(distances, same, folds, far)
    tars, fars = _literal_tar(distances, same, folds, far)
    np.testing.assert_allclose(measured.per_fold, tars)
    np.testing.assert_allclose(measured.far_per_fold, fars)


def test_perfectly_separated_pairs_give_one_everywhere():
    distances, same, folds = np.tile([0.5, 1.5], 20), np.tile([True, False], 20), np.repeat(np.arange(10), 4)
    assert ten_fold_accuracy(distances, same, folds).per_fold.tolist() == [1.0] * 10
    assert tar_at_far(distances, same, folds).per_fold.tolist() == [1.0] * 10
    curve = roc(distances, same)
    assert (auc(curve), equal_error_rate(curve)) == (1.0, 0.0)


def test_a_distance_equal_to_the_threshold_means_different():
    # All distances are 1; thresholds up to 1.00 call all "different", later ones all "same". Half is right either
    # way, so the first threshold of all, 0, is taken.
    distances, same, folds = np.ones(8), np.tile([True, False], 4), np.repeat(np.arange(2), 4)
    accuracy = ten_fold_accuracy(distances, same, folds)
    assert accuracy.per_fold.tolist() == [0.5, 0.5] and accuracy.thresholds.tolist() == [0.0, 0.0]
    # One same pair at exactly 0.50 and different pairs at 0.51: only 0.51 itself separates them.
    distances = np.tile([0.50, 0.51], 4)
    assert ten_fold_accuracy(distances, same, folds).thresholds == pytest.approx([0.51, 0.51])


def test_the_first_of_equally_good_thresholds_is_taken():
    distances, same, folds = np.tile([0.5, 1.5], 4), np.tile([True, False], 4), np.repeat(np.arange(2), 4)
    assert ten_fold_accuracy(distances, same, folds).thresholds == pytest.approx([0.51, 0.51])


def test_a_fold_does_not_choose_its_own_threshold():
    # Fold 1 lies elsewhere: each fold's own threshold would be perfect, the other's is at chance.
    distances = np.array([0.2, 0.4, 0.2, 0.4, 2.0, 3.0, 2.0, 3.0])
    same, folds = np.tile([True, False], 4), np.repeat(np.arange(2), 4)
    assert ten_fold_accuracy(distances, same, folds).per_fold.tolist() == [0.5, 0.5]


def test_mean_deviation_and_standard_error_are_those_of_the_folds():
    accuracy = ten_fold_accuracy(*_pairs(0))
    folds = accuracy.per_fold.tolist()
    mean = sum(folds) / 10
    variance = sum((x - mean) ** 2 for x in folds)
    assert accuracy.mean == pytest.approx(mean)
    assert accuracy.std == pytest.approx((variance / 10) ** 0.5)
    assert accuracy.standard_error == pytest.approx((variance / 9) ** 0.5 / 10**0.5)


def test_tar_is_zero_where_no_threshold_reaches_the_false_accept_rate():
    # Every different pair is farther than the last threshold (or has no embedding): FAR stays 0.
    distances, same, folds = np.tile([0.5, np.inf], 4), np.tile([True, False], 4), np.repeat(np.arange(2), 4)
    measured = tar_at_far(distances, same, folds)
    assert measured.thresholds.tolist() == [0.0, 0.0] and measured.mean == 0.0 and measured.far == 0.0


def test_a_pair_without_embedding_is_called_different_at_every_threshold():
    distances, same, folds = np.tile([0.5, 1.5], 20), np.tile([True, False], 20), np.repeat(np.arange(10), 4)
    for position, expected in ((0, 0.75), (1, 1.0)):  # a same pair is then wrong, a different pair right
        missing = distances.copy()
        missing[position] = np.inf
        accuracy = ten_fold_accuracy(missing, same, folds)
        assert accuracy.per_fold.tolist() == [expected] + [1.0] * 9
        assert tar_at_far(missing, same, folds).per_fold.tolist()[0] == (0.5 if position == 0 else 1.0)


def test_auc_is_the_share_of_pairs_of_pairs_in_the_right_order():
    for seed in range(20):
        distances, same, _ = _pairs(seed, per_kind=3, coarse=True)
        distances[:: 7 + seed] = np.inf
        near, far = distances[same][:, None], distances[~same][None, :]
        expected = ((near < far).sum() + 0.5 * (near == far).sum()) / (near.size * far.size)
        assert auc(roc(distances, same)) == pytest.approx(expected, abs=1e-12)


def test_equal_error_rate_of_two_normal_distributions_is_the_textbook_value():
    # Same ~ N(1, s), different ~ N(2, s): EER = Phi(-1 / (2 s)), here with s = 0.5 Phi(-1) = 0.158655.
    quantiles = (np.arange(4000) + 0.5) / 4000
    from statistics import NormalDist

    standard = np.array([NormalDist().inv_cdf(q) for q in quantiles]) * 0.5
    distances = np.concatenate([1 + standard, 2 + standard]) + 1.0  # kept positive
    same = np.repeat([True, False], 4000)
    assert equal_error_rate(roc(distances, same)) == pytest.approx(0.158655, abs=3e-4)


def test_equal_error_rate_lies_on_the_curve():
    for seed in range(20):
        distances, same, _ = _pairs(seed, per_kind=2)
        curve = roc(distances, same)
        rate = equal_error_rate(curve)
        # On a vertical step the curve holds a whole interval of TAR at this FAR.
        at = np.interp(rate, curve.far, curve.tar)
        touching = curve.tar[np.isclose(curve.far, rate)]
        assert np.isclose(at, 1 - rate) or touching.min() <= 1 - rate <= touching.max()


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), per_kind=st.integers(1, 9), fold_count=st.integers(2, 10))
def test_no_metric_depends_on_the_order_of_the_pairs(seed, per_kind, fold_count):
    distances, same, folds = _pairs(seed, per_kind, fold_count, overlap=2)
    order = np.random.default_rng(seed).permutation(len(distances))
    for metric in (ten_fold_accuracy, tar_at_far):
        one, other = metric(distances, same, folds), metric(distances[order], same[order], folds[order])
        np.testing.assert_array_equal(one.per_fold, other.per_fold)
        np.testing.assert_array_equal(one.thresholds, other.thresholds)
    assert auc(roc(distances, same)) == pytest.approx(auc(roc(distances[order], same[order])), abs=1e-12)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_the_curve_rises_from_corner_to_corner_and_rates_are_shares(seed):
    distances, same, folds = _pairs(seed, overlap=3)
    curve = roc(distances, same)
    for rate in (curve.far, curve.tar):
        assert rate[0] == 0 and rate[-1] == 1 and (np.diff(rate) >= 0).all()
    assert 0 <= equal_error_rate(curve) <= 1 and 0 <= auc(curve) <= 1
    # Turning the truth round turns the curve round.
    assert auc(roc(distances, ~same)) == pytest.approx(1 - auc(curve))
    assert (ten_fold_accuracy(distances, same, folds).per_fold <= 1).all()


def test_random_distances_are_at_chance():
    rng = np.random.default_rng(0)
    same, folds = np.tile([True, False], 3000), np.repeat(np.arange(10), 600)
    distances = rng.uniform(0, 4, 6000)
    assert abs(ten_fold_accuracy(distances, same, folds).mean - 0.5) < 0.02
    assert abs(auc(roc(distances, same)) - 0.5) < 0.02


def test_squared_distance_is_two_minus_twice_the_cosine():
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(50, 128)) for _ in range(2))
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    distances = squared_distances(first.astype(np.float32), second.astype(np.float32))
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, 2 - 2 * (first * second).sum(1), atol=1e-6)
    assert squared_distances(first, first).tolist() == [0.0] * 50
    np.testing.assert_allclose(squared_distances(first, -first), 4)


def test_embeddings_that_are_not_of_length_one_are_refused():
    unit = np.eye(4, dtype=np.float32)
    with pytest.raises(DataError, match=r"row 2 of the second side has length 3, expected 1\. Try: divide"):
        squared_distances(unit, unit * np.array([[1], [1], [3], [1]], np.float32))
    spoiled = unit.copy()
    spoiled[1, 0] = np.nan
    with pytest.raises(DataError, match="row 1 of the first side has length nan, expected 1"):
        squared_distances(spoiled, unit)
    with pytest.raises(DataError, match=r"shapes are \[4, 4\] and \[3, 4\], expected one \[P, D\]"):
        squared_distances(unit, unit[:3])


def test_pairs_that_mean_nothing_are_refused():
    distances, same, folds = _pairs(0, fold_count=3)
    with pytest.raises(DataError, match="fold 1: 0 same and 12 different pairs, expected at least one of each"):
        keep = ~(same & (folds == 1))
        ten_fold_accuracy(distances[keep], same[keep], folds[keep])
    with pytest.raises(DataError, match="fold 1: 0 same and 0 different pairs"):
        ten_fold_accuracy(distances[folds != 1], same[folds != 1], folds[folds != 1])
    with pytest.raises(DataError, match="1 fold, expected at least 2"):
        tar_at_far(distances, same, np.zeros_like(folds))
    with pytest.raises(DataError, match="distance 5 is nan, expected 0 or more"):
        spoiled = distances.copy()
        spoiled[5] = np.nan
        ten_fold_accuracy(spoiled, same, folds)
    with pytest.raises(DataError, match="expected 0 or more"):
        roc(distances - 10, same)
    with pytest.raises(DataError, match=r"are \[72\], \[72\], \[71\], expected one \[P\]"):
        ten_fold_accuracy(distances, same, folds[1:])
    with pytest.raises(DataError, match="same is int64 and folds are int64, expected bool and int"):
        ten_fold_accuracy(distances, same.astype(np.int64), folds)
    with pytest.raises(DataError, match="the pairs: 36 same and 0 different pairs"):
        roc(distances[same], same[same])
    with pytest.raises(DataError, match="there are none"):
        roc(distances[:0], same[:0])
    with pytest.raises(DataError, match="far is 0, expected above 0"):
        tar_at_far(distances, same, folds, 0)


def test_thresholds_for_a_rate_reach_to_the_greatest_distance_of_two_directions() -> None:
    """Squared distances of unit vectors go to 4: with a rate of 1 everything below that is accepted."""
    distances = np.array([3.9, 3.5, 3.9, 3.5] * 2)
    same = np.array([True, True, False, False] * 2)
    found = tar_at_far(distances, same, np.repeat([0, 1], 4), 1.0)
    assert found.per_fold.tolist() == [1, 1] and (found.thresholds > 3.9).all()
