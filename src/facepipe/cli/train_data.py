# SPDX-License-Identifier: Apache-2.0
"""facepipe train-data align photographs/ --out people/

Sets of faces to train on. A set is a folder with one folder a person, the Paddle port's records (a folder with
label.txt), insightface's train.rec and train.idx, or a packed file, which docs/file-formats.md describes.

  facepipe train-data align photographs/ --out people/      <person>/<photograph>: the main face of each, aligned
  facepipe train-data list people/                          how many faces, of how many people
  facepipe train-data pack people/ --out people.faces       one file of any form; damaged pictures are named, left out
  facepipe train-data wider-voc label.txt images/ --out voc/   WIDER FACE for detectors, small faces painted out

`align` can be killed and run again. What has no face, or cannot be read, is told and stands in left_out.jsonl.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from facepipe.cli.lfw_options import run_job
from facepipe.cli.run_options import (
    add_allow_margin_crop,
    add_model_arguments,
    add_overwrite,
    add_run_arguments,
    chosen_backend,
    note_left_out,
    note_not_looked_at,
    positive,
    worker_count,
)
from facepipe.engine.local import Local
from facepipe.escape import for_terminal
from facepipe.faces.photographs import photographs_of
from facepipe.faces.pipeline import DEFAULT_SELECTION, SELECTION_NAMES, require_alignment
from facepipe.runs.job import made_by
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, bar, note, result
from facepipe.train.align import align_people
from facepipe.train.data import FaceSet, open_set
from facepipe.train.data.face_set import SIDE, named
from facepipe.train.data.packed import pack
from facepipe.train.detection.wider_voc import LEAST, write_wider_voc

RECOGNISER = "mobilefacenet.paddle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    aligning = commands.add_parser("align", help="photographs of people to aligned faces of them")
    text = "a folder that holds one folder a person"
    aligning.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS", help=text)
    aligning.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets one folder a person")
    text = f"whose alignment they get; its weights need not be there (default: {RECOGNISER})"
    aligning.add_argument("--for", dest="embedder", default=RECOGNISER, metavar="RECOGNISER", help=text)
    text = "which face of a photograph"
    aligning.add_argument("--select", default=DEFAULT_SELECTION, choices=SELECTION_NAMES, help=text)
    add_allow_margin_crop(aligning)
    add_model_arguments(aligning, embeds=False)
    add_run_arguments(aligning)
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
    voc = commands.add_parser("wider-voc", help="WIDER FACE's labels and photographs as Pascal VOC's folders")
    text = "label.txt (rows of 4 or 20 numbers), or labelv2.txt (sizes; corners)"
    voc.add_argument("labels", type=Path, metavar="LABELS", help=text)
    voc.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS", help="the folder that the labels' names begin in")
    voc.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="gets JPEGImages, Annotations, ImageSets"
    )
    text = "the list that it becomes; one folder takes both (default: trainval)"
    voc.add_argument("--list", default="trainval", choices=("trainval", "test"), help=text)
    text = f"of the original, that both sides of a face need; smaller ones are painted over (default: {LEAST})"
    voc.add_argument("--least", type=positive, default=LEAST, metavar="PIXELS", help=text)
    text = "paint as the published generator does: the last line of a photograph alone"
    voc.add_argument("--seed-paint", action="store_true", help=text)
    add_overwrite(voc)
    for command in commands.choices.values():
        add_output_arguments(command)


def run(args: argparse.Namespace) -> int:
    return {"align": _align, "list": _list, "pack": _pack, "wider-voc": _wider_voc}[args.command](args)


def _align(args: argparse.Namespace) -> int:
    keys = photographs_of(args.photographs, args.out)
    require_alignment(args.detector, args.embedder, args.allow_margin_crop, "--allow-margin-crop", args.weights)
    chosen_backend(args, None, None if args.force else made_by(args.out), args.out)
    job = run_job(args, args.photographs, args.out, len(keys))
    with bar(args, "align", len(keys), "photograph") as progress:
        aligned = align_people(job, keys, Local(worker_count(args)), force=args.force, progress=progress)
    note_left_out(args, args.photographs, aligned.left_out)
    note_not_looked_at(args, args.photographs, keys, out=args.out)
    if aligned.lost:
        count = "1 person has" if len(aligned.lost) == 1 else f"{len(aligned.lost):,} people have"
        note(args, for_terminal(f"{args.photographs}: {count} no face on any photograph ({named(aligned.lost)})"))
    left = f", {len(aligned.left_out):,} photographs without one" if aligned.left_out else ""
    text = f"{args.out}: {aligned.faces:,} faces of {aligned.people:,} people{left}"
    result(args, for_terminal(text), {"out": str(args.out), **asdict(aligned)})
    return 0


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


def _wider_voc(args: argparse.Namespace) -> int:
    with bar(args, "wider-voc", 0, "photograph") as progress:
        done = write_wider_voc(
            args.labels,
            args.photographs,
            args.out,
            args.list,
            least=args.least,
            seed_paint=args.seed_paint,
            overwrite=args.overwrite,
            progress=progress,
        )
    for told in (*done.notes, *(f"{name}: left out, {reason}" for name, reason in done.damaged)):
        note(args, for_terminal(told))
    counts = f"{done.photographs:,} photographs, {done.faces:,} faces, {done.painted:,} painted over"
    text = f"{args.out}: {counts}; {len(done.without):,} photographs without a face of {args.least} pixels left out"
    result(args, for_terminal(text), {"out": str(args.out), "list": args.list, **asdict(done)})
    return 0


def _opened(args: argparse.Namespace) -> FaceSet:
    faces = open_set(args.set, side=args.side, classes=args.people)
    for told in faces.notes:
        note(args, for_terminal(f"{args.set}: {told}"))
    return faces
