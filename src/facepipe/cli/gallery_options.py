# SPDX-License-Identifier: Apache-2.0
"""What the commands over galleries share: options of a search, and what is printed of a gallery."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from facepipe.cli.run_options import limits, note_left_out, note_not_looked_at, positive
from facepipe.escape import for_terminal
from facepipe.gallery.calibrate import HIGH_FAR, strangers_named
from facepipe.gallery.enrol import Enrolment, enrol, enrol_run, named_photographs
from facepipe.gallery.faces import Recogniser
from facepipe.gallery.file import Gallery, Threshold, least_similarity, write_gallery
from facepipe.store.run_faces import FACES_FILE
from facepipe.terminal.output import bar, counted, note, result


def add_search_arguments(parser: argparse.ArgumentParser, *candidates: str) -> None:
    """--candidates (and other names of it), --rule, --search."""
    add = parser.add_argument
    add(
        "--candidates",
        *candidates,
        type=positive,
        default=5,
        metavar="N",
        help="neighbours that are looked at (default: 5)",
    )
    add("--rule", choices=["best", "majority"], default="best", help="the nearest name, or the most frequent one")
    add("--search", choices=["exact", "approximate"], default="exact", help="approximate is for millions of rows")


def given_threshold(args: argparse.Namespace, gallery: Gallery, where: Path) -> Threshold:
    """The threshold that was given, else the gallery's.

    Raises:
        DataError: there is neither.
    """
    attempt = f"`facepipe gallery calibrate {where} lfw.bin --far 1e-3`, or --threshold COSINE."
    return least_similarity(gallery, args.threshold, str(where), attempt)


def given_names(args: argparse.Namespace) -> dict[str, str] | None:
    """Who is on each photograph of a folder; None of a run, whose faces are named."""
    run = (args.photographs / FACES_FILE).is_file()
    return None if run else named_photographs(args.photographs, args.labels, args.name)


def enrolled(
    args: argparse.Namespace, root: Path, recogniser: Recogniser, names: Mapping[str, str] | None
) -> Enrolment:
    """The photographs below `root` that have a face, or the faces of a run; the others, and people without any, are
    said."""
    if names is None:
        found = enrol_run(root, recogniser, args.labels, args.name)
    else:
        with bar(args, "enrol", len(names), "photograph") as progress:
            found = enrol(root, names, recogniser, batch=args.batch, limits=limits(args), progress=progress)
        note_not_looked_at(args, root, names, out=root)
    note_left_out(args, root, found.left_out)
    if found.lost:
        lost = f"{len(found.lost)} people have no photograph with a face: {', '.join(found.lost[:10])}"
        note(args, for_terminal(lost))
    return found


def finish_gallery(args: argparse.Namespace, path: Path, gallery: Gallery) -> None:
    """Write it, and say what it holds."""
    write_gallery(path, gallery, overwrite=args.overwrite)
    tell_gallery(args, path, gallery)


def tell_gallery(args: argparse.Namespace, path: Path, gallery: Gallery, did: Mapping[str, int] | None = None) -> None:
    """One line of what a gallery holds; and what the rate of its threshold means, with a warning where it is high.

    Args:
        did: counts of what was changed, for --json.
    """
    threshold, people = gallery.threshold, len(gallery.people())
    told = "no threshold yet"
    if threshold is not None:
        rate = "" if threshold.far is None else f" for a false-accept rate of {threshold.far:g}"
        told = f"a name above cosine {threshold.similarity:.4f}{rate} ({threshold.source})"
    about = {"rows": len(gallery), "people": people, "model": gallery.model}
    threshold_told = None if threshold is None else asdict(threshold)
    holds = f"{counted(len(gallery), 'row')}, {counted(people, 'person', 'people')}"
    result(
        args,
        for_terminal(f"{path}: {holds}, {gallery.model}; {told}"),
        {"gallery": str(path), **about, "threshold": threshold_told, **(did or {})},
    )
    if threshold is not None and threshold.far is not None and people:
        warning = "warning: that is a high rate; " if threshold.far > HIGH_FAR else ""
        advice = " Try: --far 1e-3." if warning else ""
        note(args, f"{warning}{strangers_named(threshold.far, people)}.{advice}")
