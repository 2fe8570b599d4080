# SPDX-License-Identifier: Apache-2.0
"""facepipe verification lfw.bin --embedder mobilefacenet.ms1m

Scores a recogniser on a verification set of aligned faces by insightface's protocol: Accuracy-Flip, XNorm, ten folds,
TAR at FAR 1e-3; writes verification.json into the run's folder. SET is a `.bin` file (lfw, cfp_fp, agedb_30), a folder
of faces with LFW's pairs file, or CFP's root folder:

  facepipe verification faces/ --pairs pairs.txt
  facepipe verification cfp-dataset/ --cfp FP

With --pack the set is written as a `.bin` instead, its pictures byte for byte:

  facepipe verification faces/ --pairs pairs.txt --pack lfw.bin
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facepipe.backends import backend_by_name, backend_names
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import EMBEDDERS, embedder
from facepipe.convert.sidecar import finished
from facepipe.datasets.cfp import read_cfp_pairs
from facepipe.datasets.lfw import VerificationSet, extensions_in, read_pairs
from facepipe.datasets.verification_bin import decode_face, pack_folder, read_verification_bin
from facepipe.embed.embedder import open_embedder
from facepipe.errors import DataError
from facepipe.pipeline.files import sha256_of_file, write_bytes, write_json
from facepipe.postprocess.verification import embed_mirrored, keys_in_order, score
from facepipe.specs import FivePoint, ModelSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("set", type=Path, metavar="SET", help="a .bin file, or a folder of aligned faces")
    add("--pairs", type=Path, help="LFW's pairs file, for a folder (default: pairs.txt in it)")
    add("--cfp", choices=["FP", "FF"], help="SET is CFP's root: frontal against profile, or against frontal")
    add("--pack", type=Path, metavar="FILE.bin", help="write the set in insightface's form instead of scoring")
    add("--embedder", choices=EMBEDDERS, default="mobilefacenet.ms1m", metavar="NAME", help="default: %(default)s")
    add("--run", type=Path, metavar="FOLDER", help="gets verification.json (default: named from set and embedder)")
    add("--backend", choices=backend_names(), default="onnxruntime", help="default: %(default)s")
    add("--batch", type=int, default=32, help="faces in one call (default: %(default)s)")
    add("--threads", type=int, default=1, help="of the back end (default: %(default)s)")
    add("--weights", type=Path, default=Path("weights"), help="folder of converted models (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    if args.pack is not None:
        return _pack(args)
    spec = embedder(args.embedder)
    size = spec.input.dims[2].high
    pairs, load, provenance = _faces(args, size)
    keys = keys_in_order(pairs)
    backend = backend_by_name(args.backend, RuntimeOptions(threads=args.threads))
    with (
        open_embedder(spec, backend, args.weights, args.batch) as faces_to_points,
        tqdm(total=len(keys), desc=pairs.name, unit="face", disable=None) as bar,
    ):
        embeddings = embed_mirrored(keys, load, faces_to_points, bar.update)
    figures = score(pairs, embeddings)
    folder = args.run or Path("runs") / f"verification-{pairs.name}-{spec.name}"
    write_json(
        folder / "verification.json",
        {
            **figures,
            "protocol": "aligned faces, embedding + mirrored embedding, ten folds unshuffled, squared distance < t",
            "set": {"name": pairs.name, "pairs": len(pairs.pairs), "images": len(keys), **provenance},
            "embedder": spec.name,
            "for_accuracy": spec.for_accuracy,
            "backend": backend.name,
            "batch": args.batch,
            "weights": _weights(spec, args.weights),
        },
    )
    print(_lines(pairs.name, spec, figures))
    print(f"{folder / 'verification.json'}: all figures")
    return 0


def _pack(args: argparse.Namespace) -> int:
    if args.set.is_file():
        raise DataError(f"{args.set}: it is a file, expected a folder of faces to pack.")
    pairs, root = _folder_pairs(args)
    with tqdm(total=len(pairs.pairs), desc="pack", unit="pair", disable=None) as bar:
        content = pack_folder(root, pairs, bar.update)
    write_bytes(args.pack, content)
    print(f"{args.pack}: {len(pairs.pairs):,} pairs of {len(pairs.keys()):,} pictures, {len(content):,} bytes")
    return 0


def _faces(
    args: argparse.Namespace, size: int
) -> tuple[VerificationSet, Callable[[str], np.ndarray], dict[str, object]]:
    """The pairs, a function from a key to its face, and where they come from."""
    if args.set.suffix == ".bin" or args.set.is_file():
        packed = read_verification_bin(args.set)
        place_of = {key: place for place, key in reversed(list(enumerate(packed.keys())))}

        def from_set(key: str) -> np.ndarray:
            return decode_face(packed.images[place_of[key]], f"{args.set}, picture {key}", size)

        return packed.verification_set(), from_set, {"path": str(args.set), "sha256": sha256_of_file(args.set)}
    pairs, root = _folder_pairs(args)

    def from_folder(key: str) -> np.ndarray:
        path = root / key
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be opened ({error.strerror}), expected a face the pairs name.") from error
        return decode_face(content, str(path), size)

    return pairs, from_folder, {"path": str(root)}


def _folder_pairs(args: argparse.Namespace) -> tuple[VerificationSet, Path]:
    root: Path = args.set
    if not root.is_dir():
        raise DataError(f"{root}: no such file or folder, expected a verification set.")
    if args.cfp:
        return read_cfp_pairs(root, args.cfp), root
    return read_pairs(args.pairs or root / "pairs.txt", extensions_in(root)), root


def _weights(spec: ModelSpec, folder: Path) -> dict[str, str | None]:
    """Of what was run: the digest of the weights, as the conversion noted it beside the model."""
    report = finished(spec, None, folder)
    return {spec.name: report.weights_sha256 if report else None}


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
