# SPDX-License-Identifier: Apache-2.0
"""facepipe verification lfw.bin --embedder mobilefacenet.ms1m

Scores a recogniser on a verification set of aligned faces by insightface's protocol: Accuracy-Flip, XNorm, ten folds,
TAR at FAR 1e-3; writes verification.json into the run's folder. SET is a `.bin` file (lfw, cfp_fp, agedb_30), a folder
of faces with LFW's pairs file, or CFP's root folder:

  facepipe verification faces/ --pairs pairs.txt
  facepipe verification cfp-dataset/ --cfp FP

With --pack the set is written as a `.bin` instead, its photographs byte for byte:

  facepipe verification faces/ --pairs pairs.txt --pack lfw.bin
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from facepipe.backends import backend_names
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import embedder
from facepipe.cli.run_options import add_overwrite, add_weights, positive
from facepipe.datasets.face_sets import folder_pairs, open_face_set
from facepipe.datasets.verification_bin import pack_folder
from facepipe.errors import DataError
from facepipe.runs.score_verification import VERIFICATION_FILE, VerificationJob, run_verification
from facepipe.specs import FivePoint, ModelSpec
from facepipe.store.files import write_bytes
from facepipe.store.owned import require_free
from facepipe.terminal.output import add_output_arguments, bar, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("set", type=Path, metavar="SET", help="a .bin file, or a folder of aligned faces")
    add(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="LFW's pairs file, or a .csv, for a folder (default: pairs.txt in it)",
    )
    add("--cfp", choices=["FP", "FF"], help="SET is CFP's root: frontal against profile, or against frontal")
    add("--pack", type=Path, metavar="FILE.bin", help="write the set in insightface's form instead of scoring")
    add("--embedder", default="mobilefacenet.ms1m", metavar="NAME", help="default: %(default)s")
    add("--run", type=Path, metavar="FOLDER", help="gets verification.json (default: named from set and embedder)")
    add("--backend", choices=backend_names(), default="onnxruntime", help="default: %(default)s")
    add("--batch", type=positive, default=32, metavar="N", help="faces in one call (default: %(default)s)")
    add("--threads", type=positive, default=1, metavar="N", help="of the back end (default: %(default)s)")
    add_weights(parser)
    add_overwrite(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.pack is not None:
        return _pack(args)
    spec = embedder(args.embedder, args.weights)
    faces = open_face_set(args.set, args.pairs, args.cfp)
    folder = args.run or Path("runs") / f"verification-{faces.pairs.name}-{spec.name}"
    options = RuntimeOptions(threads=args.threads)
    job = VerificationJob(args.weights, spec.name, folder, args.backend, options, args.batch)
    with bar(args, faces.pairs.name, len(faces.pairs.keys()), "face") as progress:
        figures = run_verification(job, faces, progress)
    result(args, f"{_lines(faces.pairs.name, spec, figures)}\n{folder / VERIFICATION_FILE}: all figures", figures)
    return 0


def _pack(args: argparse.Namespace) -> int:
    require_free([args.pack], args.overwrite)
    if args.set.is_file():
        raise DataError(f"{args.set}: it is a file, expected a folder of faces to pack.")
    pairs = folder_pairs(args.set, args.pairs, args.cfp)
    with bar(args, "pack", len(pairs.pairs), "pair") as progress:
        content = pack_folder(args.set, pairs, progress)
    write_bytes(args.pack, content, overwrite=args.overwrite)
    count, photographs = len(pairs.pairs), len(pairs.keys())
    text = f"{args.pack}: {count:,} pairs of {photographs:,} photographs, {len(content):,} bytes"
    record = {"file": str(args.pack), "pairs": count, "photographs": photographs, "bytes": len(content)}
    result(args, text, record)
    return 0


def _lines(name: str, spec: ModelSpec, figures: Mapping[str, object]) -> str:
    flip, plain = figures["accuracy_flip"], figures["accuracy"]
    assert isinstance(flip, dict) and isinstance(plain, dict)
    lines = [
        f"[{name}] {spec.name}",
        f"XNorm: {figures['xnorm']:.6f}",
        f"Accuracy-Flip: {flip['mean']:.5f}+-{flip['std']:.5f}",
        f"Accuracy: {plain['mean']:.5f}+-{plain['std']:.5f}",
        f"TAR at FAR 1e-3: {figures['tar_at_far_1e-3']:.5f}   AUC: {figures['auc']:.5f}   EER: {figures['eer']:.5f}",
    ]
    if not spec.for_accuracy:
        lines.append(f"The weights of {spec.name} are computed, not trained: this says nothing about the network.")
    if not isinstance(spec.alignment, FivePoint):
        lines.append(f"{spec.name} was trained on another cut than five-point alignment: expect less than it can.")
    return "\n".join(lines)
