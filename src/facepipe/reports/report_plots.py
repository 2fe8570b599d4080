# SPDX-License-Identifier: Apache-2.0
"""Two drawings of a scored run: the ROC curve, and the distances of same and of different pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.datasets.lfw import VerificationSet
from facepipe.reports.figures import new_figure, png_of, require_matplotlib
from facepipe.runs.score import FAR, Figures, JoinedPairs, figures, join, policies_of
from facepipe.store.files import write_bytes
from facepipe.store.run_record import adding, read_run

ROC_FILE, DISTANCES_FILE = "roc.png", "distances.png"
_SAME, _DIFFERENT = "#1f6fb4", "#d1662a"


def write_report(run: Path, pairs: VerificationSet, accuracy: Mapping[str, Any]) -> tuple[Path, Path]:
    """Draw `run`/roc.png and `run`/distances.png of a run that was scored.

    Args:
        run: the run's folder, with faces.jsonl and embeddings.npy.
        pairs: the set it was scored on.
        accuracy: the content of its accuracy.json.

    Returns:
        The two files.

    Raises:
        BackendError: matplotlib is not installed.
        DataError: as `score.join`.
    """
    require_matplotlib()  # before any work
    read_run(run)
    paths = run / ROC_FILE, run / DISTANCES_FILE
    with adding(run, [ROC_FILE, DISTANCES_FILE]):
        for path, png in zip(paths, report_pngs(join(run, pairs), pairs, accuracy), strict=True):
            write_bytes(path, png)
    return paths


def report_pngs(joined: JoinedPairs, pairs: VerificationSet, accuracy: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The ROC curve and the distances as PNG files in memory; arguments as `write_report`'s.

    Raises:
        BackendError: matplotlib is not installed.
    """
    measured = figures(joined, policies_of(accuracy))
    caption = _caption(pairs, joined, accuracy)
    return png_of(_roc_figure(measured, caption, accuracy)), png_of(_distance_figure(measured, caption, accuracy))


def _roc_figure(measured: Figures, caption: str, accuracy: Mapping[str, Any]) -> Any:
    """FAR on a logarithmic axis: what is of interest lies at its far left."""
    figure = new_figure(caption)
    axes = figure.add_subplot()
    curve = measured.curve
    different = int((~measured.same).sum())
    # The logarithm has no 0: that rate is drawn at the left edge, below the least rate there can be.
    least = min(1 / different, FAR)
    floor = least / 2
    axes.step(np.maximum(curve.far, floor), curve.tar, where="post", color=_SAME, linewidth=1.8)
    limits = _high_enough(min(float(np.interp(least, curve.far, curve.tar)), accuracy["tar_at_far"]["mean"]))
    if limits[0] == 0:  # else it is nowhere to be seen
        rates = np.geomspace(floor, 1, 200)
        axes.plot(rates, rates, color="0.7", linewidth=1, linestyle="--", label="chance")
    axes.axvline(FAR, color="0.5", linewidth=1, linestyle=":")
    tar = accuracy["tar_at_far"]
    axes.plot([FAR], [tar["mean"]], "o", color=_DIFFERENT, label=f"TAR {tar['mean']:.4f} at FAR {FAR:g} (ten folds)")
    eer = accuracy["eer"]
    axes.plot([max(eer, floor)], [1 - eer], "s", color="0.3", label=f"EER {eer:.4f}")
    axes.set(
        xscale="log",
        xlim=(floor, 1),
        ylim=limits,
        xlabel=f"false accept rate (at the left edge: none of {count_of(different, 'different pair')})",
        ylabel="true accept rate",
        title=f"ROC, AUC {accuracy['auc']:.5f}",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right")
    return figure


def _distance_figure(measured: Figures, caption: str, accuracy: Mapping[str, Any]) -> Any:
    """Two histograms over one axis, and the range of the thresholds that the folds chose."""
    figure = new_figure(caption)
    axes = figure.add_subplot()
    there = np.isfinite(measured.distances)
    most = float(measured.distances[there].max()) if there.any() else 4.0
    bins = np.linspace(0, most * 1.02 or 1.0, 81 if len(measured.distances) >= 1000 else 41)
    for kind, label, colour in (
        (measured.same, "same person", _SAME),
        (~measured.same, "different people", _DIFFERENT),
    ):
        shown = measured.distances[kind & there]
        axes.hist(shown, bins=bins, color=colour, alpha=0.55, label=f"{label}: {count_of(len(shown), 'pair')}")
    thresholds = accuracy["accuracy"]["thresholds"]
    axes.axvspan(min(thresholds), max(thresholds), color="0.2", alpha=0.25)
    axes.axvline(float(np.median(thresholds)), color="0.2", linewidth=1, label=_range_label(thresholds))
    axes.set(
        xlim=(0, bins[-1]),
        xlabel="squared distance of unit embeddings",
        ylabel=f"pairs per {bins[1]:.2g}",
        title=f"Distances, accuracy {accuracy['accuracy']['mean']:.4f} ± {accuracy['accuracy']['std']:.4f}",
    )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the legend
    axes.legend(loc="upper center", ncols=2)
    return figure


def count_of(number: int, noun: str) -> str:
    """A number with its noun, in the singular for one.

    Example:
        >>> count_of(1, "pair"), count_of(6000, "pair")
        ('1 pair', '6,000 pairs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _high_enough(lowest: float) -> tuple[float, float]:
    """Limits of the true accept rate: the top alone where all of the curve is there, from `lowest` on."""
    missing = 1 - lowest
    return (0.0, 1.02) if missing > 0.3 else (1 - max(2.5 * missing, 0.01), 1 + max(0.05 * missing, 0.0005))


def _range_label(thresholds: list[float]) -> str:
    low, high = min(thresholds), max(thresholds)
    return f"thresholds {low:.2f}" + (f" to {high:.2f}" if high > low else "")


def _caption(pairs: VerificationSet, joined: JoinedPairs, accuracy: Mapping[str, Any]) -> str:
    """What the drawing is of: one line for the protocol, one for the networks and the missing pairs."""
    counted = {"different": "counted as different", "skip": "left out", "fail": "none allowed"}
    policy, missing = counted[accuracy["pairs"]["missing_policy"]], int(joined.missing.sum())
    lines = [
        f"{count_of(len(joined.distances), 'pair')} of the list '{pairs.name}', in {pairs.folds} {pairs.rule}",
        f"{accuracy['detector']} + {accuracy['embedder']} on {accuracy['backend']}; "
        f"{count_of(missing, 'pair')} without a face ({policy})",
    ]
    if joined.unread.any():
        policy = counted[accuracy["pairs"]["unread_policy"]]
        lines.append(f"{count_of(int(joined.unread.sum()), 'pair')} with a photograph that cannot be read ({policy})")
    if not accuracy["for_accuracy"]:
        lines.append("weights are computed, not trained: this says nothing about the network")
    return "\n".join(lines)
