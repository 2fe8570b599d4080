# SPDX-License-Identifier: Apache-2.0
"""bench.json as one picture: photographs per second beside the peer, each network, and what growth costs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facepipe.errors import BackendError
from facepipe.store.files import atomic_path

_OWN, _PEER = "#1f6fb4", "#d1662a"


def write_chart(found: Mapping[str, Any], target: Path) -> None:
    """Draw what `found`, the content of bench.json, holds of the three parts.

    Raises:
        BackendError: matplotlib is not installed.
    """
    try:
        figure_class = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise BackendError(
            f"bench: matplotlib is not installed ({error}), expected it for drawing.", "pip install 'facepipe[report]'"
        ) from error
    figure = figure_class(figsize=(15, 5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _end_to_end(left, found.get("end_to_end", {}))
    _networks(middle, found.get("networks", {}))
    _scaling(right, found.get("scaling", {}))
    with atomic_path(target, overwrite=True) as part:
        figure.savefig(part, format="png", dpi=110)


def _end_to_end(axes: Any, found: Mapping[str, Any]) -> None:
    rows = {name: row for name, row in found.items() if isinstance(row, dict) and "backend" in row}
    rates = {name: row["per_second"] for name, row in rows.items()}
    if "peer" in found:
        rates = {"facenet-pytorch": found["peer"]["per_second"], **rates}
    names = list(rates)[::-1]
    bars = axes.barh(
        names, [rates[name] for name in names], color=[_PEER if name not in rows else _OWN for name in names]
    )
    labels = [
        f"{rates[name]:.1f}" + (f" ({rows[name]['ratio']:.1f}x)" if "ratio" in rows.get(name, {}) else "")
        for name in names
    ]
    axes.bar_label(bars, labels, padding=3)
    axes.set(title="Photographs to embeddings", xlabel="photographs per second")
    axes.margins(x=0.35)


def _networks(axes: Any, found: Mapping[str, Any]) -> None:
    tables = {name: table for name, table in found.items() if isinstance(table, dict) and "threads" in table}
    tables.pop("peer", None)  # its operations are not counted
    models = sorted({model for table in tables.values() for model in table if model != "threads"})
    height = 0.8 / max(1, len(tables))
    for row, (name, table) in enumerate(tables.items()):
        best = [max((s["gflops"] for s in table.get(model, {}).values()), default=0) for model in models]
        axes.barh([place + row * height for place in range(len(models))], best, height, label=name)
    if "limit_gflops" in found:
        axes.axvline(found["limit_gflops"], color="0.4", linestyle="--", linewidth=1, label="f32 matrix product")
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(models))], models)
    axes.set(title="Networks, at their best shape", xlabel="GFLOP/s")
    if tables:
        axes.legend(fontsize=8)


def _scaling(axes: Any, found: Mapping[str, Any]) -> None:
    rows = found.get("photographs", {})
    counts = sorted(rows, key=int)
    axes.set(title="As the work grows", xlabel="photographs", ylabel="photographs per second")
    if not counts:
        return
    axes.plot([int(count) for count in counts], [rows[count]["per_second"] for count in counts], "o-", color=_OWN)
    memory = axes.twinx()
    memory.plot(
        [int(count) for count in counts],
        [rows[count]["peak_memory_bytes"] / 1e6 for count in counts],
        "s--",
        color=_PEER,
    )
    axes.set(xscale="log", ylim=(0, None))
    memory.set(ylabel="peak memory, MB", ylim=(0, None))
    axes.yaxis.label.set_color(_OWN)
    memory.yaxis.label.set_color(_PEER)
