# SPDX-License-Identifier: Apache-2.0
"""facepipe bench pnet --shape 1x3x40x48

Speed of one network on one back end, never accuracy: milliseconds of a call (the median) and rows per second, for each
input shape. Weights and input do not matter to it; the input is noise. Of an .om: the execution alone, which is what
vendors publish, at exactly a shape that it was compiled for, with the copies in and out beside it; 20 calls.

  facepipe bench rnet onet --batch 16 100 --threads 2           networks of one size, at several batches
  facepipe bench pnet --shape 1x3x40x48 --backend onnxruntime --threads 1 --device 0 --json
  facepipe bench pnet --shape 8x3x1500x1500 --backend pyacl     an .om that was compiled for that batch
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict

from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, model_file, open_session
from facepipe.backends.timing import LEAST_SECONDS, time_session
from facepipe.catalogue import model
from facepipe.cli.run_options import add_session_arguments, add_weights, positive
from facepipe.errors import DataError
from facepipe.specs import ModelSpec
from facepipe.terminal.output import add_output_arguments, heading, result

Shape = tuple[int, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of the catalogue")
    parser.add_argument(
        "--shape", type=shape, nargs="+", metavar="NxCxHxW", help="of the input (default: the network's own size)"
    )
    text = "of the network's own size (default: 1)"
    parser.add_argument("--batch", type=positive, nargs="+", default=[1], metavar="N", help=text)
    parser.add_argument("--backend", default="onnxruntime", metavar="NAME", help="one of `facepipe backends`")
    add_session_arguments(parser)
    add_weights(parser, "folder of models")
    text = f"of each (default: {LEAST_SECONDS})"
    parser.add_argument("--seconds", type=float, default=LEAST_SECONDS, metavar="S", help=text)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    backend = backend_by_name(
        args.backend, RuntimeOptions(args.threads, args.device, args.precision, any_chip=args.any_chip)
    )
    specs = [model(name, args.weights) for name in args.models]
    wanted = [(spec, size) for spec in specs for size in _shapes(spec, args)]
    heading(args, f"{'network':<26}{'input':<20}{'ms':>10}{'rows/s':>12}{'calls':>8}")
    for spec, size in wanted:
        with open_session(backend, spec, model_file(backend, spec, args.weights, size[0])) as session:
            latency = time_session(session, size, args.seconds)
        text, per_second = "x".join(map(str, size)), 1000 * size[0] / latency.median_ms
        about = {"model": spec.name, "shape": list(size), "backend": args.backend, "precision": args.precision}
        result(
            args,
            f"{spec.name:<26}{text:<20}{latency.median_ms:>10.3f}{per_second:>12,.1f}{latency.calls:>8}"
            + latency.in_words(size[0]),
            {**about, "threads": args.threads, **asdict(latency), "per_second": per_second},
        )
    return 0


def shape(text: str) -> Shape:
    """`1x3x40x48` as numbers, for argparse."""
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){3}", text):
        raise argparse.ArgumentTypeError(f"'{text}', expected four numbers from 1 as in 1x3x40x48")
    return tuple(map(int, text.split("x")))


def _shapes(spec: ModelSpec, args: argparse.Namespace) -> list[Shape]:
    """The input shapes to measure: as asked, or the network's own size at every batch.

    Raises:
        DataError: the network has no size of its own.
    """
    if args.shape is not None:
        return list(args.shape)
    _, *rest = spec.input.dims
    if not all(dim.is_fixed for dim in rest):
        sizes = ", ".join(map(str, rest))
        raise DataError(f"{spec.name} takes any size of [{sizes}], expected one to measure.", "--shape 1x3x40x48")
    return [(batch, *(dim.low for dim in rest)) for batch in args.batch]
