# SPDX-License-Identifier: Apache-2.0
"""Lines over steps as HTML that needs no script: the lines are SVG and stretch with the window, the letters do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.escape import for_html

MOST_POINTS = 400
"""Of a line. What has more is drawn as the mean of each run of neighbours, in a band from the least to the greatest."""

_SIDE = 1000  # of the drawing, in its own units; how wide and high it is on the page, the page says
_COLOURS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of a chart.

    Attributes:
        label: in words.
        steps: float64 [N], never falling.
        values: float64 [N]; what is not finite is left out.
        dotted: its points are marked, and tell their numbers to a pointer.
    """

    label: str
    steps: np.ndarray
    values: np.ndarray
    dotted: bool = False


def line_chart(
    title: str,
    lines: Sequence[Line],
    last_step: float,
    *,
    told: Callable[[float], str] = "{:g}".format,
    from_zero: bool = False,
    marks: Sequence[float] = (),
) -> str:
    """A chart from step 0 to `last_step`; without a finite value a sentence that says so.

    Args:
        told: a value as it stands at the axis and beside a line's name.
        from_zero: the axis begins at 0, whatever the least value.
        marks: steps with a dashed line across, where something happened.
    """
    kept = [Line(one.label, *_finite(one), one.dotted) for one in lines]
    kept = [one for one in kept if len(one.values)]
    head = f'<figure class="chart"><figcaption>{for_html(title)}</figcaption>'
    if not kept:
        return f"{head}<p>Nothing was measured yet.</p></figure>"
    every = np.concatenate([one.values for one in kept])
    heights = ticks(0.0 if from_zero else float(every.min()), float(every.max()))
    low, high = min(heights[0], float(every.min())), max(heights[-1], float(every.max()))
    across = [step for step in ticks(0, max(last_step, 1)) if step <= max(last_step, 1)]

    def x(steps: np.ndarray | float) -> np.ndarray | float:
        return np.asarray(steps, np.float64) / max(last_step, 1) * _SIDE

    def y(values: np.ndarray | float) -> np.ndarray | float:
        return (high - np.asarray(values, np.float64)) / (high - low) * _SIDE

    grid = "".join(f'<path class="grid" d="M0 {y(value):.1f}H{_SIDE}"/>' for value in heights)
    grid += "".join(f'<path class="mark" d="M{x(step):.1f} 0V{_SIDE}"/>' for step in marks)
    drawn = "".join(_drawn(one, number % _COLOURS, x, y, told) for number, one in enumerate(kept))
    beside = "".join(f'<span style="top:{y(value) / 10:.1f}%">{for_html(told(value))}</span>' for value in heights)
    below = "".join(f'<span style="left:{x(step) / 10:.1f}%">{step:,.0f}</span>' for step in across)
    named = [for_html(f"{one.label} {told(float(one.values[-1]))}") for one in kept]
    legend = "".join(f'<span class="c{number % _COLOURS}"><i></i>{name}</span>' for number, name in enumerate(named))
    described = for_html(f"{title}: {', '.join(one.label for one in kept)} over steps")
    return (
        f'{head}<div class="axes"><div class="beside">{beside}</div>'
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" preserveAspectRatio="none" role="img" aria-label="{described}">'
        f'{grid}{drawn}</svg><div class="below">{below}</div></div><p class="legend">{legend}</p></figure>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Three to eight round numbers, each 1, 2 or 5 times a power of ten apart, from at or below `low` to at or above
    `high`.

    Example:
        >>> ticks(0, 0.93)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):  # one value alone stands in the middle
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(power * by for by in (1, 2, 5, 10) if power * by >= rough * (1 - 1e-9))
    first, last = math.floor(low / apart + 1e-9), math.ceil(high / apart - 1e-9)
    digits = max(0, -math.floor(math.log10(apart)))
    return [round(place * apart, digits) + 0.0 for place in range(first, last + 1)]


def _finite(line: Line) -> tuple[np.ndarray, np.ndarray]:
    kept = np.isfinite(line.values)
    return line.steps[kept], line.values[kept]


def _drawn(
    line: Line,
    colour: int,
    x: Callable[[np.ndarray | float], np.ndarray | float],
    y: Callable[[np.ndarray | float], np.ndarray | float],
    told: Callable[[float], str],
) -> str:
    runs = np.array_split(np.arange(len(line.values)), min(len(line.values), MOST_POINTS))
    steps, means = (np.array([part[run].mean() for run in runs]) for part in (line.steps, line.values))
    parts = []
    if len(line.values) > MOST_POINTS:
        least, greatest = (np.array([pick(line.values[run]) for run in runs]) for pick in (np.min, np.max))
        outline = _points(x(np.append(steps, steps[::-1])), y(np.append(greatest, least[::-1])))
        parts.append(f'<polygon class="band c{colour}" points="{outline}"/>')
    parts.append(f'<polyline class="c{colour}" points="{_points(x(steps), y(means))}"/>')
    if line.dotted or len(line.values) == 1:
        parts += [
            f'<path class="dot c{colour}" d="M{x(step):.1f} {y(value):.1f}h0">'
            f"<title>{for_html(line.label)}, step {step:,.0f}: {for_html(told(value))}</title></path>"
            for step, value in zip(line.steps.tolist(), line.values.tolist(), strict=True)
        ]
    return "".join(parts)


def _points(x: np.ndarray | float, y: np.ndarray | float) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(np.atleast_1d(x), np.atleast_1d(y), strict=True))


STYLE = """
* { --c0: #1f6fb4; --c1: #c4560a; --c2: #0b8a63; --c3: #a8478a; --c4: #8a6d00; --c5: #5b4fc9; }
@media (prefers-color-scheme: dark) {
  * { --c0: #6cb2ee; --c1: #f0975a; --c2: #4fcfa5; --c3: #e39aca; --c4: #dcb93c; --c5: #a89ff5; }
}
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1.4rem 2rem; }
.chart { min-width: 0; }
.chart > figcaption { font-size: 1rem; color: var(--ink); max-width: none; margin-bottom: .3rem; }
.axes { position: relative; margin: .5rem .8rem 1.5rem 3.6rem; height: 220px; }
.axes svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.axes svg * { vector-effect: non-scaling-stroke; }
.axes span { position: absolute; font-size: .75rem; color: var(--faint); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.beside { position: absolute; inset: 0 auto 0 0; }
.beside span { right: .5rem; transform: translateY(-50%); }
.below { position: absolute; inset: auto 0 0 0; }
.below span { top: .35rem; transform: translateX(-50%); }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.mark { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 4 4; fill: none; }
polyline { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.band { fill: currentColor; opacity: .22; stroke: none; }
.dot { fill: none; stroke: currentColor; stroke-width: 6; stroke-linecap: round; }
.legend { margin: 0; font-size: .8rem; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding-left: 3.6rem; }
.legend span { white-space: nowrap; }
.legend i { display: inline-block; width: 1rem; height: 0; border-top: 3px solid currentColor; margin-right: .35rem;
  vertical-align: middle; border-radius: 2px; }
"""
