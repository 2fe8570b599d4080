# SPDX-License-Identifier: Apache-2.0
"""A training as one HTML page that a person can read while it runs and afterwards: no network, no script.

What the page shows: loss, learning rate and margin, the accuracies on verification sets, samples a second and the share
of the time that was spent waiting for data, all over steps; what was left out; where the training was taken up again;
and the recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from facepipe.escape import for_html
from facepipe.reports.html_page import cards, details, table, whole_page
from facepipe.reports.line_chart import STYLE, Line, line_chart
from facepipe.reports.report_plots import count_of

MOST_WAITING = 0.1
"""Share of the time that may be spent waiting for data before the page says that the loader is too slow."""

Entry = Mapping[str, Any]
"""A line of metrics.jsonl; docs/file-formats.md tells of each kind."""


def training_page(metrics: Iterable[Entry], recipe: Mapping[str, Any]) -> str:
    """The page of a training, as HTML.

    Args:
        metrics: the lines of its metrics.jsonl, in order. Kinds that are not shown are passed over.
        recipe: every value that it was begun with; what is nested is shown by dotted names.
    """
    entries = list(metrics)
    last = max((int(entry["step"]) for entry in entries), default=0)
    steps = _of_kind(entries, "step")
    verified = _of_kind(entries, "verification")
    taken_up = _of_kind(entries, "resumed")
    whole = max((int(entry.get("steps") or 0) for entry in entries), default=0)
    title = f"Training of {recipe['model']}" if "model" in recipe else "Training"
    body = "\n".join(
        [
            f"<h1>{for_html(title)}</h1>",
            _warnings(steps),
            cards(_headline(steps, verified, last, whole)),
            "<h2>Over steps</h2>",
            "<p>A dashed line: there the training was taken up again.</p>" if taken_up else "",
            f'<div class="charts">{_charts(steps, verified, last, [entry["step"] for entry in taken_up])}</div>',
            _accuracies(verified),
            _course(entries),
            f"<h2>Recipe</h2>{table(('', ''), _flat(recipe))}",
        ]
    )
    return whole_page(title, body, STYLE)


def _of_kind(entries: Sequence[Entry], kind: str) -> list[Entry]:
    return [entry for entry in entries if entry["kind"] == kind]


def _numbers(entries: Sequence[Entry], name: str) -> np.ndarray:
    """float64 [N]: a field of each line, NaN where it is not there."""
    values = [entry.get(name) for entry in entries]
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def _warnings(steps: Sequence[Entry]) -> str:
    notes = []
    waiting, left_out = _mean_waiting(steps), _left_out(steps)
    if waiting > MOST_WAITING:
        notes.append(
            f"The network waited for data {waiting:.0%} of the time: pack the set with `facepipe train-data pack`, or "
            "give it more loader processes."
        )
    if left_out:
        notes.append(f"{count_of(left_out, 'damaged sample')} left out; the log names each.")
    return "".join(f'<p class="warning">{for_html(note)}</p>' for note in notes)


def _mean_waiting(steps: Sequence[Entry]) -> float:
    shares = _numbers(steps, "waiting")
    shares = shares[np.isfinite(shares)]
    return float(shares.mean()) if len(shares) else 0.0


def _left_out(steps: Sequence[Entry]) -> int:
    """Each line has how many there were until then."""
    return max((int(entry.get("left_out") or 0) for entry in steps), default=0)


def _headline(steps: Sequence[Entry], verified: Sequence[Entry], last: int, whole: int) -> list[tuple[str, str]]:
    figures = [("steps", f"{last:,} of {whole:,}" if whole else f"{last:,}")]
    if steps:
        speeds = _numbers(steps, "samples_per_second")
        epoch = steps[-1].get("epoch")
        figures += [("epoch", str(epoch))] if epoch is not None else []
        figures.append(("loss, last", _short(float(steps[-1]["loss"]))))
        figures += [
            (f"{name}, best", f"{max(entry['accuracy'] for entry in verified if entry['name'] == name):.4f}")
            for name in _names(verified)
        ]
        if np.isfinite(speeds).any():
            figures.append(("samples/s, median", _short(float(np.nanmedian(speeds)))))
        figures += [
            ("waiting for data", f"{_mean_waiting(steps):.1%}"),
            ("left out", f"{_left_out(steps):,}"),
            ("time", _time(_seconds(steps))),
        ]
    return figures


def _names(verified: Sequence[Entry]) -> list[str]:
    """The sets, in the order in which they were verified first."""
    return list(dict.fromkeys(str(entry["name"]) for entry in verified))


def _charts(steps: Sequence[Entry], verified: Sequence[Entry], last: int, taken_up: Sequence[float]) -> str:
    at = _numbers(steps, "step")

    def line(label: str, name: str) -> list[Line]:
        return [Line(label, at, _numbers(steps, name))]

    accuracies = []
    for name in _names(verified):
        own = [entry for entry in verified if entry["name"] == name]
        accuracies.append(Line(name, _numbers(own, "step"), _numbers(own, "accuracy"), dotted=True))
    margins = _numbers(steps, "margin")
    moves = len(margins) and not (margins == margins[0]).all() and np.isfinite(margins).any()
    charts = [
        line_chart("Loss", line("loss", "loss"), last, told=_short, marks=taken_up),
        line_chart("Accuracy on verification sets", accuracies, last, told="{:.4f}".format, marks=taken_up),
        line_chart("Learning rate", line("rate", "rate"), last, told=_short, from_zero=True, marks=taken_up),
    ]
    if moves:
        charts.append(line_chart("Margin", line("margin", "margin"), last, told=_short, from_zero=True))
    speed, share = line("samples/s", "samples_per_second"), line("share", "waiting")
    charts += [
        line_chart("Samples a second", speed, last, told=_short, from_zero=True, marks=taken_up),
        line_chart("Share of the time waiting for data", share, last, told="{:.1%}".format, from_zero=True),
    ]
    return "".join(charts)


def _accuracies(verified: Sequence[Entry]) -> str:
    if not verified:
        return ""
    best = {name: max(entry["accuracy"] for entry in verified if entry["name"] == name) for name in _names(verified)}
    rows = [
        (
            f"{entry['step']:,}",
            str(entry["name"]),
            f"{entry['accuracy']:.5f} ± {entry['deviation']:.5f}",
            "best" if entry["accuracy"] == best[entry["name"]] else "",
            f"{entry['x_norm']:.4f}",
        )
        for entry in reversed(verified)
    ]
    listed = table(("step", "set", "accuracy with the mirror image", "", "XNorm"), rows)
    return f"<h2>Verification</h2>{details(count_of(len(rows), 'verification') + ', the last first', listed)}"


def _course(entries: Sequence[Entry]) -> str:
    """Where it began and was taken up again, with what; and what lies saved."""
    told = {"begun": "begun", "resumed": "taken up again"}
    rows = [
        (
            f"{entry['step']:,}",
            told[entry["kind"]],
            ", ".join(f"{name} {value}" for name, value in _flat(entry) if name not in ("step", "kind")),
        )
        for entry in entries
        if entry["kind"] in told
    ]
    saved = _of_kind(entries, "saved")
    last = f"; the last is {saved[-1]['folder']}" if saved else ""
    resumes = sum(entry["kind"] == "resumed" for entry in entries)
    text = f"Taken up again {count_of(resumes, 'time')}. Saved {count_of(len(saved), 'time')}{last}."
    listed = table(("step", "", "with"), rows) if rows else ""
    return f"<h2>Course</h2><p>{for_html(text)}</p>{listed}"


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """(dotted name, value in words) of a mapping of mappings."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{above}{name}.")
        elif isinstance(value, (list, tuple)):
            rows.append((f"{above}{name}", ", ".join(map(str, value)) or "none"))
        else:
            rows.append((f"{above}{name}", str(value).lower() if isinstance(value, bool) else str(value)))
    return rows


def _seconds(steps: Sequence[Entry]) -> float:
    """Of all its parts: each that was taken up again counts from 0."""
    seconds = _numbers(steps, "seconds")
    seconds = seconds[np.isfinite(seconds)]
    apart = np.diff(seconds, prepend=0.0)
    return float(np.where(apart < 0, seconds, apart).sum())


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{seconds / 60:.1f} min"


def _short(value: float) -> str:
    """Four digits, with commas where there are thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
