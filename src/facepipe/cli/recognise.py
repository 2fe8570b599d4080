# SPDX-License-Identifier: Apache-2.0
"""facepipe recognise --det --rec --index people.gallery --input photographs/ --output named/

Finds the faces of a picture, a folder or a film and writes names on them, with a JSON file beside every drawing (one
line for each frame of a film). Without --rec faces are only marked; without --det the whole picture is the face. Who
is like nobody in the gallery is "unknown". Films stream: no frame is kept.

The Paddle port's flags are accepted, also with underscores: --det_model --rec_model --det_thresh --rec_thresh --cdd_num
--max_batch_size --cpu_threads --use_gpu --enable_mkldnn --build_index --img_dir --label; so is its index.bin.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from facepipe.catalogue import DETECTORS
from facepipe.cli import gallery as gallery_command
from facepipe.cli.gallery import given_threshold, say_note
from facepipe.cli.run_options import add_model_arguments, chosen_backend, detector_settings, positive
from facepipe.compat.port_index import read_port_index
from facepipe.datasets.video import Frame, is_film, open_writer, read_frames, read_info
from facepipe.detect import open_detector
from facepipe.errors import DataError
from facepipe.gallery.faces import Recogniser, open_recogniser, photographs_of, read_pictures
from facepipe.gallery.file import MAGIC, Gallery, Threshold, read_gallery, require_model
from facepipe.gallery.naming import NamedFace, NamedPicture, Nameless, Namer
from facepipe.gallery.search import build_index
from facepipe.reports.drawings import write_drawing
from facepipe.reports.fonts import Font
from facepipe.reports.recognition_drawing import Colour, Label, colours_of, draw_names, font_for
from facepipe.store.files import atomic_path, sidecar_of, write_json
from facepipe.store.parts import remove_parts

# The models behind the port's names for them; its own detector is none of the catalogue's.
_PORT_MODELS = {"MobileFace": "mobilefacenet.paddle", "ArcFace": "arcface.iresnet50"}
_PORT_THRESHOLD = 0.45  # --rec_thresh where neither the command nor the index tells one

Name = Callable[[Sequence[np.ndarray]], list[NamedPicture]]


@dataclass(frozen=True, slots=True)
class _Job:
    """What is done to every picture."""

    name: Name
    font: Font
    colours: Mapping[str, Colour]
    head: dict[str, object]  # of every JSON file: which gallery, which models
    batch: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--det", action="store_true", help="look for faces (default with neither --det nor --rec: both)")
    add("--rec", action="store_true", help="name them; without --det the whole picture is one aligned face")
    add("--index", type=Path, metavar="FILE", help="the gallery, or the port's index.bin")
    add("--input", type=Path, metavar="PATH", help="a picture, a folder of pictures, or a film")
    add("--output", type=Path, default=Path("output"), metavar="FOLDER", help="default: %(default)s")
    add("--det-thresh", "--det_thresh", type=float, default=0.0, help="least score (default: the detector's own)")
    add("--rec-thresh", "--rec_thresh", "--threshold", dest="threshold", type=float, help="default: the gallery's")
    add("--cdd-num", "--cdd_num", "--candidates", dest="candidates", type=positive, default=5, help="neighbours listed")
    add("--rule", choices=["best", "majority"], default="best", help="the nearest name, or the most frequent one")
    add("--search", choices=["exact", "approximate"], default="exact", help="approximate is for millions of rows")
    add("--font", type=Path, metavar="FILE", help="for the names (default: one that has their letters)")
    add("--embedder", "--rec-model", "--rec_model", dest="embedder", metavar="NAME", help="default: the gallery's")
    add_model_arguments(parser, embeds=False)
    # The port's names for options that are there already.
    add("--det-model", "--det_model", dest="detector", default=argparse.SUPPRESS, metavar="NAME", help="--detector")
    for flags, dest in (("max-batch-size max_batch_size", "batch"), ("cpu-threads cpu_threads", "threads")):
        names = [f"--{flag}" for flag in flags.split()]
        add(*names, dest=dest, type=positive, default=argparse.SUPPRESS, metavar="N", help=f"--{dest}")
    add("--use-gpu", "--use_gpu", type=_truth, metavar="BOOL", help="only False: --backend says where is computed")
    add("--enable-mkldnn", "--enable_mkldnn", type=_truth, metavar="BOOL", help="no effect: the back end decides")
    add("--build-index", "--build_index", type=Path, metavar="FILE", help="make a gallery instead, with:")
    add("--img-dir", "--img_dir", type=Path, metavar="FOLDER", help="its pictures")
    add("--label", type=Path, metavar="FILE", help="their names, 'path<TAB>name'")


def run(args: argparse.Namespace) -> int:
    args.embedder = _PORT_MODELS.get(args.embedder, args.embedder)
    if args.use_gpu:
        raise DataError("--use_gpu: it is True, expected False or nothing.", "--backend with one that has the device.")
    if args.detector not in DETECTORS:
        raise DataError(f"detector '{args.detector}' is not known, expected one of {', '.join(DETECTORS)}.")
    if args.build_index is not None:
        return _build(args)
    if not args.det and not args.rec:
        args.det = args.rec = True
    if args.input is None:
        raise DataError("--input: nothing was given, expected a picture, a folder or a film.")
    if args.rec and args.index is None:
        raise DataError("--index: nothing was given, expected a gallery.", "`facepipe gallery build`, or --det alone.")
    if not args.input.exists():
        raise DataError(f"{args.input}: no such file or folder, expected a picture, a folder or a film.")
    remove_parts(args.output)  # of a killed call
    with _opened(args) as job:
        return _film(job, args) if args.input.is_file() and is_film(args.input) else _pictures(job, args)


def _build(args: argparse.Namespace) -> int:
    """The port's way to make a gallery: pictures that are faces already, unless --det is there too."""
    if args.img_dir is None or args.label is None:
        raise DataError("--build_index: it needs --img_dir and --label, expected both.")
    parser = argparse.ArgumentParser(prog="facepipe gallery")
    gallery_command.add_arguments(parser)
    command = ["build", str(args.img_dir), "--labels", str(args.label), "--out", str(args.build_index)]
    command += ["--weights", str(args.weights), "--backend", args.backend, "--batch", str(args.batch)]
    command += ["--detector", args.detector, "--threads", str(args.threads), "--min-face", str(args.min_face)]
    command += ["--embedder", args.embedder] if args.embedder else []
    if args.threshold is None:
        print(
            f"names above {_PORT_THRESHOLD:g}, as in the port; `facepipe gallery calibrate` measures", file=sys.stderr
        )
    command += ["--threshold", str(_PORT_THRESHOLD if args.threshold is None else args.threshold)]
    return gallery_command.run(parser.parse_args([*command, *([] if args.det else ["--aligned"])]))


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[_Job]:
    """Models and gallery, ready."""
    old = args.rec and _is_port_index(args.index)
    gallery = read_gallery(args.index) if args.rec and not old else None
    embedder = args.embedder or (_PORT_MODELS["MobileFace"] if gallery is None else gallery.model)
    made_by = None if gallery is None else gallery.made_by
    backend = chosen_backend(args, embedder if args.rec else None, made_by, args.index)
    settings, detector = detector_settings(args), args.detector if args.det else None
    if args.input.is_file() and not is_film(args.input):
        settings = replace(settings, kernels="numpy")  # one picture does not repay loading a compiler
    with ExitStack() as stack:
        if not args.rec:
            found = stack.enter_context(open_detector(args.detector, backend, args.weights, args.batch, settings))
            yield _Job(Nameless(found, args.det_thresh), font_for(["0"]), {}, {"detector": args.detector}, args.batch)
            return
        recogniser = stack.enter_context(
            open_recogniser(
                detector, embedder, backend, args.weights, args.batch, settings=settings, least_score=args.det_thresh
            )
        )
        say_note(recogniser)
        gallery, threshold = _gallery_and_threshold(args, gallery, recogniser)
        namer = Namer(
            recogniser,
            gallery,
            build_index(gallery.embeddings, args.search),
            threshold,
            candidates=args.candidates,
            rule=args.rule,
        )
        font = font_for(["unknown 0123456789.", *gallery.people()], args.font)
        if font.lacking:
            print(f"no font here has {font.lacking[:40]}: pip install 'facepipe[cjk]', or --font FILE", file=sys.stderr)
        head: dict[str, object] = {
            "gallery": str(args.index),
            "detector": detector,
            "embedder": recogniser.model,
            "weights_sha256": recogniser.weights_sha256,
            "threshold": threshold.similarity,
        }
        yield _Job(namer, font, colours_of(gallery.people()), head, args.batch)


def _gallery_and_threshold(
    args: argparse.Namespace, gallery: Gallery | None, recogniser: Recogniser
) -> tuple[Gallery, Threshold]:
    """Our gallery, which must be the recogniser's; or the port's, which is taken for it."""
    if gallery is not None:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.index))
        return gallery, given_threshold(args.threshold, gallery, args.index)
    gallery = read_port_index(args.index, recogniser.model, recogniser.weights_sha256, recogniser.dimension)
    least = _PORT_THRESHOLD if args.threshold is None else args.threshold
    print(
        f"{args.index}: the port's index, taken as made by {recogniser.model}; names above {least:g}", file=sys.stderr
    )
    return gallery, Threshold(least, None, "the port's")


def _is_port_index(path: Path) -> bool:
    """Anything that does not begin like our gallery and is called like the port's."""
    if not path.is_file():
        return False
    with path.open("rb") as source:
        return path.suffix == ".bin" and source.read(len(MAGIC)) != MAGIC


def _pictures(job: _Job, args: argparse.Namespace) -> int:
    """A picture, or all of a folder."""
    source: Path = args.input
    root, keys = (source, photographs_of(source, args.output)) if source.is_dir() else (source.parent, [source.name])
    unreadable = faces = known = 0
    with tqdm(total=len(keys), desc="recognise", unit="picture", disable=None if len(keys) > 1 else True) as bar:
        for members, unread in read_pictures(root, keys, job.batch):
            for key, reason in unread:
                print(f"{root / key}: left out, {reason}", file=sys.stderr)
            unreadable += len(unread)
            pictures = job.name([image for _, image in members]) if members else []
            for (key, image), picture in zip(members, pictures, strict=True):
                target = args.output / _drawn_name(key)
                if target.resolve() == (root / key).resolve():
                    raise DataError(f"{target}: it would be written over the photograph, expected another --output.")
                write_drawing(target, _drawn(job, image, picture))
                content = {**job.head, "picture": key, "height": image.shape[0], "width": image.shape[1]}
                write_json(sidecar_of(target), content | _told(picture))
                faces += len(picture.faces)
                known += sum(_person(face) is not None for face in picture.faces)
                if len(keys) == 1:
                    _say(picture)
            bar.update(len(members) + len(unread))
    done = len(keys) - unreadable
    left = f", {unreadable:,} left out" if unreadable else ""
    print(f"{args.output}: {done:,} pictures{left}, {faces:,} faces, {known:,} with a name")
    return 1 if unreadable and not done else 0


def _film(job: _Job, args: argparse.Namespace) -> int:
    """A film, frame by frame; the answers go into one line for each frame."""
    info = read_info(args.input)
    target = args.output / f"{args.input.stem}.mp4"
    if target.resolve() == args.input.resolve():
        raise DataError(f"{target}: it would be written over the film, expected another --output.")
    lines_path = target.with_name(f"{target.name}.jsonl")
    frames = faces = 0
    with (
        open_writer(target, info) as write,
        atomic_path(lines_path) as part,
        part.open("w", encoding="utf-8") as lines,
        tqdm(total=info.frames or None, desc=args.input.name, unit="frame", disable=None) as bar,
    ):
        _line(lines, {**job.head, "film": args.input.name})
        for batch in _in_batches(read_frames(args.input), job.batch):
            for frame, picture in zip(batch, job.name([frame.image for frame in batch]), strict=True):
                write(Frame(_drawn(job, frame.image, picture), frame.ticks))
                seconds = round(float(frame.ticks * info.time_base), 4)
                _line(lines, {"frame": frames, "seconds": seconds} | _told(picture))
                frames += 1
                faces += len(picture.faces)
            bar.update(len(batch))
    print(
        f"{target}: {frames:,} frames, {faces:,} faces; {lines_path.name} has a line for each frame. Sound is left out."
    )
    return 0


def _in_batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, size)):
        yield batch


def _line(lines: IO[str], value: object) -> None:
    lines.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def _drawn_name(key: str) -> str:
    """The photograph's own name where that format is written without loss of the drawing's sense, else PNG."""
    path = Path(key)
    return key if path.suffix.lower() in (".jpg", ".jpeg", ".png") else str(path.with_name(f"{path.name}.png"))


def _drawn(job: _Job, image: np.ndarray, picture: NamedPicture) -> np.ndarray:
    labels = [Label(face.face.box, _plate(face), _person(face)) for face in picture.faces]
    return draw_names(image, labels, job.font, job.colours)


def _person(face: NamedFace) -> str | None:
    return None if face.answer is None else face.answer.label


def _plate(face: NamedFace) -> str:
    """The name and how near it is; "unknown"; or the detector's score where no gallery was asked."""
    if face.answer is None:
        return f"{face.face.score:.2f}"
    if not face.answer.is_known or face.answer.similarity is None:
        return face.answer.text
    return f"{face.answer.text} {face.answer.similarity:.2f}"


def _told(picture: NamedPicture) -> dict[str, object]:
    """The faces as JSON."""
    faces = []
    for named in picture.faces:
        told: dict[str, object] = {
            "box": [round(value, 2) for value in named.face.box.tolist()],
            "score": round(named.face.score, 5),
            "landmarks": [[round(x, 2), round(y, 2)] for x, y in named.face.landmarks.tolist()],
        }
        if named.answer is not None:
            told["label"] = named.answer.label
            told["similarity"] = named.answer.similarity
            told["candidates"] = [
                {"label": near.label, "similarity": near.similarity, "source": near.source}
                for near in named.answer.candidates
            ]
        faces.append(told)
    return {"faces": faces, "left_out": list(picture.left_out)}


def _say(picture: NamedPicture) -> None:
    for face in picture.faces:
        corners = " ".join(f"{value:8.1f}" for value in face.face.box)
        print(f"  {corners}  {_plate(face)}")


def _truth(text: str) -> bool:
    """The port's booleans: true, t and 1 are True, all else is False."""
    return text.lower() in ("true", "t", "1")
