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

from tqdm import tqdm

from facepipe.compat.write_image_records import labels_by_file, labels_by_folder, records_from_images, write_labels
from facepipe.datasets.images import list_keys
from facepipe.store.owned import require_free


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of pictures, in sub-folders as they are")
    parser.add_argument("bins", type=Path, metavar="BINS", help="folder that gets the records")
    add_label_arguments(parser)


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """--label and --known, which image2bin and bin2image share."""
    parser.add_argument("--label", type=Path, metavar="FILE", help="label file to write, 'path<TAB>number'")
    parser.add_argument("--known", type=Path, metavar="FILE", help="label file that numbers what is read")
    parser.add_argument("--overwrite", action="store_true", help="replace a label file that is there already")


def run(args: argparse.Namespace) -> int:
    require_free([args.label] if args.label else [], args.overwrite)
    print(f"reads pictures from {args.images}, writes records to {args.bins}")
    with tqdm(total=len(list_keys(args.images)), desc="image2bin", unit="file", disable=None) as bar:
        written = records_from_images(args.images, args.bins, bar.update)
    print(f"{args.bins}: {len(written):,} records")
    finish_labels(args, written, args.images)
    return 0


def finish_labels(args: argparse.Namespace, written: Mapping[Path, Path], root: Path) -> None:
    """Write the label file that was asked for."""
    if args.label is None:
        return
    labels = labels_by_file(written, args.known) if args.known else labels_by_folder(written, root)
    write_labels(args.label, labels, overwrite=args.overwrite)
    print(f"{args.label}: {len(labels):,} lines, {len({number for _, number in labels}):,} people")
