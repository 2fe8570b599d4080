# SPDX-License-Identifier: Apache-2.0
"""What the commands for Ascend share: the chip, the CANN release, the photographs' sizes; and that ONNX can be read."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections import Counter

from facepipe.catalogue.chips import DEFAULT_CANN, Soc
from facepipe.convert.ascend.atc import installed_cann
from facepipe.convert.ascend.plan import Plan, parse_size, photograph_sizes, plan_gears
from facepipe.datasets.images import list_keys
from facepipe.detect.mtcnn import MtcnnSettings
from facepipe.errors import BackendError
from facepipe.terminal.output import bar


def add_chip_arguments(parser: argparse.ArgumentParser) -> None:
    """--soc, --cann."""
    parser.add_argument("--soc", metavar="CHIP", help="the chip, as Ascend310P3 (default: the board's own)")
    parser.add_argument(
        "--cann",
        metavar="RELEASE",
        help=f"release whose dialect is spoken, or 'old' or 'new' (default: the installed one, else {DEFAULT_CANN})",
    )


def chosen_cann(args: argparse.Namespace) -> str:
    """The CANN release: as asked, else the installed one, else the one that this house knows best."""
    return args.cann or installed_cann(os.environ) or DEFAULT_CANN


def add_photograph_arguments(parser: argparse.ArgumentParser) -> None:
    """--sizes, --min-face, --most-gears: what tells the sizes of the photographs."""
    defaults = MtcnnSettings()
    parser.add_argument("--sizes", nargs="+", metavar="HxW", help="sizes in pixels (default: 250x250, which LFW's are)")
    parser.add_argument(
        "--min-face", type=int, default=defaults.min_face_px, metavar="PIXELS", help="least face (default: %(default)s)"
    )
    text = "at most as many as an .om for the chip may have: 100, for 950 256"
    parser.add_argument("--most-gears", type=int, metavar="N", help=text)


def chosen_plan(args: argparse.Namespace, soc: Soc) -> Plan:
    """The plan for what the arguments say of the photographs, with the gears of the chip.

    Raises:
        DataError: sizes of a wrong form, or no photograph is large enough for the least face.
    """
    if args.photographs is None:
        counts = Counter(parse_size(text) for text in args.sizes or ["250x250"])
    else:
        keys = list_keys(args.photographs)
        with bar(args, "sizes", len(keys), "photo") as progress:
            counts = photograph_sizes(args.photographs, keys, progress)
    return plan_gears(counts, args.min_face, MtcnnSettings().factor, args.most_gears or soc.most_gears, soc.most_gears)


def has_onnx() -> bool:
    """Whether ONNX files can be read here; a board, and a machine that only compiles, may lack the package."""
    return importlib.util.find_spec("onnx") is not None


def need_onnx() -> None:
    """Raise BackendError where the package onnx is absent."""
    if not has_onnx():
        raise BackendError("no module named 'onnx', which reads the model files.", "pip install onnx, without torch.")
