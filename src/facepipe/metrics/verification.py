# SPDX-License-Identifier: Apache-2.0
"""How well distances tell "same person" from "different people": ten-fold accuracy, TAR at a FAR, ROC, AUC, EER.

Pure NumPy on arrays of distances. A pair is called "same" when its distance is strictly below the threshold. A pair
that lacks an embedding has the distance infinity: it is called "different" at every threshold.

Everything rests on one fact: the number of distances strictly below a threshold is
`np.searchsorted(sorted distances, threshold, side="left")`, so one sort replaces a loop over thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facepipe.errors import DataError

# Squared distances of unit vectors lie in [0, 4]. Both grids are davidsandberg/facenet's (`src/lfw.py`), so that
# numbers can be compared with published ones. 51 of the 400 are not the float64 nearest to their decimal
# (0.35000000000000003): a threshold is written with all its digits, or it is not the one that judged.
ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)  # 400
FAR_THRESHOLDS = np.arange(0, 4, 0.001)  # 4000

# How far from 1 the squared length of an embedding may be: half precision moves it by some 1e-3.
_LENGTH_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class FoldAccuracy:
    """Accuracy per fold float64 [K], and the threshold float64 [K] that the other folds chose for it."""

    per_fold: np.ndarray
    thresholds: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.per_fold.mean())

    @property
    def std(self) -> float:
        """Standard deviation over the folds, divided by K: the "+-" that davidsandberg/facenet prints."""
        return float(self.per_fold.std())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, as the LFW report defines it: deviation (divided by K - 1) over sqrt(K)."""
        return float(self.per_fold.std(ddof=1) / np.sqrt(len(self.per_fold)))


@dataclass(frozen=True, slots=True, eq=False)
class TarAtFar:
    """True accept rate per fold float64 [K], false accept rate really seen there, and the thresholds used."""

    per_fold: np.ndarray
    far_per_fold: np.ndarray
    thresholds: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.per_fold.mean())

    @property
    def std(self) -> float:
        return float(self.per_fold.std())

    @property
    def far(self) -> float:
        """Mean false accept rate on the judged folds; the target was met on the others."""
        return float(self.far_per_fold.mean())


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """The curve as corners: false and true accept rate float64 [M], from (0, 0) to (1, 1), both never falling."""

    far: np.ndarray
    tar: np.ndarray


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of each row of `first` to the same row of `second`.

    Args:
        first: float32 or float64 [P, D], rows of length 1.
        second: float [P, D], rows of length 1.

    Returns:
        float64 [P], in [0, 4].

    Raises:
        DataError: the shapes differ, a value is not finite, or a row is not of length 1.
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise DataError(f"embeddings: shapes are {list(first.shape)} and {list(second.shape)}, expected one [P, D].")
    # C order: a pair then has the same bits alone and among others, so that a threshold means the same for both.
    one, other = first.astype(np.float64, order="C"), second.astype(np.float64, order="C")
    for name, rows in (("first", one), ("second", other)):
        squared_lengths = np.einsum("pd,pd->p", rows, rows)
        # Written so that a NaN fails too.
        wrong = np.flatnonzero(~(np.abs(squared_lengths - 1) <= _LENGTH_TOLERANCE))
        if len(wrong):
            length = float(np.sqrt(squared_lengths[wrong[0]]))
            raise DataError(
                f"embeddings: row {wrong[0]} of the {name} side has length {length:.4g}, expected 1.",
                "divide each embedding by its length; NaN means that the network's output overflowed.",
            )
    difference = one - other
    distances: np.ndarray = np.einsum("pd,pd->p", difference, difference)
    return distances


def ten_fold_accuracy(distances: np.ndarray, same: np.ndarray, folds: np.ndarray) -> FoldAccuracy:
    """Accuracy of "distance below threshold means same person", each fold judged by a threshold chosen on the others.

    Args:
        distances: float [P], squared Euclidean distance of unit embeddings, in [0, 4]; infinity for a pair that is
            to be called "different" whatever the threshold.
        same: bool [P], the truth.
        folds: int [P], 0 to K - 1, as pairs.txt groups them (K is 10 for LFW). They are never shuffled.

    Returns:
        Accuracy per fold [K] and the K thresholds: of 0, 0.01, ... 3.99, the first that is best on the other folds.

    Raises:
        DataError: the arrays differ in length, a distance is NaN or negative, there are fewer than two folds, or a
            fold has no same or no different pairs, so that its accuracy would mean nothing.

    Source:
        Huang et al. 2007, "Labeled Faces in the Wild", View 2. Thresholds and strict `<` as in davidsandberg/facenet
        `src/lfw.py`.

    Example:
        >>> ten_fold_accuracy(np.tile([0.5, 1.5], 10), np.tile([True, False], 10), np.repeat(range(10), 2)).mean
        1.0
    """
    accepted_same, accepted_different, same_count, different_count = _accepted(
        distances, same, folds, ACCURACY_THRESHOLDS
    )
    correct = accepted_same + different_count[:, None] - accepted_different  # (K, T)
    best = np.argmax(correct.sum(axis=0) - correct, axis=1)  # (K,): on the other folds, the first of equals
    right = np.take_along_axis(correct, best[:, None], axis=1)[:, 0]  # (K,)
    return FoldAccuracy(per_fold=right / (same_count + different_count), thresholds=ACCURACY_THRESHOLDS[best])


def tar_at_far(distances: np.ndarray, same: np.ndarray, folds: np.ndarray, far: float = 1e-3) -> TarAtFar:
    """True accept rate of each fold at the threshold where the other folds accept the share `far` of different pairs.

    The false accept rate is a staircase over the thresholds 0, 0.001, ... 3.999. Between the last step not above
    `far` and the first above it, the threshold is interpolated linearly. Where the staircase never reaches `far`, the
    threshold is 0, which accepts nothing.

    Args:
        distances, same, folds: as for `ten_fold_accuracy`.
        far: the share of different pairs that may be accepted, above 0 and at most 1.

    Returns:
        TAR, FAR and threshold per fold [K].

    Raises:
        DataError: as `ten_fold_accuracy`, or `far` is out of range.

    Source:
        davidsandberg/facenet `src/lfw.py`, "validation rate"; there the interpolation is given repeated FARs, which
        newer SciPy refuses. Here each is used once.
    """
    if not 0 < far <= 1:
        raise DataError(f"tar_at_far: far is {far}, expected above 0 and at most 1.")
    grid = FAR_THRESHOLDS
    _, accepted, _, different_count = _accepted(distances, same, folds, grid)
    train_far = (accepted.sum(axis=0) - accepted) / (different_count.sum() - different_count)[:, None]  # (K, T)
    thresholds = np.array([_threshold_at(far, stairs, grid) for stairs in train_far])
    fold_count = len(thresholds)
    taken = distances < thresholds[folds]
    accepted_same = np.bincount(folds[same & taken], minlength=fold_count)
    accepted_different = np.bincount(folds[~same & taken], minlength=fold_count)
    same_count = np.bincount(folds[same], minlength=fold_count)
    return TarAtFar(
        per_fold=accepted_same / same_count,
        far_per_fold=accepted_different / different_count,
        thresholds=thresholds,
    )


def _threshold_at(far: float, stairs: np.ndarray, grid: np.ndarray) -> float:
    """The threshold at which the staircase float64 [T] over `grid` passes `far`; 0 where it never reaches it."""
    above = int(np.searchsorted(stairs, far, side="right"))  # first index whose FAR exceeds the target
    if above == len(stairs):
        return float(grid[-1]) if stairs[-1] == far else 0.0
    if above == 0:
        return 0.0
    low, high = stairs[above - 1], stairs[above]
    return float(grid[above - 1] + (far - low) / (high - low) * (grid[above] - grid[above - 1]))


def roc(distances: np.ndarray, same: np.ndarray) -> Roc:
    """Every corner of the ROC over all pairs together: each distance that occurs is a threshold, there is no grid.

    Args:
        distances: float [P]; infinity for pairs without an embedding: the last step of the curve.
        same: bool [P], the truth.

    Returns:
        M corners from (0, 0) to (1, 1). Pairs of one distance make one slanted step.

    Raises:
        DataError: the arrays differ in length, a distance is NaN or negative, or one kind of pair is lacking.

    Source:
        Fawcett 2006, "An introduction to ROC analysis", algorithm 1.
    """
    _check(distances, same, np.zeros(len(distances), np.intp))
    _both_kinds(int(same.sum()), int(len(same) - same.sum()), "the pairs")
    order = np.argsort(distances, kind="stable")
    ordered, truth = distances[order], same[order]
    # A difference would be inf - inf = NaN among the missing pairs.
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    tar = np.cumsum(truth)[last_of_equals] / truth.sum()
    far = np.cumsum(~truth)[last_of_equals] / (~truth).sum()
    return Roc(far=np.append(0.0, far), tar=np.append(0.0, tar))


def auc(curve: Roc) -> float:
    """Area under the ROC: the probability that a same pair is nearer than a different one, ties counting half.

    davidsandberg/facenet integrates a curve averaged over folds on a grid of 0.01; that differs in the fourth digit.
    """
    heights = (curve.tar[1:] + curve.tar[:-1]) / 2
    return float(np.sum(np.diff(curve.far) * heights))


def equal_error_rate(curve: Roc) -> float:
    """Where false accepts are as frequent as false rejects: FAR = 1 - TAR, interpolated on the ROC.

    FAR + TAR - 1 rises from -1 to 1 along the curve, so there is exactly one crossing and no root finder is needed.
    """
    balance = curve.far + curve.tar - 1  # (M,), never falling
    after = int(np.searchsorted(balance, 0.0, side="left"))  # at least 1: the first corner has -1
    low, high = balance[after - 1], balance[after]
    share = -low / (high - low)
    return float(curve.far[after - 1] + share * (curve.far[after] - curve.far[after - 1]))


def _accepted(
    distances: np.ndarray, same: np.ndarray, folds: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs below each threshold, int [K, T] of same and of different pairs; and how many there are, int [K] each."""
    _check(distances, same, folds)
    fold_count = int(folds.max()) + 1
    if fold_count < 2:
        raise DataError(f"folds: {fold_count} fold, expected at least 2: a threshold is chosen on the others.")
    below = np.zeros((2, fold_count, len(thresholds)), np.int64)
    counts = np.zeros((2, fold_count), np.int64)
    for kind, members in enumerate((same, ~same)):
        for fold in range(fold_count):
            ordered = np.sort(distances[members & (folds == fold)])
            below[kind, fold] = np.searchsorted(ordered, thresholds, side="left")
            counts[kind, fold] = len(ordered)
    for fold in range(fold_count):
        _both_kinds(int(counts[0, fold]), int(counts[1, fold]), f"fold {fold}")
    return below[0], below[1], counts[0], counts[1]


def _check(distances: np.ndarray, same: np.ndarray, folds: np.ndarray) -> None:
    """Raise DataError unless the three describe the same pairs, with distances that can be compared."""
    shapes = [list(array.shape) for array in (distances, same, folds)]
    if distances.ndim != 1 or shapes[0] != shapes[1] or shapes[0] != shapes[2]:
        listed = ", ".join(map(str, shapes))
        raise DataError(f"pairs: distances, same and folds are {listed}, expected one [P].")
    if same.dtype != np.bool_ or folds.dtype.kind not in "iu":
        raise DataError(f"pairs: same is {same.dtype} and folds are {folds.dtype}, expected bool and int.")
    if not len(distances):
        raise DataError("pairs: there are none, expected some in each fold.")
    wrong = np.flatnonzero(~(distances >= 0))
    if len(wrong):
        raise DataError(f"pairs: distance {wrong[0]} is {distances[wrong[0]]}, expected 0 or more.")
    if folds.min() < 0:
        raise DataError(f"pairs: a fold is {folds.min()}, expected 0 or more.")


def _both_kinds(same_count: int, different_count: int, where: str) -> None:
    if same_count and different_count:
        return
    raise DataError(
        f"{where}: {same_count} same and {different_count} different pairs, expected at least one of each.",
        "score whole folds; pairs left out (--missing=skip) may have emptied one.",
    )
