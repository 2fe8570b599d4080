# SPDX-License-Identifier: Apache-2.0
"""The options that every command over photographs shares, and what becomes of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from facepipe.assets.workspace import open_workspace, trained_embedder, weights_folder
from facepipe.backends import AUTO, FASTEST_FIRST, backend_by_name, backend_names, resolve_backend, takes_compiled
from facepipe.backends.base import Backend, MadeBy, RuntimeOptions, require_available
from facepipe.backends.by_model import engines
from facepipe.catalogue import DETECTORS, EMBEDDERS, detector_models, find
from facepipe.datasets.images import Decoded
from facepipe.detect import EVERYDAY_DETECTOR, DetectorSettings, asked_settings, everyday_settings, looked_at
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.engine.cores import cores
from facepipe.errors import DataError
from facepipe.escape import for_terminal
from facepipe.faces.photographs import Limits, limits_for, notes_of, read_photograph
from facepipe.faces.pipeline import DEFAULT_SELECTION, SELECTION_NAMES, require_alignment
from facepipe.geometry.pyramid import CELL
from facepipe.results import Unread
from facepipe.terminal.output import fault, note

DEFAULT_BATCH = 16
_FEW = 20
Number = TypeVar("Number", int, float)


def add_model_arguments(
    parser: argparse.ArgumentParser, *, embeds: bool = True, backend: str = AUTO, everyday: bool = True
) -> None:
    """--detector, --embedder, --weights, --backend, --batch, --precision, --threads, --device, --min-face,
    --least-score, --borders, --select, --size. `everyday`: with the detector and the working size of everyday use; else
    MTCNN in all pixels."""
    detector, size, told = (EVERYDAY_DETECTOR, None, "the detector's own") if everyday else ("mtcnn", 0, "0")
    text = f"one of {', '.join(DETECTORS)}, or an imported one (default: {detector})"
    parser.add_argument("--detector", default=detector, metavar="NAME", help=text)
    text = f"longer side of the copy in which faces are looked for; 0: in all pixels (default: {told})"
    parser.add_argument("--size", type=int, default=size, metavar="PIXELS", help=text)
    if embeds:
        parser.add_argument(
            "--embedder", metavar="NAME", help=f"one of {', '.join(EMBEDDERS)} (default: the first that is converted)"
        )
        parser.add_argument(
            "--select", default=DEFAULT_SELECTION, choices=SELECTION_NAMES, help="which face of a photograph"
        )
        add_allow_margin_crop(parser)
    add_weights(parser)
    parser.add_argument(
        "--backend",
        default=backend,
        metavar="NAME",
        help=f"{AUTO} (the first of {', '.join(FASTEST_FIRST)} that can run here), or one of "
        f"{', '.join(backend_names())} (default: {backend})",
    )
    parser.add_argument(
        "--batch", type=positive, default=DEFAULT_BATCH, metavar="N", help="photographs, or crops, in one call"
    )
    add_session_arguments(parser)
    parser.add_argument(
        "--devices", type=int, nargs="+", metavar="N", help="several devices, each with its own processes"
    )
    parser.add_argument(
        "--borders",
        choices=("pad", "stretch"),
        help="what MTCNN sees of a face beyond the photograph: black (pad, the default), or the rest stretched, as "
        "facenet-pytorch",
    )
    parser.add_argument(
        "--min-face",
        type=least_face,
        metavar="PIXELS",
        help=f"least longer side of a face (default: {MtcnnSettings().min_face_px} for mtcnn, none for the others)",
    )
    parser.add_argument(
        "--least-score", type=probability, metavar="P", help="faces score above this (default: the detector's own)"
    )
    add_limit_arguments(parser)


def add_weights(parser: argparse.ArgumentParser, text: str = "folder of converted models") -> None:
    """--weights."""
    text += " (default: weights, where it is here, else that of FACEPIPE_HOME or of the user's cache)"
    parser.add_argument("--weights", type=Path, default=weights_folder(), metavar="FOLDER", help=text)


def add_session_arguments(parser: argparse.ArgumentParser) -> None:
    """--precision, --threads, --device, --any-chip."""
    text = "what the back end computes in (default: f32)"
    parser.add_argument("--precision", default="f32", metavar="NAME", help=text)
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="of one session (default: 1)")
    text = "number of the device, where the back end has several (default: 0)"
    parser.add_argument("--device", type=int, default=0, metavar="N", help=text)
    text = "run an .om of another chip of the family, if the runtime takes it: of 310B1 on a 310B4"
    parser.add_argument("--any-chip", action="store_true", help=text)


def add_allow_margin_crop(parser: argparse.ArgumentParser) -> None:
    """--allow-margin-crop, for commands that embed."""
    parser.add_argument(
        "--allow-margin-crop",
        action="store_true",
        help="a detector without landmarks may serve a recogniser that wants them, much less accurately",
    )


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """--max-pixels, the same for every command that looks at photographs."""
    reduced, whole = limits_for(1).max_pixels, limits_for(0).max_pixels
    text = f"of the largest photograph, as decoded (default: {reduced:,}, or {whole:,} with --size 0: 400 MB)"
    parser.add_argument("--max-pixels", type=positive, metavar="N", help=text)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """--workers, --shard, --force, --other-processor."""
    text = "processes (default: one for each core, over --threads)"
    parser.add_argument("--workers", type=positive, metavar="N", help=text)
    text = "photographs that are finished together (default: 64, of many 256)"
    parser.add_argument("--shard", type=positive, metavar="N", help=text)
    parser.add_argument("--force", action="store_true", help="start over what was begun with other parameters")
    parser.add_argument(
        "--other-processor",
        action="store_true",
        help="go on with what a processor of other vectors began; each shard's record says which one made it",
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """--overwrite, the same for every command that writes a file of a name that the user chose."""
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")


def add_for_backend(parser: argparse.ArgumentParser) -> None:
    """--for-backend."""
    parser.add_argument(
        "--for-backend", metavar="NAME", help="what will run the models: nothing to do where that takes compiled ones"
    )


def runs_compiled(args: argparse.Namespace) -> bool:
    """Whether the back end of --for-backend runs compiled models, and so needs neither weights nor ONNX; says so.

    Raises:
        BackendError: there is no such back end.
    """
    if args.for_backend is None or not resolve_backend(args.for_backend).traits.compiled:
        return False
    note(args, f"{args.for_backend} runs compiled models, which `facepipe om` makes: nothing to do.")
    return True


def shard_size(args: argparse.Namespace, photographs: int) -> int:
    """Photographs of one shard: as asked, else such that few photographs still keep several workers busy."""
    if args.shard is not None:
        return int(args.shard)
    return 64 if photographs <= 4096 and not backend_by_name(args.backend).traits.process_per_call else 256


def number(text: str, kind: Callable[[str], Number], expected: str) -> Number:
    """A number, for argparse, which would tell the name of a function."""
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}', expected {expected}") from None


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    value = number(text, int, "a whole number")
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}, expected 1 or more")
    return value


def whole(text: str) -> int:
    """A whole number from 0, for argparse."""
    value = number(text, int, "a whole number")
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value}, expected 0 or more")
    return value


def cosine(text: str) -> float:
    """A cosine, for argparse."""
    value = number(text, float, "a cosine from -1 to 1")
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value}, expected a cosine from -1 to 1")
    return value


def least_face(text: str) -> int:
    """A whole number from PNet's 12 pixels, for argparse: below them a photograph would only be blown up."""
    value = number(text, int, "a whole number")
    if value < CELL:
        raise argparse.ArgumentTypeError(f"{value}, expected {CELL} or more")
    return value


def probability(text: str) -> float:
    """A number from 0 to, but not including, 1, for argparse."""
    value = number(text, float, "a number")
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{value}, expected 0 up to, but not including, 1")
    return value


def runtime_options(args: argparse.Namespace) -> RuntimeOptions:
    """What the command line says about sessions; compiled models are kept below the weights, if they can be written."""
    devices = tuple(args.devices or ())
    cache = args.weights / "cache" if os.access(args.weights, os.W_OK) else None
    return RuntimeOptions(args.threads, args.device, args.precision, cache, devices, args.any_chip)


def chosen_backend(
    args: argparse.Namespace, embedder: str | None, made_by: MadeBy | None = None, where: Path | None = None
) -> Backend:
    """The back end of the command line, resolved once; `args.backend` is its name afterwards. Says what runs what.

    Args:
        embedder: a name; None where only a detector runs.
        made_by: what made the run or the gallery `where`, if there is one: "auto" is that again.

    Raises:
        BackendError: it cannot be used here; or "auto" would go on with another arithmetic than `made_by`.
        DataError: the embedder wants landmarks, the detector gives none, and --allow-margin-crop was not given.
    """
    recogniser = None if embedder is None else find(embedder, args.weights)
    if embedder is not None and recogniser is not None and getattr(args, "det", not getattr(args, "aligned", False)):
        require_alignment(args.detector, embedder, args.allow_margin_crop, "--allow-margin-crop", args.weights)
    backend = resolve_backend(args.backend, runtime_options(args), made_by, where)
    require_available(backend)
    specs = (*detector_models(args.detector, args.weights), *((recogniser,) if recogniser is not None else ()))
    by_engine: dict[str, list[str]] = {}
    for name, engine in engines(backend, specs, args.weights, args.batch).items():
        by_engine.setdefault(engine, []).append(name)
    told = "; ".join(f"{', '.join(names)} by {engine}" for engine, names in by_engine.items())
    note(args, f"backend: {backend.name}{f' ({told})' if told else ''}")
    args.backend = backend.name
    return backend


def detector_settings(args: argparse.Namespace) -> DetectorSettings:
    """What the command line says about the detector, of its kind.

    Raises:
        DataError: no such detector, or --borders for one that is no cascade.
    """
    settings = everyday_settings(args.detector, args.size, compiled=takes_compiled(args.backend), weights=args.weights)
    return asked_settings(
        settings, batch=args.batch, min_face_px=args.min_face, least_score=args.least_score, borders=args.borders
    )


def worker_count(args: argparse.Namespace) -> int:
    """Processes: as asked, else the cores that this process may use, over the threads of one session."""
    if args.workers is not None:
        return int(args.workers)
    traits = backend_by_name(args.backend).traits
    if not traits.on_host:
        return max(1, len(args.devices or ())) * traits.processes_per_device
    return max(1, cores() // args.threads)


def chosen_embedder(args: argparse.Namespace) -> str:
    """The embedder that was named, else the first of the catalogue that is converted here, and says so.

    Raises:
        BackendError: none is converted.
    """
    if args.embedder is not None:
        return str(args.embedder)
    spec = trained_embedder(replace(open_workspace(), weights=args.weights))
    note(args, f"embedder: {spec.name} (the first that is converted in {args.weights})")
    return spec.name


def note_models(args: argparse.Namespace, told: str | None) -> None:
    """What a user has to know of the pair of models, if there is something."""
    note(args, told and f"note: {told}")


def note_left_out(args: argparse.Namespace, root: Path, left_out: Iterable[tuple[str, str]]) -> None:
    """Photographs below `root` that gave nothing, with their reasons."""
    for key, reason in left_out:
        note(args, for_terminal(f"{root / key}: left out, {reason}"))


def note_not_looked_at(
    args: argparse.Namespace, root: Path, keys: Iterable[str], unread: Iterable[str] = (), out: Path | None = None
) -> None:
    """What was not looked at below `root`; see `faces.photographs.notes_of`."""
    for told in notes_of(root, keys, unread, out):
        note(args, for_terminal(f"{root}: {told}"))


def limits(args: argparse.Namespace) -> Limits:
    """What is decoded of photographs, and the largest one that is looked at."""
    return limits_for(looked_at(detector_settings(args)) if args.size != 0 else 0, args.max_pixels)


def few_settings(args: argparse.Namespace, photographs: int) -> DetectorSettings:
    """`detector_settings` for so many photographs.

    Loading a kernel compiler takes longer than it saves on a handful of them; the bits are the same.
    """
    settings = detector_settings(args)
    return replace(settings, kernels="numpy") if photographs < _FEW else settings


def photograph_or_tell(args: argparse.Namespace, path: Path, command: str) -> Decoded | None:
    """One of `args.photographs`; None, and a line, when it cannot be read.

    Raises:
        DataError: it cannot be read, and it was the only one.
    """
    decoded = read_photograph(path, limits(args)).decoded
    if not isinstance(decoded, Unread):
        note_not_looked_at(args, path.parent, [path.name])
        return decoded
    if len(args.photographs) == 1:
        raise DataError(f"{path}: {decoded.reason}.")
    fault(for_terminal(f"facepipe {command}: {path}: {decoded.reason}."))
    return None
