# SPDX-License-Identifier: Apache-2.0
"""The options that every command over photographs shares, and what becomes of them."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from facepipe.assets.workspace import find_weights, open_workspace
from facepipe.backends import PROCESS_PER_CALL, backend_names
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import DETECTORS, EMBEDDERS, MODELS
from facepipe.datasets.images import read
from facepipe.detect import DetectorSettings, default_settings
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.errors import BackendError, DataError
from facepipe.escape import for_terminal
from facepipe.faces.photographs import MAX_PIXELS
from facepipe.faces.select import SELECTIONS
from facepipe.geometry.pyramid import CELL

DEFAULT_BATCH = 16


def add_model_arguments(parser: argparse.ArgumentParser, *, embeds: bool = True) -> None:
    """--detector, --embedder, --weights, --backend, --batch, --precision, --threads, --device, --min-face, --select."""
    parser.add_argument("--detector", default="mtcnn", metavar="NAME", help=f"one of {', '.join(DETECTORS)}")
    if embeds:
        parser.add_argument(
            "--embedder", metavar="NAME", help=f"one of {', '.join(EMBEDDERS)} (default: the first that is converted)"
        )
        parser.add_argument(
            "--select", default="center_weighted_size", choices=list(SELECTIONS), help="which face of a photograph"
        )
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of converted models")
    parser.add_argument("--backend", default="onnxruntime", metavar="NAME", help=f"one of {', '.join(backend_names())}")
    parser.add_argument("--precision", default="f32", help="what the back end computes in (default: f32)")
    parser.add_argument("--batch", type=positive, default=DEFAULT_BATCH, help="photographs, or crops, in one call")
    parser.add_argument("--threads", type=positive, default=1, help="of one session (default: 1)")
    parser.add_argument("--device", type=int, default=0, help="number of the device, where the back end has several")
    parser.add_argument("--devices", type=int, nargs="+", metavar="N", help="several devices, one process for each")
    parser.add_argument("--min-face", type=least_face, default=20, metavar="PIXELS", help="least face looked for")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """--workers, --shard, --force."""
    parser.add_argument(
        "--workers", type=positive, default=None, help="processes (default: one for each core, over --threads)"
    )
    parser.add_argument(
        "--shard", type=positive, default=None, help="photographs that are finished together (default: 64, of many 256)"
    )
    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"pixels of the largest photograph that is looked at (default: {MAX_PIXELS:,}); each takes some 25 bytes",
    )
    parser.add_argument("--force", action="store_true", help="start over what was begun with other parameters")


def shard_size(args: argparse.Namespace, photographs: int) -> int:
    """Photographs of one shard: as asked, else such that few photographs still keep several workers busy."""
    if args.shard is not None:
        return int(args.shard)
    return 64 if photographs <= 4096 and args.backend not in PROCESS_PER_CALL else 256


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}, expected 1 or more")
    return value


def least_face(text: str) -> int:
    """A whole number from PNet's 12 pixels, for argparse: below them a photograph would only be blown up."""
    value = int(text)
    if value < CELL:
        raise argparse.ArgumentTypeError(f"{value}, expected {CELL} or more")
    return value


def runtime_options(args: argparse.Namespace) -> RuntimeOptions:
    """What the command line says about sessions; compiled models are kept below the weights, if they can be written."""
    devices = tuple(args.devices or ())
    cache = args.weights / "cache" if os.access(args.weights, os.W_OK) else None
    return RuntimeOptions(args.threads, args.device, args.precision, cache, devices)


def mtcnn_settings(args: argparse.Namespace) -> MtcnnSettings:
    """What the command line says about the cascade."""
    return replace(MtcnnSettings(), min_face_px=args.min_face, batch=args.batch)


def detector_settings(args: argparse.Namespace) -> DetectorSettings:
    """What the command line says about the detector, of its kind.

    Raises:
        DataError: no such detector, or --min-face for one that has no pyramid.
    """
    settings = default_settings(args.detector)
    if isinstance(settings, MtcnnSettings):
        return mtcnn_settings(args)
    if args.min_face != MtcnnSettings().min_face_px:
        raise DataError(f"--min-face: {args.min_face} was asked for, and {args.detector} has no pyramid to set it on.")
    return replace(settings, batch=args.batch)


def worker_count(args: argparse.Namespace) -> int:
    """Processes: as asked, else the cores that this process may use, over the threads of one session."""
    if args.workers is not None:
        return int(args.workers)
    if args.backend not in ("onnxruntime", "openvino", "null"):
        return max(1, len(args.devices or ()))  # one process for each device: a second one would share it
    return max(1, cores() // args.threads)


def cores() -> int:
    """Cores that this process may use; in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen_embedder(args: argparse.Namespace) -> str:
    """The embedder that was named, else the first of the catalogue that is converted here, and says so.

    Seeded weights are never a default: their embeddings mean nothing.

    Raises:
        BackendError: none is converted.
    """
    if args.embedder is not None:
        return str(args.embedder)
    candidates = [MODELS[name] for name in EMBEDDERS if MODELS[name].for_accuracy]
    for spec in candidates:
        if spec.final(args.weights).is_file() or any(args.weights.glob(f"{spec.name}.*om")):
            print(f"embedder: {spec.name} (the first that is converted in {args.weights})", file=sys.stderr)
            return spec.name
    ws = replace(open_workspace(), weights=args.weights)
    present = next((spec.name for spec in candidates if find_weights(spec, ws) is not None), None)
    raise BackendError(
        f"{args.weights}: no embedder is converted here, expected one of {', '.join(s.name for s in candidates)}.",
        f"`facepipe onnx {present}`" if present else "`facepipe fetch facenet.vggface2`, then `facepipe onnx`.",
    )


def read_or_tell(path: Path, command: str, *, alone: bool) -> np.ndarray | None:
    """One of the photographs that a command was given, uint8 [H, W, 3]; None, and a line, when it cannot be read.

    Raises:
        DataError: it cannot be read, and it was the only one.
    """
    try:
        return read(path)
    except DataError as error:
        if alone:
            raise
        print(f"facepipe {command}: {for_terminal(str(error))}", file=sys.stderr)
        return None
