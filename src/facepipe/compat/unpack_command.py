# SPDX-License-Identifier: Apache-2.0
"""facepipe unpack --packed packed --outputs out --out embeddings

Turns the output files of msame, benchmark or ais_bench into embeddings by key: `embeddings.npy`, float32 [N, D] with
rows of length 1, and `keys.json`, in whose list `keys` entry i is the key of row i. Padding is dropped by the index.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from facepipe.catalogue import EMBEDDERS, model
from facepipe.embed.embedder import unit_rows
from facepipe.runs.unpack import unpack
from facepipe.store.bins import read_index
from facepipe.store.files import atomic_path, write_json
from facepipe.store.owned import claim
from facepipe.terminal.output import add_output_arguments, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--packed", required=True, type=Path, metavar="FOLDER", help="the packed folder, with index.json")
    add("--outputs", required=True, type=Path, metavar="FOLDER", help="the runner's outputs, or where it made folders")
    add("--out", required=True, type=Path, metavar="FOLDER", help="gets embeddings.npy and keys.json")
    add("--dtype", choices=["float32", "float16"], default="float32", help="of the output files")
    add("--position", type=int, default=0, metavar="I", help="which output of the model, from 0")
    add("--raw", action="store_true", help="keep the network's own lengths")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    claim(args.out, "--out with another folder.")
    embedder = read_index(args.packed).made_from.get("embedder")
    width = model(embedder).outputs[0].dims[1].high if embedder in EMBEDDERS else None
    found = unpack(args.packed, args.outputs, width=width, dtype=args.dtype, position=args.position)
    rows = found.rows if args.raw else unit_rows(found.rows, str(args.outputs))
    with atomic_path(args.out / "embeddings.npy") as part, part.open("wb") as target:
        np.save(target, rows)
    write_json(args.out / "keys.json", {"keys": list(found.keys)})
    text = f"{len(found.keys)} embeddings of {rows.shape[1]} numbers from {found.tool}'s files: {args.out}"
    record = {"out": str(args.out), "embeddings": len(found.keys), "dimension": rows.shape[1], "tool": found.tool}
    result(args, text, record)
    return 0
