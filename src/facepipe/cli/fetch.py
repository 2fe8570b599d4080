# SPDX-License-Identifier: Apache-2.0
"""facepipe fetch mtcnn facenet.vggface2

Puts weights into weights/ and data sets into data/, digests checked. What is there already, or in the local mirror
that FACEPIPE_ASSETS names, is left where it is, and weights whose converted model is here are not needed. A download
that was cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from facepipe.assets.download import Progress
from facepipe.assets.workspace import Workspace, home_folder, open_workspace
from facepipe.catalogue import DETECTORS
from facepipe.cli.run_options import add_for_backend, add_weights, runs_compiled
from facepipe.errors import AssetError
from facepipe.escape import for_terminal
from facepipe.runs.fetch import DATA_SETS, fetch, names_of, remove_unfinished
from facepipe.terminal.output import add_output_arguments, fault, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        default=["mtcnn"],
        help=f"models of the catalogue, {', '.join((*DETECTORS, *DATA_SETS))}, or all (default: mtcnn)",
    )
    add_weights(parser, "folder of weights")
    text = "folder of data sets (default: data beside weights)"
    parser.add_argument("--data", type=Path, default=home_folder() / "data", metavar="FOLDER", help=text)
    add_for_backend(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if runs_compiled(args):
        return 0
    ws = replace(open_workspace(), weights=args.weights, data=args.data)
    names, failed = names_of(args.names), []
    remove_unfinished(ws)
    for name in names:
        try:
            _fetch(args, name, ws)
        except AssetError as error:
            if "all" not in args.names:
                raise
            fault(for_terminal(f"{name}: absent. {error}"))
            failed.append(name)
    if failed:
        raise AssetError(f"{len(failed)} of {len(names)} could not be fetched ({', '.join(failed)}); see above.")
    return 0


def _fetch(args: argparse.Namespace, name: str, ws: Workspace) -> None:
    with _bytes_bar(args, name) as progress:
        told = fetch(name, ws, progress)
    result(args, told, {"name": name, "told": told.removeprefix(f"{name}: ")})


@contextmanager
def _bytes_bar(args: argparse.Namespace, label: str) -> Iterator[Progress]:
    """A progress that draws a bar in bytes on standard error, where that is a terminal; gone when it is done."""
    with tqdm(desc=label, unit="B", unit_scale=True, leave=False, disable=True if args.quiet else None) as bar:

        def progress(done: int, total: int | None) -> None:
            if done < bar.n:  # the next file
                bar.reset(total)
            bar.total = total
            bar.update(done - bar.n)

        yield progress
