# SPDX-License-Identifier: Apache-2.0
"""facepipe image2bin photographs/ ms1m/images --label ms1m/label.txt

Writes each picture of a folder as a record of the Paddle port's training data, its file byte for byte. --label also
writes the label file: each first sub-folder is a person, numbered in sorted order; with --known the numbers come from
another label file that names the pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from facepipe.compat.write_image_records import labels_by_file, labels_by_folder, records_from_images, write_labels
from facepipe.datasets.images import list_keys
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, bar, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of pictures, in sub-folders as they are")
    parser.add_argument("bins", type=Path, metavar="BINS", help="folder that gets the records")
    add_label_arguments(parser)


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """--label, --known and what results are like, which image2bin and bin2image share."""
    parser.add_argument("--label", type=Path, metavar="FILE", help="label file to write, 'path<TAB>number'")
    parser.add_argument("--known", type=Path, metavar="FILE", help="label file that numbers what is read")
    parser.add_argument("--overwrite", action="store_true", help="replace a label file that is there already")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_free([args.label] if args.label else [], args.overwrite)
    note(args, f"reads pictures from {args.images}, writes records to {args.bins}")
    with bar(args, "image2bin", len(list_keys(args.images)), "file") as progress:
        written = records_from_images(args.images, args.bins, progress)
    result(args, f"{args.bins}: {len(written):,} records", {"out": str(args.bins), "records": len(written)})
    finish_labels(args, written, args.images)
    return 0


def finish_labels(args: argparse.Namespace, written: Mapping[Path, Path], root: Path) -> None:
    """Write the label file that was asked for."""
    if args.label is None:
        return
    labels = labels_by_file(written, args.known) if args.known else labels_by_folder(written, root)
    write_labels(args.label, labels, overwrite=args.overwrite)
    people = len({number for _, number in labels})
    record = {"label": str(args.label), "lines": len(labels), "people": people}
    result(args, f"{args.label}: {len(labels):,} lines, {people:,} people", record)
