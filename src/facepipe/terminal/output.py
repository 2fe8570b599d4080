# SPDX-License-Identifier: Apache-2.0
"""What a command tells: results on standard output, in words or as JSON lines; notes and bars on standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

from facepipe.escape import for_json


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """--json, --quiet: the same for every command that prints results. The functions below obey them."""
    parser.add_argument("--json", action="store_true", help="print results as JSON, one object a line")
    add_quiet(parser)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """--quiet alone, for a command whose words are another program's."""
    parser.add_argument("--quiet", action="store_true", help="no notes and no bars; results and errors alone")


def result(args: argparse.Namespace, text: str, record: Mapping[str, object]) -> None:
    """A result, at once: `text` for a person, whose lines are safe to show, or with --json `record` as one line.

    Raises:
        ValueError: a number of the record is NaN or infinite.
    """
    tqdm.write(for_json(record) if args.json else text)
    sys.stdout.flush()


def heading(args: argparse.Namespace, text: str) -> None:
    """What stands above or below results for a person, and is no result: nothing with --json."""
    if not args.json:
        tqdm.write(text)


def note(args: argparse.Namespace, text: str | None) -> None:
    """What a person has to know beside the results, in lines that are safe to show; None: nothing."""
    if text is not None and not args.quiet:
        tqdm.write(text, sys.stderr)


def counted(number: int, one: str, more: str | None = None) -> str:
    """How many of what, in words.

    Example:
        >>> counted(1, "photograph"), counted(1200, "face"), counted(0, "person", "people")
        ('1 photograph', '1,200 faces', '0 people')
    """
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def fault(text: str) -> None:
    """What went wrong with one of several, while the others go on; safe to show."""
    tqdm.write(text, sys.stderr)


@contextmanager
def bar(
    args: argparse.Namespace, name: str, total: int, unit: str = "", *, hidden: bool = False
) -> Iterator[Callable[[int], None]]:
    """A bar where standard error is a terminal; yields what is told of each step."""
    off = True if hidden or args.quiet else None
    with tqdm(total=total or None, desc=name, unit=unit, file=sys.stderr, smoothing=0.1, disable=off) as shown:
        yield shown.update


@contextmanager
def bars(args: argparse.Namespace, total: int) -> Iterator[Callable[[str], Callable[[int], None]]]:
    """One bar after the other, as `bar`: a name in, what is told of that step out."""
    open_bars: list[tqdm] = []
    off = True if args.quiet else None

    def begun(name: str) -> Callable[[int], None]:
        _end(open_bars)
        shown = tqdm(total=total, desc=f"{name:<5}", unit="", file=sys.stderr, smoothing=0.1, disable=off)
        open_bars.append(shown)
        return shown.update

    try:
        yield begun
    finally:
        _end(open_bars)


def _end(open_bars: list[tqdm]) -> None:
    while open_bars:
        ended = open_bars.pop()
        ended.total = ended.n
        ended.close()
