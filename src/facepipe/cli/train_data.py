# SPDX-License-Identifier: Apache-2.0
"""facepipe train-data pack people/ --out people.faces

Sets of faces to train on. A set is a folder with one folder a person, the Paddle port's records (a folder with
label.txt), insightface's train.rec and train.idx, or a packed file, which docs/file-formats.md describes.

  facepipe train-data list ms1m/                     how many faces, of how many people, and what is to be known of them
  facepipe train-data pack ms1m/ --out ms1m.faces    one file of any form; damaged pictures are named and left out
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facepipe.cli.run_options import add_overwrite, positive
from facepipe.escape import for_terminal
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, bar, note, result
from facepipe.train.data import FaceSet, open_set
from facepipe.train.data.face_set import SIDE
from facepipe.train.data.packed import pack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="what is in a set")
    packing = commands.add_parser("pack", help="a set of any form as one file that loads fast")
    for command in (listing, packing):
        command.add_argument(
            "set", type=Path, metavar="SET", help="a folder, a train.rec, a label.txt, or a .faces file"
        )
        text = f"pixels of a face's side (default: {SIDE})"
        command.add_argument("--side", type=positive, default=SIDE, metavar="PIXELS", help=text)
        text = "how many there are, where labels are numbers (default: as many as the labels ask for)"
        command.add_argument("--people", type=positive, metavar="N", help=text)
    packing.add_argument("--out", type=Path, required=True, metavar="FILE.faces", help="the file to write")
    add_overwrite(packing)
    for command in commands.choices.values():
        add_output_arguments(command)


def run(args: argparse.Namespace) -> int:
    return {"list": _list, "pack": _pack}[args.command](args)


def _list(args: argparse.Namespace) -> int:
    faces = _opened(args)
    text = f"{args.set}: {len(faces):,} faces of {len(faces.classes):,} people, {faces.side}x{faces.side}"
    record = {"set": str(args.set), "faces": len(faces), "people": len(faces.classes), "side": faces.side}
    result(args, for_terminal(text), {**record, "digest": faces.digest, "notes": list(faces.notes)})
    return 0


def _pack(args: argparse.Namespace) -> int:
    require_free([args.out], args.overwrite)
    faces = _opened(args)
    with bar(args, "pack", len(faces), "face") as progress:
        packed = pack(faces, args.out, overwrite=args.overwrite, progress=progress)
    for sample, reason in packed.left_out:
        note(args, for_terminal(f"{args.set}: {sample.key}: left out, {reason}"))
    left = f", {len(packed.left_out):,} damaged left out" if packed.left_out else ""
    told = f"{args.out}: {packed.faces:,} faces of {packed.people:,} people{left}"
    left_out = [{"key": sample.key, "label": sample.label, "reason": reason} for sample, reason in packed.left_out]
    record = {"out": str(args.out), "faces": packed.faces, "people": packed.people, "digest": packed.digest}
    result(args, for_terminal(told), {**record, "left_out": left_out})
    return 0


def _opened(args: argparse.Namespace) -> FaceSet:
    faces = open_set(args.set, side=args.side, classes=args.people)
    for told in faces.notes:
        note(args, for_terminal(f"{args.set}: {told}"))
    return faces
