# SPDX-License-Identifier: Apache-2.0
"""facepipe train mobilefacenet_small --data faces/ --out runs/mine

A recogniser learned from a set of aligned faces: a folder for each person, the Paddle port's records, insightface's
train.rec, or what `facepipe train-data pack` made of them. RECIPE is a name of docs/training.md or a TOML file; --set
changes a value. The same command again goes on where the run was, bit for bit; Ctrl-C saves first. In the end
runs/mine/weights.pt is the network (best.pt that of the best --verify), and page.html tells how it went.

  facepipe train mobilefacenet_small --data faces.lmdb --out runs/mine --set epochs=10 --verify lfw.bin cfp_fp.bin
  facepipe train fine_tune --data faces/ --out runs/tuned --init weights/mobilefacenet.pt
  torchrun --nproc_per_node 2 -m facepipe train mobilefacenet_128 --data faces.lmdb --out runs/mine
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.cli.run_options import positive, whole
from facepipe.terminal.output import add_output_arguments, bar, note, result
from facepipe.terminal.program import stop_at_a_good_place
from facepipe.train import require_packages

if TYPE_CHECKING:
    from facepipe.train.loop import Trained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="a recipe's name, or a TOML file")
    add("--data", type=Path, required=True, metavar="SET", help="aligned faces, each with its person")
    add("--out", type=Path, required=True, metavar="FOLDER", help="the run: checkpoints, log, page, weights")
    add("--set", dest="values", action="append", default=[], metavar="NAME=VALUE", help="a value of the recipe")
    add("--init", type=Path, metavar="WEIGHTS", help="a fine-tune: what the network begins with")
    add("--verify", type=Path, nargs="+", default=[], metavar="SET", help="verification sets; the first names the best")
    add("--loaders", type=whole, default=2, metavar="N", help="processes that read faces (default: %(default)s)")
    add("--threads", type=positive, metavar="N", help="of each training process (default: torch's choice)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    require_packages()
    from facepipe.train.data import open_set
    from facepipe.train.loop import TrainJob, train
    from facepipe.train.processes import joined
    from facepipe.train.recipe import read_recipe
    from facepipe.train.verify import open_verification

    recipe = read_recipe(args.recipe, args.values)
    spec, faces = recipe.model_spec(), open_set(args.data)
    sets = tuple(open_verification(path, spec) for path in args.verify)
    job = TrainJob(recipe, faces, args.out, args.init, sets, args.loaders)
    with joined(device=args.device, threads=args.threads) as processes, stop_at_a_good_place() as stop:
        steps = job.steps if processes.is_first else 0
        with bar(args, "steps", steps, hidden=not processes.is_first) as shown:
            trained = train(job, processes, stop=stop, tell=lambda line: note(args, line), progress=shown)
        if processes.is_first:
            result(args, _in_words(trained, spec.name), _record(trained))
    return 0


def _in_words(trained: Trained, model: str) -> str:
    accuracies = "".join(
        f", {name} {best.accuracy:.5f} at best (step {best.step})" for name, best in trained.accuracies.items()
    )
    lines = [f"step {trained.step} of {trained.steps}{accuracies}", f"{trained.weights}"]
    if trained.is_done:
        file = trained.best or trained.weights
        lines.append(f"as a model: facepipe import {file} --like {model} --name NAME")
    return "\n".join(lines)


def _record(trained: Trained) -> dict[str, object]:
    return {
        "step": trained.step,
        "steps": trained.steps,
        "weights": str(trained.weights),
        "best": None if trained.best is None else str(trained.best),
        "accuracies": {name: asdict(best) for name, best in trained.accuracies.items()},
    }
