# SPDX-License-Identifier: Apache-2.0
"""facepipe gallery build photographs/ --out people.gallery --calibrate lfw.bin --far 1e-3

Galleries put names on faces. A gallery is bound to the model that made it and holds the threshold below which a face is
"unknown". docs/galleries.md describes the file.

  facepipe gallery build photographs/ --labels label.txt --out people.gallery     label.txt: path<TAB>name
  facepipe gallery calibrate people.gallery lfw.bin --far 1e-3                     or a folder with --pairs
  facepipe gallery add people.gallery more/
  facepipe gallery remove people.gallery "Some One"
  facepipe gallery list people.gallery
  facepipe gallery search people.gallery who.jpg
  facepipe gallery evaluate runs/lfw                    rank-1 and open-set rates of a run over <person>/<photograph>
  facepipe gallery import index.bin --embedder mobilefacenet.paddle --out people.gallery
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facepipe.backends import backend_by_name
from facepipe.catalogue import embedder
from facepipe.cli.detect import FEW
from facepipe.cli.run_options import (
    add_model_arguments,
    chosen_embedder,
    detector_settings,
    positive,
    read_or_tell,
    runtime_options,
)
from facepipe.compat.port_index import read_port_index
from facepipe.datasets.face_sets import open_face_set
from facepipe.datasets.image_records import read_labels
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import read_pairs
from facepipe.errors import DataError
from facepipe.gallery.calibrate import calibrate, embed_set
from facepipe.gallery.evaluate import PROTOCOL, evaluate
from facepipe.gallery.faces import EmbeddedFace, Enrolment, Recogniser, enrol, open_recogniser
from facepipe.gallery.file import (
    Gallery,
    Threshold,
    empty_gallery,
    read_gallery,
    require_model,
    require_writable,
    update_gallery,
    with_rows,
    without,
    write_gallery,
)
from facepipe.gallery.person_name import person_name
from facepipe.gallery.search import build_index, identify
from facepipe.store.files import read_json, write_json
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, read_embeddings, read_faces


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="a gallery of the people in a folder")
    build.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS")
    build.add_argument("--out", type=Path, required=True, metavar="FILE.gallery")
    _naming(build)
    _threshold(build)
    add = commands.add_parser("add", help="more pictures into a gallery")
    add.add_argument("gallery", type=Path)
    add.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS")
    _naming(add)
    remove = commands.add_parser("remove", help="a person, or one picture of theirs, out of a gallery")
    remove.add_argument("gallery", type=Path)
    remove.add_argument("label", help="the person's name")
    remove.add_argument("--source", help="only the row that was made from this picture")
    listing = commands.add_parser("list", help="who is in a gallery")
    listing.add_argument("gallery", type=Path)
    listing.add_argument("--sources", action="store_true", help="every row, with the picture that it was made from")
    listing.add_argument("--json", action="store_true")
    search = commands.add_parser("search", help="who is on a picture? (its main face; `recognise` takes all)")
    search.add_argument("gallery", type=Path)
    search.add_argument("photographs", type=Path, nargs="+", metavar="PHOTOGRAPH")
    add_search_arguments(search)
    search.add_argument("--json", action="store_true", help="one JSON object for each picture")
    calibration = commands.add_parser("calibrate", help="the threshold from a false-accept rate")
    calibration.add_argument("gallery", type=Path)
    calibration.add_argument("set", type=Path, help="a .bin, a folder of aligned faces, or the folder of a run")
    _calibration(calibration)
    imported = commands.add_parser("import", help="the Paddle port's index.bin")
    imported.add_argument("index", type=Path)
    imported.add_argument("--out", type=Path, required=True, metavar="FILE.gallery")
    _threshold(imported)
    evaluation = commands.add_parser("evaluate", help="identification rates of a run over people's folders")
    evaluation.add_argument("run", type=Path, help="a finished run of `facepipe embed` or `facepipe lfw`")
    evaluation.add_argument("--fpir", type=float, nargs="+", default=[0.01, 0.1], help="default: 0.01 0.1")
    for command in (build, add, search, calibration, imported):
        command.add_argument("--aligned", action="store_true", help="pictures are faces, cut out and aligned already")
        add_model_arguments(command)


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """--threshold, --candidates, --rule, --search."""
    add = parser.add_argument
    add("--threshold", type=_cosine, metavar="COSINE", help="instead of the gallery's own")
    add("--candidates", type=positive, default=5, help="neighbours that are looked at (default: %(default)s)")
    add("--rule", choices=["best", "majority"], default="best", help="the nearest name, or the most frequent one")
    add("--search", choices=["exact", "approximate"], default="exact", help="approximate is for millions of rows")


def run(args: argparse.Namespace) -> int:
    commands = {
        "build": _build,
        "add": _add,
        "remove": _remove,
        "list": _list,
        "search": _search,
        "calibrate": _calibrate,
        "evaluate": _evaluate,
        "import": _import,
    }
    return commands[args.command](args)


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


def _naming(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="lines 'path<TAB>name' (default: folders are names)"
    )
    parser.add_argument("--name", help="all pictures are of this person")


def _threshold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threshold", type=_cosine, metavar="COSINE", help="least similarity for a name")
    parser.add_argument("--calibrate", dest="set", type=Path, metavar="SET", help="see `gallery calibrate`")
    _calibration(parser)


def _calibration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=Path, help="LFW's pairs file, for a folder or a run (default: pairs.txt in it)")
    parser.add_argument("--far", type=float, default=1e-3, help="false-accept rate of one comparison (default: 1e-3)")


def _cosine(text: str) -> float:
    value = float(text)
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value}, expected a cosine from -1 to 1")
    return value


def _build(args: argparse.Namespace) -> int:
    require_writable(args.out)
    args.embedder = chosen_embedder(args)
    keys, names = _named(args)
    with _open(args, args.embedder) as recogniser:
        labels, found = _enrolled(args, recogniser, keys, names)
        gallery = empty_gallery(recogniser.model, recogniser.weights_sha256, recogniser.dimension)
        gallery = with_rows(gallery, labels, list(found.keys), found.embeddings)
        gallery = replace(gallery, threshold=_wanted_threshold(args, recogniser))
    write_gallery(args.out, gallery)
    _tell(args.out, gallery)
    return 0


def _add(args: argparse.Namespace) -> int:
    """The pictures are looked at first; then the gallery as it is by then gets their rows."""
    gallery = read_gallery(args.gallery)
    require_writable(args.gallery)
    keys, names = _named(args)
    with _open(args, args.embedder or gallery.model) as recogniser:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.gallery))
        labels, found = _enrolled(args, recogniser, keys, names)
        before: list[int] = []

        def grown(now: Gallery) -> Gallery:
            require_model(now, recogniser.model, recogniser.weights_sha256, str(args.gallery))
            before.append(len(now))
            return with_rows(now, labels, list(found.keys), found.embeddings)

        gallery = update_gallery(args.gallery, grown)
    replaced = before[0] + len(labels) - len(gallery)
    again = f", {replaced:,} of them in place of the same person's picture of that name" if replaced else ""
    print(f"{len(labels):,} rows from {len(keys):,} pictures{again}")
    _tell(args.gallery, gallery)
    return 0


def _remove(args: argparse.Namespace) -> int:
    before: list[int] = []

    def shrunk(now: Gallery) -> Gallery:
        before.append(len(now))
        return without(now, args.label, args.source)

    gallery = update_gallery(args.gallery, shrunk)
    print(f"{before[0] - len(gallery)} of {before[0]:,} rows removed")
    _tell(args.gallery, gallery)
    return 0


def _list(args: argparse.Namespace) -> int:
    gallery = read_gallery(args.gallery)
    people, threshold = gallery.people(), gallery.threshold
    rows = sorted(zip(gallery.labels, gallery.sources, strict=True)) if args.sources else []
    if args.json:
        told: dict[str, object] = {
            "model": gallery.model,
            "threshold": None
            if threshold is None
            else {"similarity": threshold.similarity, "far": threshold.far, "source": threshold.source},
            "people": people,
        }
        if args.sources:
            told["rows"] = [{"label": label, "source": source} for label, source in rows]
        print(json.dumps(told, ensure_ascii=False))
        return 0
    for label, source in rows:
        print(f"{label}\t{source}")
    for name, count in people.items() if not args.sources else ():
        print(f"{count:>6}  {name}")
    _tell(args.gallery, gallery)
    return 0


def _search(args: argparse.Namespace) -> int:
    gallery = read_gallery(args.gallery)
    threshold = given_threshold(args.threshold, gallery, args.gallery)
    index, unreadable = build_index(gallery.embeddings, args.search), 0
    with _open(args, args.embedder or gallery.model) as recogniser:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.gallery))
        for path in args.photographs:
            image = read_or_tell(path, "gallery", alone=len(args.photographs) == 1)
            if image is None:
                unreadable += 1
                continue
            (face,) = recogniser.main_faces([image], args.select)
            if not isinstance(face, EmbeddedFace):
                print(
                    json.dumps({"photograph": str(path), "reason": face.reason})
                    if args.json
                    else f"{path}: {face.reason}"
                )
                continue
            (answer,) = identify(
                gallery, index, face.embedding[None], threshold, candidates=args.candidates, rule=args.rule
            )
            near = [{"label": c.label, "similarity": c.similarity, "source": c.source} for c in answer.candidates]
            if args.json:
                told = {"photograph": str(path), "label": answer.label, "candidates": near}
                print(json.dumps(told, ensure_ascii=False))
                continue
            print(f"{path}: {answer.text} (above {threshold.similarity:.3f} a face has a name)")
            for candidate in answer.candidates:
                print(f"  {candidate.similarity:6.3f}  {candidate.label}  {candidate.source}")
    return 1 if unreadable else 0


def _calibrate(args: argparse.Namespace) -> int:
    gallery = read_gallery(args.gallery)
    with _open(args, args.embedder or gallery.model) as recogniser:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.gallery))
        threshold = _calibrated(args, recogniser)

        def calibrated(now: Gallery) -> Gallery:
            require_model(now, recogniser.model, recogniser.weights_sha256, str(args.gallery))
            return replace(now, threshold=threshold)

        gallery = update_gallery(args.gallery, calibrated)
    _tell(args.gallery, gallery)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    lines = list(read_faces(args.run / FACES_FILE))
    embeddings = read_embeddings(args.run / EMBEDDINGS_FILE, sum(line.row is not None for line in lines))
    rows = {line.key: np.asarray(embeddings[line.row]) for line in lines if line.row is not None}
    found = evaluate([line.key for line in lines], rows, args.fpir)
    write_json(args.run / "identification.json", {"protocol": PROTOCOL, **asdict(found)})
    print(f"protocol: {PROTOCOL}")
    print(
        f"{found.enrolled:,} of {found.people:,} people have two or more photographs and are in the gallery "
        f"({found.without_row} without a face); {found.mated:,} mated probes ({found.mated_faceless} without a face), "
        f"{found.non_mated:,} non-mated ({found.non_mated_faceless})"
    )
    print(f"rank-1: {found.rank_one:.4f}")
    for rate in found.open_set:
        print(
            f"DIR at FPIR {100 * rate.fpir_target:g} %: {rate.dir:.4f} (cosine above {rate.threshold:.4f}; "
            f"FPIR seen {rate.fpir:.4f})"
        )
    print(f"{args.run / 'identification.json'}: all figures")
    return 0


def _import(args: argparse.Namespace) -> int:
    require_writable(args.out)
    args.aligned = True  # no picture is looked for a face here
    with _open(args, chosen_embedder(args)) as recogniser:
        gallery = read_port_index(args.index, recogniser.model, recogniser.weights_sha256, recogniser.dimension)
        gallery = replace(gallery, threshold=_wanted_threshold(args, recogniser))
    write_gallery(args.out, gallery)
    _tell(args.out, gallery)
    print("the port's file does not tell its model: its rows were taken for this one's.", file=sys.stderr)
    return 0


@contextmanager
def _open(args: argparse.Namespace, name: str) -> Iterator[Recogniser]:
    backend = backend_by_name(args.backend, runtime_options(args))
    detector, settings = None if args.aligned else args.detector, detector_settings(args)
    if args.command == "search" and len(args.photographs) < FEW:
        settings = replace(settings, kernels="numpy")
    with open_recogniser(detector, name, backend, args.weights, args.batch, settings=settings) as recogniser:
        say_note(recogniser)
        yield recogniser


def say_note(recogniser: Recogniser) -> None:
    """What the recogniser's user has to know, on standard error."""
    if recogniser.note is not None:
        print(f"note: {recogniser.note}", file=sys.stderr)


def _named(args: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """The pictures to enrol, and the name of each.

    Raises:
        DataError: a picture has no name, or a label names a picture that is not there.
    """
    root: Path = args.photographs
    if args.labels is None:
        keys = list_keys(root)
        if args.name is not None:
            return keys, dict.fromkeys(keys, args.name)
        loose = [key for key in keys if "/" not in key]
        if loose:
            raise DataError(
                f"{root}: {len(loose)} pictures lie in no person's folder (first: {loose[0]}), expected <name>/....",
                "--labels with lines 'path<TAB>name', or --name for one person.",
            )
        return keys, {key: key.partition("/")[0] for key in keys}
    names: dict[str, str] = {}
    for path, name in read_labels(args.labels):
        key = Path(os.path.normpath(path)).as_posix()
        if not (root / key).is_file():
            raise DataError(f"{args.labels}: '{path}' is no file below {root}, expected its pictures' paths.")
        if names.setdefault(key, name) != name:
            raise DataError(f"{args.labels}: '{path}' is called '{names[key]}' and '{name}', expected one name.")
    return sorted(names), names


def _enrolled(
    args: argparse.Namespace, recogniser: Recogniser, keys: list[str], names: Mapping[str, str]
) -> tuple[list[str], Enrolment]:
    """The pictures with a face, and the name for each; the others are said."""
    for name in sorted(set(names.values())):
        person_name(name)  # before anything is computed
    with tqdm(total=len(keys), desc="enrol", unit="picture", disable=None) as bar:
        found = enrol(args.photographs, keys, recogniser, batch=args.batch, selection=args.select, progress=bar.update)
    for key, reason in found.without:
        print(f"{args.photographs / key}: left out, {reason}", file=sys.stderr)
    labels = [names[key] for key in found.keys]
    lost = sorted(set(names.values()) - set(labels))
    if lost:
        print(f"{len(lost)} people have no picture with a face: {', '.join(lost[:10])}", file=sys.stderr)
    return labels, found


def _wanted_threshold(args: argparse.Namespace, recogniser: Recogniser) -> Threshold | None:
    """By hand, calibrated, or the catalogue's where it holds one; else none, which is said."""
    if args.threshold is not None:
        return Threshold(args.threshold, None, "given by hand")
    if args.set is not None:
        return _calibrated(args, recogniser)
    known = embedder(recogniser.model).threshold
    if known is not None:  # squared distance of unit vectors is 2 - 2 cosine
        return Threshold(1 - known.value / 2, None, known.source)
    print("no threshold: `facepipe gallery calibrate` sets one.", file=sys.stderr)
    return None


def _calibrated(args: argparse.Namespace, recogniser: Recogniser) -> Threshold:
    if (args.set / FACES_FILE).is_file():
        return _calibrated_on_run(args, recogniser)
    faces = open_face_set(args.set, args.pairs)
    with tqdm(total=len(faces.pairs.keys()), desc="calibrate", unit="face", disable=None) as bar:
        rows = embed_set(faces, recogniser.embedder, bar.update)
    return calibrate(faces.pairs, rows, args.far, args.set.name)


def _calibrated_on_run(args: argparse.Namespace, recogniser: Recogniser) -> Threshold:
    """On the embeddings of a finished run, which have this detector's alignment; they must be this model's."""
    if args.pairs is None:
        raise DataError(f"{args.set}: it is a run, expected --pairs with the pairs of its photographs.")
    lines = [line for line in read_faces(args.set / FACES_FILE) if line.row is not None]
    embeddings = read_embeddings(args.set / EMBEDDINGS_FILE, len(lines))
    if embeddings.shape[1] != recogniser.dimension:
        raise DataError(f"{args.set}: embeddings of {embeddings.shape[1]} numbers, expected {recogniser.dimension}.")
    _require_run_of(args.set, recogniser)
    rows = {line.key: np.asarray(embeddings[line.row]) for line in lines}
    return calibrate(read_pairs(args.pairs), rows, args.far, args.set.name)


def _require_run_of(run: Path, recogniser: Recogniser) -> None:
    """Refuse a run whose own record does not name these weights."""
    record = read_json(run / "run.json")
    models = record.get("models", []) if isinstance(record, dict) else []
    wanted = (recogniser.model, recogniser.weights_sha256)
    if not any((entry.get("model"), entry.get("weights_sha256")) == wanted for entry in models):
        named = ", ".join(str(entry.get("model")) for entry in models) or "no model"
        raise DataError(
            f"{run / 'run.json'}: it names {named}, expected {recogniser.model} with weights "
            f"{recogniser.weights_sha256[:12]}....",
        )


def _tell(path: Path, gallery: Gallery) -> None:
    threshold = gallery.threshold
    told = "no threshold yet"
    if threshold is not None:
        rate = "" if threshold.far is None else f" for a false-accept rate of {threshold.far:g}"
        told = f"a name above cosine {threshold.similarity:.4f}{rate} ({threshold.source})"
    print(f"{path}: {len(gallery):,} rows, {len(gallery.people()):,} people, {gallery.model}; {told}")
