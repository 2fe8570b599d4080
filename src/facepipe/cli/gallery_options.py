# SPDX-License-Identifier: Apache-2.0
"""What the commands over galleries share: options of a search, and what is printed of a gallery."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from facepipe.cli.run_options import positive
from facepipe.errors import DataError
from facepipe.escape import for_terminal
from facepipe.faces.pipeline import FacePipeline
from facepipe.gallery.enrol import Enrolment
from facepipe.gallery.file import Gallery, Threshold


def add_search_arguments(parser: argparse.ArgumentParser, *candidates: str) -> None:
    """--candidates (and other names of it), --rule, --search."""
    add = parser.add_argument
    add("--candidates", *candidates, type=positive, default=5, help="neighbours that are looked at (default: 5)")
    add("--rule", choices=["best", "majority"], default="best", help="the nearest name, or the most frequent one")
    add("--search", choices=["exact", "approximate"], default="exact", help="approximate is for millions of rows")


def given_threshold(value: float | None, gallery: Gallery, where: Path) -> Threshold:
    """The threshold that was given, else the gallery's.

    Raises:
        DataError: there is neither.
    """
    if value is not None:
        return Threshold(value, None, "given by hand")
    if gallery.threshold is None:
        raise DataError(
            f"{where}: it has no threshold, expected one; without it nobody could be unknown.",
            f"`facepipe gallery calibrate {where} lfw.bin --far 1e-3`, or --threshold COSINE.",
        )
    return gallery.threshold


def print_note(pipeline: FacePipeline) -> None:
    """What the pipeline's user has to know, on standard error."""
    if pipeline.note is not None:
        print(for_terminal(f"note: {pipeline.note}"), file=sys.stderr)


def print_left_out(root: Path, found: Enrolment) -> None:
    """Pictures without a row, and people without any, on standard error."""
    for key, reason in found.left_out:
        print(for_terminal(f"{root / key}: left out, {reason}"), file=sys.stderr)
    if found.lost:
        print(
            for_terminal(f"{len(found.lost)} people have no picture with a face: {', '.join(found.lost[:10])}"),
            file=sys.stderr,
        )


def tell_gallery(path: Path, gallery: Gallery) -> None:
    """One line of what a gallery holds."""
    threshold = gallery.threshold
    told = "no threshold yet"
    if threshold is not None:
        rate = "" if threshold.far is None else f" for a false-accept rate of {threshold.far:g}"
        told = f"a name above cosine {threshold.similarity:.4f}{rate} ({threshold.source})"
    print(for_terminal(f"{path}: {len(gallery):,} rows, {len(gallery.people()):,} people, {gallery.model}; {told}"))
