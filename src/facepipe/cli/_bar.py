# SPDX-License-Identifier: Apache-2.0
"""Progress on the terminal, for functions that only say how many of something were finished."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def bar(name: str, total: int, unit: str = "", *, quiet: bool | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error; yields what is told of each step. `quiet`: None where nobody watches, as on a pipe."""
    with tqdm(total=total or None, desc=name, unit=unit, file=sys.stderr, smoothing=0.1, disable=quiet) as shown:
        yield shown.update


@contextmanager
def bars(total: int) -> Iterator[Callable[[str], Callable[[int], None]]]:
    """One bar after the other: a name in, what is told of that step out."""
    open_bars: list[tqdm] = []

    def begun(name: str) -> Callable[[int], None]:
        _end(open_bars)
        open_bars.append(tqdm(total=total, desc=f"{name:<5}", unit="", file=sys.stderr, smoothing=0.1))
        return open_bars[-1].update

    try:
        yield begun
    finally:
        _end(open_bars)


def say(line: str, is_error: bool = False) -> None:
    """A line above the bars, at once; on standard error when it tells of one."""
    tqdm.write(line, sys.stderr if is_error else None)
    sys.stdout.flush()


def _end(open_bars: list[tqdm]) -> None:
    while open_bars:
        ended = open_bars.pop()
        ended.total = ended.n
        ended.close()
