# SPDX-License-Identifier: Apache-2.0
"""facepipe om --soc Ascend310 --batch 16 --dry-run

Compiles ONNX models for an Ascend chip with ATC, which is part of the CANN toolkit and needs no device. What the
guide forbids is refused before ATC is started. Beside each .om lies a .om.json that says what it was made from.

  facepipe om pnet rnet onet --soc Ascend310P3 --shapes range
  facepipe om --plan plan.json                  for photographs of other sizes than LFW's; see `facepipe plan`
  facepipe om facenet.vggface2 --aipp           the .om takes bytes; (x - mean) * scale happens on the chip
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from facepipe.backends.ascend.board import require_soc
from facepipe.catalogue import detector_models, embedder, model
from facepipe.catalogue.chip_precision import INT8
from facepipe.catalogue.chips import Soc, takes_ranges
from facepipe.cli.ascend_options import (
    add_chip_arguments,
    add_photograph_arguments,
    chosen_cann,
    chosen_plan,
    has_onnx,
)
from facepipe.cli.run_options import add_weights
from facepipe.convert.ascend.amct import PREFIX, amct_command
from facepipe.convert.ascend.atc import (
    Order,
    aipp_path,
    atc_command,
    find_atc,
    installed_cann,
    made_from,
    om_from_onnx,
    orders_of,
    render,
    shapes_in_words,
)
from facepipe.convert.ascend.atc_options import AtcOptions, split_options
from facepipe.convert.ascend.plan import parse_size, read_plan
from facepipe.errors import ConversionError
from facepipe.specs import ModelSpec
from facepipe.store.made_from import is_current
from facepipe.terminal.output import add_output_arguments, heading, note, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "names of the catalogue (default: those of --detector and --embedder)"
    parser.add_argument("models", nargs="*", metavar="MODEL", help=text)
    parser.add_argument("--detector", default="mtcnn", metavar="NAME", help="default: mtcnn")
    parser.add_argument("--embedder", default="facenet.vggface2", metavar="NAME", help="default: facenet.vggface2")
    add_chip_arguments(parser)
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="rows of one execution (default: 16)")
    parser.add_argument(
        "--shapes",
        choices=("gears", "range", "static"),
        default="gears",
        help="fixed steps, a range where the chip takes one, or one shape",
    )
    parser.add_argument(
        "--image-sizes", nargs="+", metavar="HxW", help="the gears of a network of many image sizes, instead of a plan"
    )
    parser.add_argument("--plan", type=Path, metavar="FILE", help="the file of `facepipe plan --out`")
    text = "photographs whose sizes are read for the plan"
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help=text)
    add_photograph_arguments(parser)
    text = "a value of --precision_mode or --precision_mode_v2 that the chip has or int8 (default: half precision)"
    parser.add_argument("--precision", metavar="NAME", help=text)
    parser.add_argument("--aipp", action="store_true", help="fold (x - mean) * scale in, where the catalogue allows it")
    parser.add_argument("--small-channel", action="store_true", help="ATC's faster first convolution of three channels")
    parser.add_argument(
        "--keep-dtype", type=Path, metavar="FILE", help="operators that keep float32, as ATC lists them"
    )
    text = "processor of the machine that loads a model of a range (default: this one's)"
    parser.add_argument("--host-cpu", choices=("aarch64", "x86_64"), help=text)
    parser.add_argument("--model-bank", type=Path, metavar="FOLDER", help="what `aoe --job_type=1` tuned")
    parser.add_argument("--operator-bank", type=Path, metavar="FOLDER", help="what `aoe --job_type=2` tuned")
    parser.add_argument("--atc-options", default="", metavar="WORDS", help="other options of ATC, --name=value each")
    add_weights(parser, "folder of models")
    text = "folder of logs (default: runs/atc)"
    parser.add_argument("--logs", type=Path, default=Path("runs/atc"), metavar="FOLDER", help=text)
    parser.add_argument("--dry-run", action="store_true", help="print the commands; needs no CANN and no ONNX files")
    parser.add_argument("--force", action="store_true", help="compile again what is up to date")
    parser.add_argument("--no-check", action="store_true", help="skip the pre-flight (see `facepipe check`)")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    soc = require_soc(args.soc)
    cann = chosen_cann(args)
    specs = [model(name, args.weights) for name in args.models] or [
        *detector_models(args.detector, args.weights),
        embedder(args.embedder, args.weights),
    ]
    orders = _orders(args, specs, soc, cann)
    commands = [atc_command(order) for order in orders]  # all are refused before one is started
    if args.dry_run:
        here = "installed" if installed_cann(os.environ) else "none is installed here; --cann names another"
        source = "asked for" if args.cann else here
        heading(args, f"# {soc.name}, CANN {cann} ({source})")
        for order, command in zip(orders, commands, strict=True):
            _tell_dry(args, order, render(command))
        return 0
    find_atc(os.environ)
    missing = [order for order in orders if not order.onnx.is_file()]
    if missing:
        names = " ".join(order.spec.name for order in missing)
        what, again = ("quantised", "quantise") if missing[0].precision == INT8 else ("final", "onnx")
        raise ConversionError(
            f"{missing[0].onnx}: no such file, expected the {what} ONNX of {missing[0].spec.name}.",
            f"`facepipe {again} {names}`",
        )
    if not args.no_check:
        _check(args, orders)
    for order in orders:
        if not args.force and is_current(order.om, made_from(order)):
            record = {"model": order.spec.name, "file": str(order.om), "up_to_date": True}
            result(args, f"{order.om}: up to date", record)
            continue
        log = args.logs / f"{order.om.stem}.log"
        note(args, f"{order.spec.name}: compiling, this takes minutes; the log will be {log}")
        made = om_from_onnx(order, log)
        origin = made.made_from.inputs["onnx"]
        text = f"{order.om}: {shapes_in_words(order)}, {made.facts['precision']}, from {origin[:12]}"
        record = {"model": order.spec.name, "file": str(order.om), "up_to_date": False, "onnx_sha256": origin}
        result(args, text, record | {"shapes": shapes_in_words(order), "precision": made.facts["precision"]})
    return 0


def _check(args: argparse.Namespace, orders: list[Order]) -> None:
    """The pre-flight: ATC takes minutes to say what it says at once.

    Raises:
        ConversionError: a model has a blocker.
    """
    if not has_onnx():
        note(args, "om: no module named 'onnx', so the pre-flight is left out; pip install onnx")
        return
    from facepipe.convert.ascend.preflight import require_no_blocker

    for order in orders:
        if order.precision != INT8:  # AMCT replaces what ATC has no parser for
            require_no_blocker(order.onnx, order.soc, order.cann, order.precision)


def _orders(args: argparse.Namespace, specs: list[ModelSpec], soc: Soc, cann: str) -> list[Order]:
    if args.image_sizes:
        sizes, letterbox = tuple(parse_size(text) for text in args.image_sizes), False
    else:
        gears = (read_plan(args.plan) if args.plan else chosen_plan(args, soc)).gears
        sizes, letterbox = gears.gears, bool(gears.padded)
    banks, others = (args.model_bank, args.operator_bank), split_options(args.atc_options)
    options = AtcOptions(args.small_channel, args.keep_dtype, args.host_cpu, *banks, others)
    how = args.batch, args.shapes, sizes, letterbox, args.precision, args.aipp, options
    return orders_of(specs, args.weights, soc, cann, *how)


def _tell_dry(args: argparse.Namespace, order: Order, command: str) -> None:
    heading(args, f"# {order.spec.name}: {shapes_in_words(order)}")
    if order.precision == INT8:
        heading(args, f"# before that: {shlex.join(amct_command(str(order.onnx), str(order.om.parent / PREFIX)))}")
    record = {"model": order.spec.name, "file": str(order.om), "shapes": shapes_in_words(order), "command": command}
    result(args, command, record)
    if order.aipp:
        heading(args, f"# {aipp_path(order)} is written before that")
    if order.shapes == "gears" and order.spec.atc.gears != "none" and takes_ranges(order.soc, order.cann):
        ranged = Order(order.spec, order.onnx, order.om, order.soc, order.cann, order.batch, "range", order.image_sizes)
        option = next(word for word in atc_command(ranged) if word.startswith("--input_shape"))
        heading(args, f"# {order.soc.name} takes a range too, with --shapes range: {render((option,))}")
