# SPDX-License-Identifier: Apache-2.0
"""facepipe bench end_to_end --photographs 600

Speed, never accuracy. Parts: end_to_end (photographs to embeddings beside facenet-pytorch, which is installed in an
environment of its own the first time, about 6 GB), networks (every network at the vendor's fourteen shapes) and gallery
(search among a million random embeddings: exact and approximate, with what the latter misses).
Each side runs in a process of its own, several times; medians and ratios are printed and written to bench.json.

  facepipe bench end_to_end --no-peer --backend onnxruntime:f32
  facepipe bench networks --threads 1
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from facepipe.assets.lfw import locate_lfw
from facepipe.assets.workspace import open_workspace
from facepipe.backends import backend_by_name, backend_names
from facepipe.backends.base import RuntimeOptions
from facepipe.bench.end_to_end import Configuration, Peer, measure_end_to_end, spread
from facepipe.bench.gallery_search import measure_gallery_search
from facepipe.bench.machine import machine
from facepipe.bench.networks import measure_networks
from facepipe.bench.peer import peer_python
from facepipe.datasets.images import list_keys
from facepipe.errors import BackendError, DataError
from facepipe.pipeline.files import read_json, write_json
from facepipe.pipeline.provenance import versions

PARTS = ("end_to_end", "networks", "gallery")
PEER_SCRIPT = Path("scripts/peer_facenet_pytorch.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--backend",
        action="append",
        metavar="NAME[:PRECISION]",
        help="back end and precision, may be repeated (default: every one that can run here, in f32)",
    )
    parser.add_argument("--embedder", default="facenet.seeded", help="default: the network the peer has too")
    parser.add_argument("--detector", default="mtcnn")
    parser.add_argument("--photographs", type=int, default=600, metavar="N", help="how many (default: 600)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds; medians are taken (default: 3)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("--threads", type=int, help="of each network (default: cores / workers)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the gallery (default: 1,000,000)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="photographs (default: LFW)")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of converted models")
    parser.add_argument("--no-peer", action="store_true", help="do not install or run facenet-pytorch")
    parser.add_argument("--peer", type=Path, default=Path(".venv-peer"), help="environment of facenet-pytorch")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of bench.json")


def run(args: argparse.Namespace) -> int:
    parts = args.parts or list(PARTS)
    for part in parts:
        if part not in PARTS:
            raise DataError(f"bench: '{part}' is no part, expected one of {', '.join(PARTS)}.")
    if min(args.photographs, args.repeats, args.batch) < 1:
        raise DataError("bench: --photographs, --repeats and --batch must be at least 1.")
    backends = _backends(args.backend)
    found: dict[str, Any] = {}
    if "end_to_end" in parts:
        found["end_to_end"] = _end_to_end(args, backends)
    if "networks" in parts:
        found["networks"] = measure_networks(args.weights, backends, args.threads or _cores(), _say)
    if "gallery" in parts:
        found["gallery"] = measure_gallery_search(args.rows, 128, 1000, _say)
    target = args.out / "bench.json"
    about = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["facepipe", *sys.argv[1:]]),
    }
    known = read_json(target) if target.is_file() else {}
    write_json(target, {**known, **{part: {**found[part], "measured": about} for part in parts}})
    _print_end_to_end(found.get("end_to_end"))
    print(f"{target}: all figures")
    return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _backends(asked: list[str] | None) -> list[tuple[str, str]]:
    """(name, precision) pairs: those asked for, else all that can run here."""
    if asked is None:
        names = [name for name in backend_names() if name != "null" and backend_by_name(name).suffix == ".onnx"]
        return [(name, "f32") for name in names if backend_by_name(name).why_unavailable() is None]
    pairs = []
    for text in asked:
        name, _, precision = text.partition(":")
        precision = precision or "f32"
        reason = backend_by_name(name, RuntimeOptions(precision=precision)).why_unavailable()
        if reason is not None:
            raise BackendError(f"backend '{name}' is unavailable: {reason}", "`facepipe backends` lists what can run.")
        pairs.append((name, precision))
    return pairs


def _end_to_end(args: argparse.Namespace, backends: list[tuple[str, str]]) -> dict[str, Any]:
    peer = None
    if not args.no_peer:
        if not PEER_SCRIPT.is_file():
            raise BackendError(
                f"{PEER_SCRIPT}: not here, expected it for the comparison with facenet-pytorch.",
                "run in the repository, or --no-peer.",
            )
        peer = Peer(peer_python(args.peer, _say), PEER_SCRIPT)
    root = args.data or locate_lfw(replace(open_workspace(), weights=args.weights))[0]
    keys = spread(list_keys(root), args.photographs)
    if not keys:
        raise DataError(f"{root}: holds no photographs, expected some to measure with.")
    workers = args.workers or _cores()
    threads = args.threads or max(1, _cores() // workers)
    configurations = [
        Configuration(name, precision, args.detector, args.embedder, args.batch, workers, threads)
        for name, precision in backends
    ]
    return measure_end_to_end(root, keys, args.weights, configurations, peer, _cores(), args.repeats, _say)


def _print_end_to_end(found: dict[str, Any] | None) -> None:
    """A table: who, photographs per second, how many times the peer, memory."""
    if found is None:
        return
    print(f"{'photographs to embeddings':<36}{'per second':>12}{'ratio':>8}{'memory MB':>12}")
    rows = {"facenet-pytorch": found["peer"]} if "peer" in found else {}
    rows |= {key: value for key, value in found.items() if isinstance(value, dict) and "backend" in value}
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f}x" if "ratio" in row else ""
        memory = row["peak_memory_bytes"] / 1e6
        print(f"{name:<36}{row['per_second']:>12.1f}{ratio:>8}{memory:>12.0f}")
