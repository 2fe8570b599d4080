# SPDX-License-Identifier: Apache-2.0
"""facepipe vendor mtcnn-preprocess --model Pnet --data_dir data/lfw --batch_size 16

The commands of the vendor's FaceNet project, with its options, files and folders: `preprocess/` and `postprocess/` are
doors to them. Where the vendor ran an .om, the environment's BACKEND chooses what runs, onnxruntime when it is unset.
Models are looked for in ./weights under the vendor's names (PNet_truncated_fix.onnx), then under facepipe's.

  facepipe vendor facenet-preprocess --crop_dir data/lfw_crop --save_dir data/input --batch_size 16
  facepipe vendor gen-dataset-info bin data/input/Facenet_16/xb_results data/facenet.info 160 160
  facepipe vendor batch-utils --batch_size 16 --data_root_path data/output --save_root_path data/output/split
  facepipe vendor facenet-postprocess --crop_dir lfw_crop --test_dir output/split --ONet_output_dir onet.json
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from facepipe.assets.workspace import weights_folder
from facepipe.backends import backend_by_name
from facepipe.backends.base import Backend, RuntimeOptions, model_file, open_session
from facepipe.catalogue import model
from facepipe.compat.vendor_postprocess import score_rows, split_batches
from facepipe.compat.vendor_preprocess import (
    Split,
    SplitJob,
    pack_crop_folder,
    run_onet,
    run_pnet,
    run_rnet,
    write_bin_info,
    write_photograph_info,
)
from facepipe.datasets.images import list_keys
from facepipe.escape import for_terminal
from facepipe.specs import ModelSpec
from facepipe.store.owned import require_free

_STAGES = {"pnet": run_pnet, "rnet": run_rnet, "onet": run_onet}
_VENDOR_NAMES = {"pnet": "PNet", "rnet": "RNet", "onet": "ONet"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    mtcnn = commands.add_parser("mtcnn-preprocess", help="one network of MTCNN over a folder of photographs")
    mtcnn.add_argument(
        "--model", required=True, type=str.lower, choices=list(_STAGES), metavar="Pnet|Rnet|Onet", help="the network"
    )
    mtcnn.add_argument("--data_dir", required=True, metavar="FOLDER", help="the photographs, <person>/<photograph>")
    mtcnn.add_argument("--batch_size", type=_count, default=1, metavar="N", help="photographs, or crops, of one call")
    mtcnn.add_argument("--device_id", type=int, default=0, metavar="N", help="of a back end that has devices")
    pack = commands.add_parser("facenet-preprocess", help="crops to .bin batches")
    pack.add_argument("--crop_dir", required=True, type=Path, metavar="FOLDER", help="what --model Onet cut out")
    pack.add_argument(
        "--save_dir", required=True, type=Path, metavar="FOLDER", help="gets xb_results, yb_results and index.json"
    )
    pack.add_argument("--batch_size", type=_count, default=1, metavar="N", help="crops of one .bin")
    info = commands.add_parser("gen-dataset-info", help="the list of inputs that benchmark reads")
    info.add_argument("file_type", choices=["bin", "jpg"], help="what the inputs are")
    info.add_argument("file_path", type=Path, metavar="FOLDER", help="folder of the inputs")
    info.add_argument("info_name", type=Path, metavar="FILE", help="the list to write")
    info.add_argument("size", nargs="*", type=_count, metavar="WIDTH HEIGHT", help="of .bin files")
    info.add_argument("--overwrite", action="store_true", help="replace a list that is there already")
    split = commands.add_parser("batch-utils", help="outputs of batches to one file for each image")
    split.add_argument("--batch_size", type=_count, required=True, metavar="N", help="images of one batch")
    split.add_argument("--data_root_path", type=Path, required=True, metavar="FOLDER", help="the runner's outputs")
    split.add_argument("--save_root_path", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    split.add_argument(
        "--index", type=Path, metavar="FOLDER", help="the packed folder (default: data/input/Facenet_<batch_size>)"
    )
    score = commands.add_parser("facenet-postprocess", help="LFW accuracy from one file for each image")
    text = "LFW's pairs (default: data/pairs.txt)"
    score.add_argument("--pair_path", type=Path, default=Path("data/pairs.txt"), metavar="FILE", help=text)
    score.add_argument("--crop_dir", type=Path, required=True, metavar="FOLDER", help="what --model Onet cut out")
    score.add_argument("--test_dir", type=Path, required=True, metavar="FOLDER", help="one file for each image")
    score.add_argument("--ONet_output_dir", type=Path, required=True, metavar="FILE", help="onet.json")


def run(args: argparse.Namespace) -> int:
    return _COMMANDS[args.command](args)


def _mtcnn_preprocess(args: argparse.Namespace) -> int:
    spec = model(args.model)
    backend = backend_by_name(os.environ.get("BACKEND") or "onnxruntime", RuntimeOptions(device=args.device_id))
    file = _model_path(backend, spec, args.batch_size)
    print(f"{spec.name}: {file} on {backend.name}", file=sys.stderr)
    total = len(list_keys(Path(args.data_dir)))
    with open_session(backend, spec, file) as session, _bar(total, spec.name) as bar:
        job = SplitJob(args.data_dir, args.batch_size, backend=backend.name)
        done = _STAGES[args.model](job, session.run, bar.update)
    for key, reason in done.no_face.items():
        print(f"{for_terminal(key)}: {for_terminal(reason)}", file=sys.stderr)
    print(_sentence(args.model, done))
    return 0


def _sentence(name: str, done: Split) -> str:
    what = "crops" if name == "onet" else "boxes"
    return f"{done.written}: {done.found} {what} from {done.photographs} photographs, {len(done.no_face)} without"


def _model_path(backend: Backend, spec: ModelSpec, batch: int) -> Path:
    """The vendor's file where it is there, else the catalogue's."""
    weights, name = weights_folder(), _VENDOR_NAMES[spec.name]
    theirs = weights / (f"{name}_dynamic.om" if backend.traits.compiled else f"{name}_truncated_fix.onnx")
    return theirs if theirs.is_file() else model_file(backend, spec, weights, batch)


def _facenet_preprocess(args: argparse.Namespace) -> int:
    with _bar(len(list_keys(args.crop_dir)), "pack") as bar:
        index = pack_crop_folder(args.crop_dir, args.save_dir, args.batch_size, bar.update)
    print(
        f"{args.save_dir / index.folder}: {len(index.files)} batches of {index.tensor.batch}, {len(index.keys)} crops"
    )
    return 0


def _gen_dataset_info(args: argparse.Namespace) -> int:
    wanted = 2 if args.file_type == "bin" else 0
    if len(args.size) != wanted:
        print(f"facepipe vendor: {args.file_type} takes {wanted} sizes, {len(args.size)} are given", file=sys.stderr)
        return 2
    require_free([args.info_name], args.overwrite)
    if wanted:
        count = write_bin_info(args.file_path, args.info_name, *args.size, overwrite=args.overwrite)
    else:
        count = write_photograph_info(args.file_path, args.info_name, overwrite=args.overwrite)
    print(f"{args.info_name}: {count} lines")
    return 0


def _batch_utils(args: argparse.Namespace) -> int:
    packed = args.index or Path(f"data/input/Facenet_{args.batch_size}")
    count = split_batches(packed, args.data_root_path, args.save_root_path, args.batch_size)
    print(f"{args.save_root_path}: {count} embeddings")
    return 0


def _facenet_postprocess(args: argparse.Namespace) -> int:
    score = score_rows(args.pair_path, args.crop_dir, args.test_dir, args.ONet_output_dir)
    if not score.by_index:
        print(f"{args.test_dir}: no index beside it; joined to the crops by their order", file=sys.stderr)
    if score.missing:
        print(f"{score.missing} of {score.pairs} pairs lack an embedding and are called different", file=sys.stderr)
    print("accuracy:", score.accuracy.per_fold)
    print("mean accuracy:", score.accuracy.mean)
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "mtcnn-preprocess": _mtcnn_preprocess,
    "facenet-preprocess": _facenet_preprocess,
    "gen-dataset-info": _gen_dataset_info,
    "batch-utils": _batch_utils,
    "facenet-postprocess": _facenet_postprocess,
}


def _bar(total: int, label: str) -> tqdm:
    return tqdm(total=total, desc=label, unit="photo", delay=1, disable=None)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 on")
    return int(text)
