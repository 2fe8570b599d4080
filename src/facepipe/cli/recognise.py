# SPDX-License-Identifier: Apache-2.0
"""facepipe recognise --det --rec --index people.gallery --input photographs/ --output named/

Finds the faces of a photograph, a folder or a film and writes names on them, with a JSON file beside every drawing (one
line for each frame of a film). Without --rec faces are only marked; without --det the whole photograph is the face. Who
is like nobody in the gallery is "unknown". Films stream: no frame is kept.

The Paddle port's flags are accepted, also with underscores: --det_model --rec_model --det_thresh --rec_thresh --cdd_num
--max_batch_size --cpu_threads --use_gpu --enable_mkldnn --build_index --img_dir --label; so is its index.bin.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from facepipe.backends.base import MadeBy
from facepipe.catalogue import detector_models
from facepipe.cli.gallery_options import add_search_arguments, enrolled, finish_gallery, given_threshold
from facepipe.cli.run_options import (
    add_allow_margin_crop,
    add_model_arguments,
    add_overwrite,
    chosen_backend,
    chosen_embedder,
    detector_settings,
    few_settings,
    limits,
    note_left_out,
    note_models,
    note_not_looked_at,
    positive,
    probability,
)
from facepipe.compat.port_index import PORT_MODELS, PORT_THRESHOLD, is_port_index, read_port_index
from facepipe.datasets.video import is_film, read_info
from facepipe.errors import DataError
from facepipe.escape import for_terminal
from facepipe.faces.photographs import photographs_of
from facepipe.faces.pipeline import open_pipeline
from facepipe.gallery.enrol import named_photographs, new_gallery
from facepipe.gallery.faces import Recogniser, open_recogniser
from facepipe.gallery.file import Gallery, Threshold, read_gallery, require_model, require_writable
from facepipe.gallery.naming import NamedPhotograph, nameless
from facepipe.gallery.recognise import (
    Recognition,
    lines_of,
    plate_of,
    recognise_film,
    recognise_photographs,
    recognition,
)
from facepipe.reports.recognition_drawing import font_for
from facepipe.terminal.output import add_output_arguments, bar, counted, heading, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--det", action="store_true", help="look for faces (default with neither --det nor --rec: both)")
    add("--rec", action="store_true", help="name them; without --det the whole photograph is one aligned face")
    add("--index", type=Path, metavar="FILE", help="the gallery, or the port's index.bin")
    add("--input", type=Path, metavar="PATH", help="a photograph, a folder of photographs, or a film")
    add("--output", type=Path, default=Path("output"), metavar="FOLDER", help="default: %(default)s")
    add(
        "--rec-thresh",
        "--rec_thresh",
        "--threshold",
        dest="threshold",
        type=float,
        metavar="COSINE",
        help="default: the gallery's",
    )
    add_search_arguments(parser, "--cdd-num", "--cdd_num")
    add("--font", type=Path, metavar="FILE", help="for the names (default: one that has their letters)")
    add("--embedder", "--rec-model", "--rec_model", dest="embedder", metavar="NAME", help="default: the gallery's")
    add_model_arguments(parser, embeds=False)
    add_allow_margin_crop(parser)
    # The port's names for options that are there already.
    add("--det-model", "--det_model", dest="detector", default=argparse.SUPPRESS, metavar="NAME", help="--detector")
    add("--det-thresh", "--det_thresh", dest="least_score", type=probability, metavar="P", help="--least-score")
    for flags, dest in (("max-batch-size max_batch_size", "batch"), ("cpu-threads cpu_threads", "threads")):
        names = [f"--{flag}" for flag in flags.split()]
        add(*names, dest=dest, type=positive, default=argparse.SUPPRESS, metavar="N", help=f"--{dest}")
    add("--use-gpu", "--use_gpu", type=_truth, metavar="BOOL", help="only False: --backend says where is computed")
    add("--enable-mkldnn", "--enable_mkldnn", type=_truth, metavar="BOOL", help="no effect: the back end decides")
    add("--build-index", "--build_index", type=Path, metavar="FILE", help="make a gallery instead, with:")
    add_overwrite(parser)
    add("--img-dir", "--img_dir", type=Path, metavar="FOLDER", help="its photographs")
    add("--label", type=Path, metavar="FILE", help="their names, 'path<TAB>name'")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    args.embedder = PORT_MODELS.get(args.embedder, args.embedder)
    if args.use_gpu:
        raise DataError("--use_gpu: it is True, expected False or nothing.", "--backend with one that has the device.")
    detector_models(args.detector, args.weights)  # refused before anything is looked at
    if args.build_index is not None:
        return _build(args)
    if not args.det and not args.rec:
        args.det = args.rec = True
    if args.input is None:
        raise DataError("--input: nothing was given, expected a photograph, a folder or a film.")
    if args.rec and args.index is None:
        raise DataError("--index: nothing was given, expected a gallery.", "`facepipe gallery build`, or --det alone.")
    if not args.input.exists():
        raise DataError(f"{args.input}: no such file or folder, expected a photograph, a folder or a film.")
    with _opened(args) as job:
        return _film(job, args) if args.input.is_file() and is_film(args.input) else _photographs(job, args)


def _build(args: argparse.Namespace) -> int:
    """The port's way to make a gallery: photographs that are faces already, unless --det is there too."""
    if args.img_dir is None or args.label is None:
        raise DataError("--build_index: it needs --img_dir and --label, expected both.")
    require_writable(args.build_index, overwrite=args.overwrite)
    if args.threshold is None:
        args.threshold = PORT_THRESHOLD
        note(args, f"names above {PORT_THRESHOLD:g}, as in the port; `facepipe gallery calibrate` measures")
    names = named_photographs(args.img_dir, args.label)
    detector, embedder = args.detector if args.det else None, chosen_embedder(args)
    backend = chosen_backend(args, embedder)
    settings = detector_settings(args)
    with open_recogniser(detector, embedder, backend, args.weights, args.batch, settings=settings) as recogniser:
        note_models(args, recogniser.pipeline.note)
        found = enrolled(args, args.img_dir, recogniser, names)
        by_hand = Threshold(args.threshold, None, "given by hand")
        gallery = new_gallery(recogniser, found, by_hand, MadeBy(args.backend, args.precision))
    finish_gallery(args, args.build_index, gallery)
    return 0


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[Recognition]:
    """Models and gallery, ready."""
    old = args.rec and is_port_index(args.index)
    gallery = read_gallery(args.index) if args.rec and not old else None
    embedder = args.embedder or (PORT_MODELS["MobileFace"] if gallery is None else gallery.model)
    made_by = None if gallery is None else gallery.made_by
    backend = chosen_backend(args, embedder if args.rec else None, made_by, args.index)
    detector = args.detector if args.det else None
    one = args.input.is_file() and not is_film(args.input)
    settings = few_settings(args, 1) if one else detector_settings(args)
    with ExitStack() as stack:
        if not args.rec:
            marks = open_pipeline(args.detector, None, backend, args.weights, args.batch, settings=settings)
            name = partial(nameless, stack.enter_context(marks))
            yield Recognition(name, font_for(["0"]), {}, {"detector": args.detector}, args.batch, limits(args))
            return
        recogniser = stack.enter_context(
            open_recogniser(detector, embedder, backend, args.weights, args.batch, settings=settings)
        )
        note_models(args, recogniser.pipeline.note)
        gallery, threshold = _gallery_and_threshold(args, gallery, recogniser)
        asked = recognition(
            recogniser,
            gallery,
            threshold,
            {"gallery": str(args.index), "detector": detector},
            batch=args.batch,
            limits=limits(args),
            search=args.search,
            candidates=args.candidates,
            rule=args.rule,
            font=args.font,
        )
        if lacking := asked.font.lacking:
            note(args, f"no font here has {lacking[:40]}: pip install 'facepipe[cjk]', or --font FILE")
        yield asked


def _gallery_and_threshold(
    args: argparse.Namespace, gallery: Gallery | None, recogniser: Recogniser
) -> tuple[Gallery, Threshold]:
    """Our gallery, which must be the recogniser's; or the port's, which is taken for it."""
    if gallery is not None:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.index))
        return gallery, given_threshold(args, gallery, args.index)
    gallery = read_port_index(args.index, recogniser.model, recogniser.weights_sha256, recogniser.dimension)
    least = PORT_THRESHOLD if args.threshold is None else args.threshold
    note(args, f"{args.index}: the port's index, taken as made by {recogniser.model}; names above {least:g}")
    return gallery, Threshold(least, None, "the port's")


def _photographs(job: Recognition, args: argparse.Namespace) -> int:
    """A photograph, or all of a folder."""
    source: Path = args.input
    root, keys = (source, photographs_of(source, args.output)) if source.is_dir() else (source.parent, [source.name])
    told: list[NamedPhotograph] = []
    with bar(args, "recognise", len(keys), "photograph", hidden=len(keys) == 1) as progress:
        done = recognise_photographs(
            job,
            root,
            keys,
            args.output,
            progress=progress,
            told=lambda _, photograph: told.append(photograph) if len(keys) == 1 else None,
        )
    note_left_out(args, root, done.left_out)
    note_not_looked_at(args, root, keys, out=args.output if source.is_dir() else None)
    for photograph in told:
        heading(args, "\n".join(map(for_terminal, _lines(photograph))))
    left = f", {len(done.left_out):,} left out" if done.left_out else ""
    seen = f"{counted(done.photographs, 'photograph')}{left}, {counted(done.faces, 'face')}"
    text = f"{args.output}: {seen}, {done.known:,} with a name"
    result(args, for_terminal(text), {"out": str(args.output), **asdict(done)})
    if done.left_out and not done.photographs:
        key, reason = done.left_out[0]
        raise DataError(f"{root / key}: {reason}{'' if len(keys) == 1 else f', and {len(keys) - 1:,} more'}.")
    return 0


def _film(job: Recognition, args: argparse.Namespace) -> int:
    """A film, frame by frame; the answers go into one line for each frame."""
    target = args.output / f"{args.input.stem}.mp4"
    with bar(args, args.input.name, read_info(args.input).frames, "frame") as progress:
        done = recognise_film(job, args.input, target, progress=progress)
    lines = lines_of(target)
    seen = f"{counted(done.photographs, 'frame')}, {counted(done.faces, 'face')}"
    text = f"{target}: {seen}; {lines.name} has a line for each frame"
    told = {"film": str(target), "lines": str(lines), "frames": done.photographs, "faces": done.faces}
    result(args, for_terminal(text), told)
    note(args, "Sound is left out.")
    return 0


def _lines(photograph: NamedPhotograph) -> Iterator[str]:
    for face in photograph.faces:
        corners = " ".join(f"{value:8.1f}" for value in face.face.box)
        yield f"  {corners}  {plate_of(face)}"


def _truth(text: str) -> bool:
    """The port's booleans: true, t and 1 are True, all else is False."""
    return text.lower() in ("true", "t", "1")
