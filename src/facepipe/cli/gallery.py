# SPDX-License-Identifier: Apache-2.0
"""facepipe gallery build photographs/ --out people.gallery --calibrate lfw.bin --far 1e-3

Galleries put names on faces. A gallery is bound to the model that made it and holds the threshold below which a face is
"unknown". docs/galleries.md describes the file.

  facepipe gallery build photographs/ --labels label.txt --out people.gallery     label.txt: path<TAB>name
  facepipe gallery build clusters/ --names person-0001=Ann person-0007=Bob --out people.gallery
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from facepipe.backends.base import MadeBy
from facepipe.cli.gallery_options import (
    add_search_arguments,
    enrolled,
    finish_gallery,
    given_names,
    given_threshold,
    tell_gallery,
)
from facepipe.cli.run_options import (
    add_model_arguments,
    add_overwrite,
    chosen_backend,
    chosen_embedder,
    cosine,
    detector_settings,
    few_settings,
    note_models,
    photograph_or_tell,
)
from facepipe.compat.port_index import read_port_index
from facepipe.escape import for_terminal
from facepipe.gallery.cluster_folder import add_clusters, gallery_of_clusters, is_cluster
from facepipe.gallery.enrol import add_to_gallery, calibrated, known_threshold, new_gallery
from facepipe.gallery.evaluate import PROTOCOL, evaluate_run
from facepipe.gallery.faces import Recogniser, open_recogniser
from facepipe.gallery.file import (
    Gallery,
    Threshold,
    read_gallery,
    require_model,
    require_writable,
    update_gallery,
    without,
)
from facepipe.gallery.search import build_index, identify
from facepipe.results import NoFace
from facepipe.terminal.output import add_output_arguments, bar, heading, note, result

_PHOTOGRAPHS = "a folder of photographs, a run, or a folder of `cluster`"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="a gallery of the people in a folder, a run, or a folder of `cluster`")
    build.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS", help=_PHOTOGRAPHS)
    build.add_argument("--out", type=Path, required=True, metavar="FILE.gallery", help="the gallery to write")
    _naming(build)
    _threshold(build)
    add = commands.add_parser("add", help="more photographs into a gallery")
    _gallery(add)
    add.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS", help=_PHOTOGRAPHS)
    _naming(add)
    remove = commands.add_parser("remove", help="a person, or one photograph of theirs, out of a gallery")
    _gallery(remove)
    remove.add_argument("label", metavar="PERSON", help="the person's name")
    remove.add_argument("--source", metavar="KEY", help="only the row that was made from this photograph")
    listing = commands.add_parser("list", help="who is in a gallery")
    _gallery(listing)
    listing.add_argument("--sources", action="store_true", help="every row, with the photograph that it was made from")
    search = commands.add_parser("search", help="who is on a photograph? (its main face; `recognise` takes all)")
    _gallery(search)
    search.add_argument("photographs", type=Path, nargs="+", metavar="PHOTOGRAPH", help="files")
    search.add_argument("--threshold", type=cosine, metavar="COSINE", help="instead of the gallery's own")
    add_search_arguments(search)
    calibration = commands.add_parser("calibrate", help="the threshold from a false-accept rate")
    _gallery(calibration)
    calibration.add_argument(
        "set", type=Path, metavar="SET", help="a .bin, a folder of aligned faces, or the folder of a run"
    )
    _calibration(calibration)
    imported = commands.add_parser("import", help="the Paddle port's index.bin")
    imported.add_argument("index", type=Path, metavar="INDEX", help="the port's file")
    imported.add_argument("--out", type=Path, required=True, metavar="FILE.gallery", help="the gallery to write")
    _threshold(imported)
    evaluation = commands.add_parser("evaluate", help="identification rates of a run over people's folders")
    evaluation.add_argument("run", type=Path, metavar="RUN", help="a finished run of `embed` or `lfw`")
    text = "false-positive identification rates (default: 0.01 0.1)"
    evaluation.add_argument("--fpir", type=float, nargs="+", default=[0.01, 0.1], metavar="RATE", help=text)
    for command in (build, imported):
        add_overwrite(command)
    for command in (build, add, search, calibration, imported):
        command.add_argument("--aligned", action="store_true", help="they are faces, cut out and aligned already")
        add_model_arguments(command)
    for command in commands.choices.values():
        add_output_arguments(command)


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


def _gallery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", type=Path, metavar="GALLERY", help="the file")


def _naming(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="lines 'path<TAB>name' (default: folders are names)"
    )
    parser.add_argument("--name", metavar="PERSON", help="all photographs are of this person")
    parser.add_argument("--names", nargs="+", default=[], metavar="GROUP=NAME", help="of a folder of `cluster`")


def _threshold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threshold", type=cosine, metavar="COSINE", help="least similarity for a name")
    parser.add_argument("--calibrate", dest="set", type=Path, metavar="SET", help="see `gallery calibrate`")
    _calibration(parser)


def _calibration(parser: argparse.ArgumentParser) -> None:
    text = "LFW's pairs file, for a folder or a run (default: pairs.txt in it)"
    parser.add_argument("--pairs", type=Path, metavar="FILE", help=text)
    text = "false-accept rate of one comparison (default: 1e-3)"
    parser.add_argument("--far", type=float, default=1e-3, metavar="RATE", help=text)


def _build(args: argparse.Namespace) -> int:
    require_writable(args.out, overwrite=args.overwrite)
    if is_cluster(args.photographs):
        gallery = gallery_of_clusters(args.photographs, args.names, args.labels, args.threshold, args.weights)
        finish_gallery(args, args.out, gallery)
        return 0
    names = given_names(args)
    args.embedder = chosen_embedder(args)
    with _open(args, args.embedder, None) as recogniser:
        found = enrolled(args, args.photographs, recogniser, names)
        made_by = MadeBy(args.backend, args.precision)
        gallery = new_gallery(recogniser, found, _wanted_threshold(args, recogniser), made_by)
    finish_gallery(args, args.out, gallery)
    return 0


def _add(args: argparse.Namespace) -> int:
    """The photographs are looked at first; then the gallery as it is by then gets their rows."""
    gallery = read_gallery(args.gallery)
    require_writable(args.gallery, overwrite=True)
    if is_cluster(args.photographs):
        gallery = add_clusters(args.gallery, args.photographs, args.names, args.labels, args.weights)
        tell_gallery(args, args.gallery, gallery)
        return 0
    names = given_names(args)
    with _open(args, args.embedder or gallery.model, gallery.made_by) as recogniser:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.gallery))
        found = enrolled(args, args.photographs, recogniser, names)
        gallery, replaced = add_to_gallery(args.gallery, recogniser, found)
    again = f", {replaced:,} of them in place of the same person's photograph of that name" if replaced else ""
    looked_at = len(found.labels) if names is None else len(names)
    heading(args, f"{len(found.labels):,} rows from {looked_at:,} {'faces' if names is None else 'photographs'}{again}")
    tell_gallery(args, args.gallery, gallery, {"added": len(found.labels), "replaced": replaced})
    return 0


def _remove(args: argparse.Namespace) -> int:
    before: list[int] = []

    def shrunk(now: Gallery) -> Gallery:
        before.append(len(now))
        return without(now, args.label, args.source)

    gallery = update_gallery(args.gallery, shrunk)
    removed = before[0] - len(gallery)
    heading(args, f"{removed} of {before[0]:,} rows removed")
    tell_gallery(args, args.gallery, gallery, {"removed": removed})
    return 0


def _list(args: argparse.Namespace) -> int:
    gallery = read_gallery(args.gallery)
    rows = sorted(zip(gallery.labels, gallery.sources, strict=True)) if args.sources else []
    for label, source in rows:
        result(args, f"{for_terminal(label)}\t{for_terminal(source)}", {"label": label, "source": source})
    for name, count in gallery.people().items() if not args.sources else ():
        result(args, for_terminal(f"{count:>6}  {name}"), {"label": name, "rows": count})
    tell_gallery(args, args.gallery, gallery)
    return 0


def _search(args: argparse.Namespace) -> int:
    gallery = read_gallery(args.gallery)
    threshold = given_threshold(args, gallery, args.gallery)
    index, unreadable = build_index(gallery.embeddings, args.search), 0
    with _open(args, args.embedder or gallery.model, gallery.made_by) as recogniser:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.gallery))
        for path in args.photographs:
            image = photograph_or_tell(args, path, "gallery")
            if image is None:
                unreadable += 1
                continue
            (face,) = recogniser.pipeline.main_faces([image])
            if isinstance(face, NoFace):
                told = {"photograph": str(path), "reason": face.reason}
                result(args, for_terminal(f"{path}: {face.reason}"), told)
                continue
            (answer,) = identify(
                gallery, index, face.embedding[None], threshold, candidates=args.candidates, rule=args.rule
            )
            lines = [f"{path}: {answer.text} (above {threshold.similarity:.3f} a face has a name)"]
            lines += [f"  {near.similarity:6.3f}  {near.label}  {near.source}" for near in answer.candidates]
            near = list(map(asdict, answer.candidates))
            record = {"photograph": str(path), "label": answer.label, "candidates": near}
            result(args, "\n".join(map(for_terminal, lines)), record)
    return 1 if unreadable else 0


def _calibrate(args: argparse.Namespace) -> int:
    gallery = read_gallery(args.gallery)
    with _open(args, args.embedder or gallery.model, gallery.made_by) as recogniser:
        require_model(gallery, recogniser.model, recogniser.weights_sha256, str(args.gallery))
        threshold = _calibrated(args, recogniser)

        def with_threshold(now: Gallery) -> Gallery:
            require_model(now, recogniser.model, recogniser.weights_sha256, str(args.gallery))
            return replace(now, threshold=threshold)

        gallery = update_gallery(args.gallery, with_threshold)
    tell_gallery(args, args.gallery, gallery)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    found = evaluate_run(args.run, args.fpir)
    lines = [
        f"protocol: {PROTOCOL}",
        f"{found.enrolled:,} of {found.people:,} people have two or more photographs and are in the gallery "
        f"({found.without_row} without a face); {found.mated:,} mated probes ({found.mated_faceless} without a face), "
        f"{found.non_mated:,} non-mated ({found.non_mated_faceless})",
        f"rank-1: {found.rank_one:.4f}",
    ]
    lines += [
        f"DIR at FPIR {100 * rate.fpir_target:g} %: {rate.dir:.4f} (cosine above {rate.threshold:.4f}; "
        f"FPIR seen {rate.fpir:.4f})"
        for rate in found.open_set
    ]
    lines.append(f"{args.run / 'identification.json'}: all figures")
    result(args, "\n".join(lines), {"protocol": PROTOCOL, **asdict(found)})
    return 0


def _import(args: argparse.Namespace) -> int:
    require_writable(args.out, overwrite=args.overwrite)
    args.aligned = True  # no photograph is looked for a face here
    with _open(args, chosen_embedder(args), None) as recogniser:
        gallery = read_port_index(args.index, recogniser.model, recogniser.weights_sha256, recogniser.dimension)
        gallery = replace(gallery, threshold=_wanted_threshold(args, recogniser))
    finish_gallery(args, args.out, gallery)
    note(args, "the port's file does not tell its model: its rows were taken for this one's.")
    return 0


@contextmanager
def _open(args: argparse.Namespace, name: str, made_by: MadeBy | None) -> Iterator[Recogniser]:
    backend = chosen_backend(args, name, made_by, getattr(args, "gallery", None))
    settings = few_settings(args, len(args.photographs)) if args.command == "search" else detector_settings(args)
    with open_recogniser(
        None if args.aligned else args.detector,
        name,
        backend,
        args.weights,
        args.batch,
        settings=settings,
        selection=args.select,
    ) as recogniser:
        note_models(args, recogniser.pipeline.note)
        yield recogniser


def _wanted_threshold(args: argparse.Namespace, recogniser: Recogniser) -> Threshold | None:
    """By hand, calibrated, or the catalogue's where it holds one; else none, which is said."""
    if args.threshold is not None:
        return Threshold(args.threshold, None, "given by hand")
    if args.set is not None:
        return _calibrated(args, recogniser)
    known = known_threshold(recogniser.spec, recogniser.pipeline.note)
    if known is None:
        note(args, "no threshold: `facepipe gallery calibrate` sets one.")
    return known


def _calibrated(args: argparse.Namespace, recogniser: Recogniser) -> Threshold:
    with bar(args, "calibrate", 0, "face") as progress:
        return calibrated(args.set, args.pairs, args.far, recogniser, progress)
