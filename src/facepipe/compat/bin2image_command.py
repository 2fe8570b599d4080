# SPDX-License-Identifier: Apache-2.0
"""facepipe bin2image ms1m/images photographs/

Writes the picture in each record of the Paddle port's training data, its file byte for byte. A record that would run
code is refused before anything in it runs. With --either-way the folder that holds records is the one that is read,
whichever comes first: the port's own text and code disagree on the order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.compat.image2bin_command import add_label_arguments, finish_labels
from facepipe.compat.write_image_records import images_from_records, record_files
from facepipe.store.owned import require_free
from facepipe.terminal.output import bar, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bins", type=Path, metavar="BINS", help="folder of records, in sub-folders as they are")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder that gets the pictures")
    parser.add_argument("--either-way", action="store_true", help="read the one of the two that holds records")
    add_label_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_free([args.label] if args.label else [], args.overwrite)
    source, target = args.bins, args.images
    if args.either_way and not record_files(source) and record_files(target):
        source, target = target, source
    note(args, f"reads records from {source}, writes pictures to {target}")
    with bar(args, "bin2image", len(record_files(source)), "file") as progress:
        written = images_from_records(source, target, progress)
    result(args, f"{target}: {len(written):,} pictures", {"out": str(target), "pictures": len(written)})
    finish_labels(args, written, source)
    return 0
