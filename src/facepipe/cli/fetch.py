# SPDX-License-Identifier: Apache-2.0
"""facepipe fetch mtcnn facenet.vggface2

Puts weights into weights/ and data sets into data/, digests checked. What is there already, or in the local mirror
that FACEPIPE_ASSETS names, is left where it is, and weights whose converted model is here are not needed. A download
that was cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from facepipe.assets.download import Progress
from facepipe.assets.lfw import fetch_lfw
from facepipe.assets.workspace import Workspace, fetch_weights, find_weights, known_digest, open_workspace
from facepipe.catalogue import DETECTORS, MODELS
from facepipe.cli.run_options import add_for_backend, runs_compiled
from facepipe.convert.onnx.report import finished
from facepipe.errors import AssetError, DataError
from facepipe.specs import ModelSpec, Recipe, UserFile
from facepipe.store.parts import remove_parts

DATA_SETS: dict[str, Callable[[Workspace, Progress], tuple[Path, Path]]] = {"lfw": fetch_lfw}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        default=["mtcnn"],
        help=f"models of the catalogue, {', '.join((*DETECTORS, *DATA_SETS))}, or all (default: mtcnn)",
    )
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of weights")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    add_for_backend(parser)


def run(args: argparse.Namespace) -> int:
    if runs_compiled(args):
        return 0
    ws = replace(open_workspace(), weights=args.weights, data=args.data)
    names = expand(args.names)
    for folder in (ws.weights, ws.data, ws.data / "lfw"):
        remove_parts(folder)
    if "all" not in args.names:
        for name in names:
            print(fetch(name, ws), flush=True)
        return 0
    failed = []
    for name in names:
        try:
            print(fetch(name, ws), flush=True)
        except AssetError as error:
            print(f"{name}: absent. {error}", file=sys.stderr)
            failed.append(name)
    if failed:
        raise AssetError(f"{len(failed)} of {len(names)} could not be fetched ({', '.join(failed)}); see above.")
    return 0


def expand(names: Sequence[str]) -> list[str]:
    """The models and data sets that `names` stand for, each once, in order. "all" leaves out what only a user has.

    Raises:
        DataError: a name is none of a model, detector, data set or "all".
    """
    obtainable = [name for name, spec in MODELS.items() if not isinstance(spec.weights.origin, UserFile)]
    groups = {"all": (*obtainable, *DATA_SETS)} | DETECTORS
    choices = list(dict.fromkeys((*groups, *MODELS, *DATA_SETS)))
    for name in names:
        if name not in choices:
            near = difflib.get_close_matches(name, choices, n=1)
            raise DataError(
                f"'{name}' is nothing that can be fetched, expected one of {', '.join(choices)}.",
                f"did you mean '{near[0]}'?" if near else None,
            )
    return list(dict.fromkeys(part for name in names for part in groups.get(name, (name,))))


def fetch(name: str, ws: Workspace) -> str:
    """Fetch one model's weights or one data set; return a line on where it is now."""
    with progress_bar(name) as progress:
        if name in DATA_SETS:
            images, pairs = DATA_SETS[name](ws, progress)
            return f"{name}: {images}, {pairs}"
        return _fetch_model(MODELS[name], ws, progress)


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A progress that draws a bar in bytes on standard error, where that is a terminal; gone when it is done."""
    with tqdm(desc=label, unit="B", unit_scale=True, leave=False, disable=None) as bar:

        def progress(done: int, total: int | None) -> None:
            if done < bar.n:  # the next file
                bar.reset(total)
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _fetch_model(spec: ModelSpec, ws: Workspace, progress: Progress) -> str:
    if isinstance(spec.weights.origin, Recipe):
        return f"{spec.name}: nothing to fetch, {spec.weights.origin}"
    if find_weights(spec, ws) is None and finished(spec, spec.weights.sha256, ws.weights) is not None:
        return f"{spec.name}: nothing to fetch, {spec.final(ws.weights)} is converted from it already"
    path = fetch_weights(spec, ws, progress)
    checked = "as the catalogue says" if spec.weights.sha256 else "none was published; this one was seen first"
    return f"{spec.name}: {path}, {path.stat().st_size:,} bytes, sha256 {known_digest(spec, path)} ({checked})"
