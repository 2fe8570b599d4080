# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/performance.md, made from bench.json: figures with their machine, date and command.

The words of the page are the page's own; only what stands between markers is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.paired import Estimate
from facepipe.errors import DataError

Part = Mapping[str, Any]

BEGIN, END = "<!-- figures: {} -->", "<!-- end -->"


def refreshed(text: str, found: Mapping[str, Part]) -> str:
    """A page whose tables are those of `found`, the content of bench.json; all other lines stay as they are.

    A table stands between `<!-- figures: PART -->` and `<!-- end -->`. That of a part which was not measured stays.

    Raises:
        DataError: a marker names no part that has a table, or has no end.
    """

    written, inside = list[str](), ""
    for line in text.splitlines():
        if begin := re.fullmatch(BEGIN.format("(.*)"), line):
            if inside:
                break
            inside = begin.group(1)
            if inside not in TABLES:
                raise DataError(f"page: no figures of '{inside}', expected one of {', '.join(TABLES)}.")
            if inside in found:
                written.append(section(inside, found[inside]))
        if inside not in found:
            written.append(line)
        if line == END:
            inside = ""
    if inside:
        raise DataError(f"page: the figures of '{inside}' have no end, expected the line {END}.")
    return "\n".join(written) + "\n"


def section(name: str, part: Part) -> str:
    """One part's table, the line under it, and what it was measured on, between markers."""
    return f"{BEGIN.format(name)}\n{TABLES[name](part)}\n{_measured(part)}{END}"


def _end_to_end(found: Part) -> str:
    rows: list[Sequence[str]] = []
    sides = {f"`{name}`": row for name, row in found.items() if isinstance(row, dict) and "backend" in row}
    if "peer" in found:
        sides = {"facenet-pytorch": found["peer"], **sides}
    for name, row in sides.items():
        ratios = [_interval(row, ratio) for ratio in ("ratio", "cpu_ratio")]
        rows.append((name, f"{row['per_second']:.1f}", ratios[0], f"{row['cpu_ms']:.1f}", ratios[1], _megabytes(row)))
    head = ("", "photographs/s", "times the peer", "processor ms", "times the peer in processor time", "memory MB")
    limits = "; ".join(
        f"{values[0]:.0f} before the first round, {values[-1]:.0f} after the last, {min(values):.0f} at the least and "
        f"{max(values):.0f} GFLOP/s at the most in {precision}"
        for precision, values in found["limits_gflops"].items()
    )
    note = (
        f"Medians of {found['rounds']} rounds of {found['photographs_each_round']} photographs out of "
        f"{found['photographs']} on {found['cores']} cores, with the interval that holds the true one in 95 % of all "
        f"cases. Processor milliseconds are those of one photograph, of all cores together. What the processor did at "
        f"most meanwhile: {limits or 'not measured'}."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _interval(row: Part, name: str) -> str:
    if name not in row:
        return ""
    ratio = Estimate(row[name], *row[f"{name}_interval"])
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _profile(found: Part) -> str:
    own = {name: row for name, row in found.items() if isinstance(row, dict) and "steps" in row}
    labels = {
        "read": "read and decode",
        "detect": "pyramid, crops, suppression on the host",
        "crop": "choice and crop of the face",
        "embed": "normalisation",
    }
    rows: list[Sequence[str]] = [("**together**", *(f"**{row['ms']:.1f}**" for row in own.values()))]
    rows += [(labels[step], *(f"{row['steps'][step]:.2f}" for row in own.values())) for step in labels]
    for name in dict.fromkeys(name for row in own.values() for name in row["networks"]):
        cells = [row["networks"][name] for row in own.values()]
        about = f"`{name}`: {cells[0]['rows']:.1f} rows, {cells[0]['gflop']:.3f} GFLOP"
        rows.append((about, *(f"{cell['ms']:.2f} ({cell['gflops']:.0f} GFLOP/s)" for cell in cells)))
    return (
        f"{_table(('core-milliseconds for each photograph', *(f'`{name}`' for name in own)), rows)}\n\n"
        f"{found['photographs']} photographs, one process, one thread, which can do at most "
        f"{_limits(found)}. Operations are counted from the graph."
    )


def _limits(found: Part) -> str:
    limits = [f"{limit:.0f} GFLOP/s in {precision}" for precision, limit in found["limits_gflops"].items()]
    return ", ".join(limits)


def _networks(found: Part) -> str:
    rows = []
    for size, row in found.get("peer", {}).get("facenet.seeded", {}).items():
        rows.append(
            (
                "facenet-pytorch",
                "facenet.seeded",
                size,
                f"{row['latency_ms']:.1f}",
                f"{row['per_second']:,.0f}",
                "1",
                "",
                "",
            )
        )
    for name, table in found.items():
        if not isinstance(table, dict) or "threads" not in table or name == "peer":
            continue
        limit = found["limits_gflops"].get(name.rpartition("_")[2])
        for model, shapes in table.items():
            if not isinstance(shapes, dict):
                continue
            for shape, row in shapes.items():
                share = f"{100 * row['gflops'] / limit:.0f}" if limit is not None else ""
                times = f"{row['ratio']:.2f}" if "ratio" in row else ""
                figures = (
                    f"{row['latency_ms']:.1f}",
                    f"{row['per_second']:,.0f}",
                    times,
                    f"{row['gflops']:.0f}",
                    share,
                )
                rows.append((f"`{name}`", model, shape, *figures))
    head = ("", "network", "shape", "ms", "rows/s", "times the peer", "GFLOP/s", "% of the limit")
    note = (
        f"The limit is what as many threads can do at most in that precision: {_limits(found)}. "
        "Winograd's minimal filtering does fewer operations than are counted."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _scaling(found: Part) -> str:
    rows: list[Sequence[str]] = []
    for kind, noun in (("photographs", "photographs"), ("processes", "processes"), ("sizes", "detection")):
        for name, row in found[kind].items():
            faces = f"{row['faces'] / row['photographs']:.1f}"
            rows.append((f"{name} {noun}", f"{row['per_second']:.2f}", faces, _megabytes(row)))
    head = ("", "photographs/s", "faces each", "memory MB")
    return f"{_table(head, rows)}\n\nBy `{found['configuration']}`. Only `detection` counts every face."


def _memory(found: Part) -> str:
    rows = [(f"{int(count):,}", f"{peak / 1e6:.0f}") for count, peak in found["peak_bytes"].items()]
    growth = found.get("growth_of_the_last_step")
    note = "" if growth is None else f"\n\nFrom the last but one to the last: {100 * growth:+.1f} %."
    return _table(("photographs", "memory MB"), rows) + note


def _startup(found: Part) -> str:
    rows = [(f"`{name}`", f"{row['seconds']:.2f}") for name, row in found.items() if name != "measured"]
    return _table(("command", "seconds"), rows)


def _gallery(found: Part) -> str:
    rows = []
    for kind, row in found.items():
        if isinstance(row, dict) and "latency_ms" in row:
            latency = row["latency_ms"]
            rows.append(
                (
                    kind,
                    f"{row['build_seconds']:.1f}",
                    f"{latency['median']:.2f}",
                    f"{row['per_second']:,.0f}",
                    f"{row['copies']['recall_at_1']:.4f}",
                    f"{row['random']['recall_at_1']:.4f}",
                )
            )
    head = ("index", "built in s", "ms a probe", "probes/s", "recall at 1, copies", "recall at 1, random")
    return f"{_table(head, rows)}\n\n{found['rows']:,} rows of {found['dimension']} numbers."


def _detectors(found: Part) -> str:
    rows = []
    for name, table in found.items():
        if not isinstance(table, dict) or name == "measured":
            continue
        for model, sizes in table.items():
            for size, by_threads in sizes.items():
                for threads, row in by_threads.items():
                    figures = (f"{row['latency_ms']:.2f}", f"{row['per_second']:.0f}")
                    rows.append((f"`{name}`", model, size, threads, *figures))
    head = ("", "detector", "input", "threads", "ms, network alone", "photographs/s, whole")
    note = (
        f"The network alone: one input. Whole: {found['photographs']} photographs of LFW in batches of "
        f"{found['batch']}, read, decoded, scaled, searched, suppressed, in one process."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _measured(part: Part) -> str:
    about = part.get("measured")
    if about is None:
        return ""
    machine, versions = about["machine"], about["versions"]
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"\nMeasured {about['date']} on {machine.get('processor', 'an unnamed processor')}, {machine['cores']} cores "
        f"({machine['system']}), by `{about['command']}`. Versions: {said}.\n"
    )


def _megabytes(row: Part) -> str:
    return f"{row['peak_memory_bytes'] / 1e6:.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose figures stand at the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


TABLES: dict[str, Callable[[Part], str]] = {
    "end_to_end": _end_to_end,
    "profile": _profile,
    "networks": _networks,
    "scaling": _scaling,
    "memory": _memory,
    "startup": _startup,
    "gallery": _gallery,
    "detectors": _detectors,
}
"""Part of bench.json to the function that writes its table."""
