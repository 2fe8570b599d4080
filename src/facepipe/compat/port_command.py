# SPDX-License-Identifier: Apache-2.0
"""facepipe port train --network MobileFaceNet_128 --lr 0.1 --batch_size 512 --output emore_arcface

The programs of the Paddle port of ArcFace by their flags; `train/arcface/` has doors to them. What its config.py said
is an option here: the folder of the data, which has label.txt and lfw.bin, and the number of epochs.

  facepipe port valid --network MobileFaceNet_128 --checkpoint emore_arcface
  facepipe port export --network MobileFaceNet_128 --output inference --pretrained_model F.pdparams
  torchrun --nproc_per_node 2 -m facepipe port train --output emore_arcface    --batch_size is that of each process
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from facepipe.compat.port_training import LOSSES, NETWORKS, PortFlags, exported, job_of, trained, validated
from facepipe.terminal.output import add_output_arguments, bar, heading, note, result
from facepipe.terminal.program import stop_at_a_good_place
from facepipe.train import require_packages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="the port's train.py")
    valid = commands.add_parser("valid", help="the port's valid.py")
    export = commands.add_parser("export", help="the port's export_inference_model.py")
    for command in (train, valid, export):
        text = f"one of {', '.join(NETWORKS)} (default: %(default)s)"
        command.add_argument("--network", default="MobileFaceNet_128", metavar="NAME", help=text)
        add_output_arguments(command)
    add = train.add_argument
    add("--loss", default="ArcFace", metavar="NAME", help=f"one of {', '.join(LOSSES)} (default: %(default)s)")
    add("--lr", type=float, default=0.1, metavar="RATE", help="learning rate, not scaled (default: %(default)s)")
    add("--batch_size", type=int, default=512, metavar="N", help="faces of a step in each process (default: 512)")
    add("--weight_decay", type=float, default=2e-4, metavar="X", help="default: %(default)s")
    add("--embedding_size", type=int, default=128, metavar="N", help="of the network (default: %(default)s)")
    add("--logdir", type=Path, default=Path("log"), metavar="FOLDER", help="not used: page.html is in --output")
    add("--output", type=Path, default=Path("emore_arcface"), metavar="FOLDER", help="the run (default: %(default)s)")
    add("--resume", type=int, choices=(0, 1), default=0, help="1: go on with the run in --output; 0: begin anew")
    add("--is_bin", default="True", metavar="BOOL", help="not used: what the records are is seen")
    text = "label.txt and its records, or any other set, and lfw.bin, ... (default: %(default)s)"
    add("--data_dir", type=Path, default=Path("MS1M_bin"), metavar="FOLDER", help=text)
    add("--num_epoch", type=int, default=32, metavar="N", help="epochs (default: %(default)s)")
    add("--save_centres", action="store_true", help="write rank:R_softmax_weight.pkl and its momentum, too")
    add("--set", dest="values", action="append", default=[], metavar="NAME=VALUE", help="a value of the recipe")
    add("--loaders", type=int, default=2, metavar="N", help="processes that read faces (default: %(default)s)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    add = valid.add_argument
    add("--checkpoint", type=Path, default=Path("emore_arcface"), metavar="FOLDER", help="has NETWORK.pdparams")
    add("--data_dir", type=Path, default=Path("MS1M_v2"), metavar="FOLDER", help="has lfw.bin, cfp_fp.bin, ...")
    add("--batch_size", type=int, default=50, metavar="N", help="faces in one call (default: %(default)s)")
    add = export.add_argument
    add("--pretrained_model", type=Path, required=True, metavar="FILE", help="weights, .pdparams or .pt")
    text = "gets inference.onnx (default: %(default)s)"
    add("--output", "--output_path", type=Path, default=Path("inference"), metavar="FOLDER", help=text)
    add("--overwrite", action="store_true", help="replace another file of that name")


def run(args: argparse.Namespace) -> int:
    return _COMMANDS[args.command](args)


def _train(args: argparse.Namespace) -> int:
    require_packages()
    from facepipe.train.processes import joined

    flags = PortFlags(
        args.network,
        args.loss,
        args.lr,
        args.batch_size,
        args.weight_decay,
        args.embedding_size,
        args.output,
        bool(args.resume),
        args.data_dir,
        args.num_epoch,
        args.save_centres,
        tuple(args.values),
        args.loaders,
    )
    with joined(device=args.device) as processes, stop_at_a_good_place() as stop:
        job = job_of(flags, processes.world)
        with bar(args, "steps", job.steps, hidden=not processes.is_first) as shown:
            done, files = trained(flags, job, processes, stop, lambda line: note(args, line), shown)
        if processes.is_first:
            lines = [f"step {done.step} of {done.steps}", *map(str, files)]
            result(args, "\n".join(lines), {"step": done.step, "steps": done.steps, "files": list(map(str, files))})
    return 0


def _valid(args: argparse.Namespace) -> int:
    lines = []
    for line in validated(args.network, args.checkpoint, args.data_dir, args.batch_size):
        heading(args, line)
        lines.append(line)
    result(args, f"{len(lines) // 3} sets", {"network": args.network, "lines": lines})
    return 0


def _export(args: argparse.Namespace) -> int:
    target = exported(args.network, args.pretrained_model, args.output, overwrite=args.overwrite)
    text = f"{target}: ONNX in place of Paddle's inference.pdmodel and .pdiparams"
    result(args, text, {"network": args.network, "file": str(target)})
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {"train": _train, "valid": _valid, "export": _export}
