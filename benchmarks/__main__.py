# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks end_to_end --photographs 600

Speed, never accuracy. Parts: end_to_end (photographs to embeddings beside facenet-pytorch, which is installed in an
environment of its own the first time, about 6 GB), profile (step by step, network by network), networks (every network
at the vendor's fourteen shapes), scaling (more photographs, more processes, larger photographs), memory (of those
runs), startup (whole commands in fresh processes), gallery (search among a million random embeddings: exact and
approximate, with what the latter misses) and detectors (UltraFace, RetinaFace and BlazeFace, network and whole, on one
and two threads). Figures are printed, written to bench.json, part by part, and drawn in bench.png.

In end_to_end the sides take turns, in rounds of seconds. The figures to quote are the median ratio of the rounds, on
the wall and in processor time, and the interval that holds it in 95 % of all cases: see docs/performance.md.

  python -m benchmarks end_to_end --no-peer --backend onnxruntime:f32 --backend openvino:int8
  python -m benchmarks end_to_end --against ../older --pair onnxruntime --pair native+openvino=openvino
  python -m benchmarks networks --threads 1
  python -m benchmarks startup --page docs/performance.md
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.breakdown import measure_profile
from benchmarks.chart import write_chart
from benchmarks.detectors import measure_detectors
from benchmarks.end_to_end import Configuration, Peer, Plan, measure_against, measure_end_to_end, spread
from benchmarks.gallery_search import measure_gallery_search
from benchmarks.machine import machine
from benchmarks.networks import measure_networks
from benchmarks.page import refreshed
from benchmarks.paired import LEAST_ROUNDS, Estimate
from benchmarks.peer import peer_python
from benchmarks.scaling import COUNTS, SIZES, Growth, measure_scaling, memory_of
from benchmarks.startup import measure_startup
from facepipe.assets.lfw import locate_lfw
from facepipe.assets.workspace import open_workspace
from facepipe.backends import FASTEST_FIRST, backend_by_name
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import embedder
from facepipe.datasets.images import list_keys
from facepipe.engine.cores import cores
from facepipe.errors import BackendError, DataError
from facepipe.store.files import read_json, write_json, write_text
from facepipe.store.provenance import versions
from facepipe.terminal.program import run_module

PARTS = ("end_to_end", "profile", "networks", "scaling", "memory", "startup", "gallery", "detectors")
# Fastest first, of those whose boxes and accuracy are f32's; the growth of the work is measured with the first of them.
KEEPS_ANSWERS = (("native+openvino", "bf16"), ("native+openvino", "f32"), ("onnxruntime", "f32"))
MOST_PROFILED = 256  # photographs for each back end
MOST_SEARCHED = 96  # photographs for each detector, size, back end and number of threads
PEER_SCRIPT = Path(__file__).resolve().parent / "peer_facenet_pytorch.py"
STARTS = 5  # of each command of startup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--backend",
        action="append",
        metavar="NAME[:PRECISION]",
        help="back end and precision, may be repeated (default: every one that can run here, in f32; "
        "OpenVINO also in bf16 and int8, where the processor and the quantised model are there)",
    )
    parser.add_argument("--embedder", default="facenet.seeded", help="default: the network the peer has too")
    parser.add_argument("--detector", default="mtcnn")
    parser.add_argument("--photographs", type=int, default=768, metavar="N", help="how many (default: 768)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=24,
        metavar="N",
        help="of end_to_end, 6 or more (default: 24)",
    )
    parser.add_argument("--each", type=int, default=128, metavar="N", help="photographs of a round (default: 128)")
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="end_to_end beside another commit of facepipe, not the peer"
    )
    parser.add_argument(
        "--pair",
        action="append",
        metavar="NEW[=OLD]",
        help="with --against: NAME[:PRECISION] here and there, may be repeated (default: every --backend as itself)",
    )
    parser.add_argument(
        "--counts", type=int, nargs="+", default=list(COUNTS), metavar="N", help="of scaling (default: 100 1000 7701)"
    )
    parser.add_argument(
        "--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="of scaling (default: all)"
    )
    parser.add_argument(
        "--batch", type=int, default=16, help="of facepipe, as `make lfw` has it; the peer's is 32 (default: 16)"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("--threads", type=int, help="of each network (default: cores / workers)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the gallery (default: 1,000,000)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="photographs (default: LFW)")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of converted models")
    parser.add_argument("--no-peer", action="store_true", help="do not install or run facenet-pytorch")
    parser.add_argument("--peer", type=Path, default=Path(".venv-peer"), help="environment of facenet-pytorch")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of bench.json")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write all figures as a page, as docs/performance.md")


def run(args: argparse.Namespace) -> int:
    parts = args.parts or list(PARTS)
    for part in parts:
        if part not in PARTS:
            raise DataError(f"bench: '{part}' is no part, expected one of {', '.join(PARTS)}.")
    if min(args.photographs, args.each, args.batch) < 1:
        raise DataError("bench: --photographs, --each and --batch must be at least 1.")
    if args.rounds < LEAST_ROUNDS:
        raise DataError(f"bench: --rounds {args.rounds}, expected {LEAST_ROUNDS} or more, for an interval of 95 %.")
    if args.pair and not args.against:
        raise DataError("bench: --pair names settings of another checkout, and there is none.", "--against CHECKOUT")
    text = None if args.page is None else _page(args.page)  # before anything is measured
    backends = _backends(args)
    target = args.out / "bench.json"
    about = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }
    known = read_json(target) if target.is_file() else {}
    for part in ["against" if part == "end_to_end" and args.against else part for part in parts]:
        known[part] = {**_measure(part, args, backends, known), "measured": about}
        write_json(target, known, overwrite=True)  # each time: a failure further on leaves what was measured
        if part == "end_to_end":
            _print_end_to_end(known[part])
        if part == "against":
            _print_against(known[part])
    print(f"{target}: all figures")
    if importlib.util.find_spec("matplotlib") is not None:
        write_chart(known, args.out / "bench.png")
        print(f"{args.out / 'bench.png'}: drawn")
    if text is not None:
        write_text(args.page, refreshed(text, known), overwrite=True)
        print(f"{args.page}: written")
    return 0


def _measure(
    part: str, args: argparse.Namespace, backends: list[tuple[str, str]], known: dict[str, Any]
) -> dict[str, Any]:
    """One part of bench.json; `known` are the parts that were measured before."""
    if part == "end_to_end":
        configurations = [_configuration(args, *pair) for pair in backends]
        return measure_end_to_end(_plan(args), configurations, _peer(args), _say)
    if part == "against":
        pairs = [_pair(text, args) for text in args.pair or [":".join(pair) for pair in backends]]
        return measure_against(_plan(args), pairs, args.against, _say)
    if part == "profile":
        root, keys = _photographs(args)
        configurations = [_configuration(args, *pair) for pair in backends]
        return measure_profile(
            root, spread(keys, min(args.photographs, MOST_PROFILED)), args.weights, configurations, _say
        )
    if part == "networks":
        return measure_networks(args.weights, backends, args.threads or cores(), _peer(args), _say)
    if part == "scaling":
        root, keys = _photographs(args)
        kept = [pair for pair in KEEPS_ANSWERS if pair in backends] or backends
        counts, sizes = tuple(sorted(args.counts)), tuple(args.sizes)
        growth = Growth(root, keys, args.weights, _configuration(args, *kept[0]), counts, sizes)
        return measure_scaling(growth, _say)
    if part == "memory":
        if "scaling" not in known:
            raise DataError("bench: memory is that of the scaling runs, and there are none.", "bench scaling memory")
        return memory_of(known["scaling"])
    if part == "startup":
        root, keys = _photographs(args)
        names = list(dict.fromkeys(name for name, _ in backends))
        return measure_startup(root / keys[0], args.weights, names, STARTS, _say)
    if part == "detectors":
        root, keys = _photographs(args)
        names = list(dict.fromkeys(name for name, _ in backends))
        threads = (args.threads,) if args.threads else tuple(count for count in (1, 2) if count <= cores())
        chosen = spread(keys, min(args.photographs, MOST_SEARCHED))
        return measure_detectors(root, chosen, args.weights, names, threads, _say)
    return measure_gallery_search(args.rows, 128, 1000, _say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _backends(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(name, precision) pairs: those asked for, else all that can run here."""
    if args.backend is None:
        names = [name for name in FASTEST_FIRST if backend_by_name(name).why_unavailable() is None]
        return [(name, precision) for name in names for precision in _precisions(name, args)]
    pairs = []
    for text in args.backend:
        name, _, precision = text.partition(":")
        precision = precision or "f32"
        pairs.append(_available(name, precision))
    return pairs


def _available(name: str, precision: str) -> tuple[str, str]:
    """The same pair, once it is known to run here."""
    reason = backend_by_name(name, RuntimeOptions(precision=precision)).why_unavailable()
    if reason is not None:
        raise BackendError(f"backend '{name}' is unavailable: {reason}", "`facepipe backends` lists what can run.")
    return name, precision


def _pair(text: str, args: argparse.Namespace) -> tuple[Configuration, Configuration]:
    """`NEW[=OLD]`, each `NAME[:PRECISION]`: a configuration of this checkout, and the other one's that it replaces."""
    new, _, old = text.partition("=")
    (name, _, precision), (old_name, _, old_precision) = new.partition(":"), (old or new).partition(":")
    here = _configuration(args, *_available(name, precision or "f32"))
    return here, _configuration(args, old_name, old_precision or "f32")


def _precisions(backend: str, args: argparse.Namespace) -> list[str]:
    """What is measured of a back end when nothing was asked for."""
    if not backend.endswith("openvino"):
        return ["f32"]
    instructions = machine().get("instructions")
    has_bf16 = isinstance(instructions, list) and any("bf16" in name for name in instructions)
    has_int8 = embedder(args.embedder).quantised(args.weights).is_file()
    return ["f32", *(["bf16"] if has_bf16 else []), *(["int8"] if has_int8 else [])]


def _photographs(args: argparse.Namespace) -> tuple[Path, list[str]]:
    """The folder, and the keys of all its photographs."""
    root = args.data or locate_lfw(replace(open_workspace(), weights=args.weights))[0]
    return root, list_keys(root)


def _configuration(args: argparse.Namespace, backend: str, precision: str) -> Configuration:
    workers = args.workers or cores()
    threads = args.threads or max(1, cores() // workers)
    return Configuration(backend, precision, args.detector, args.embedder, args.batch, workers, threads)


def _plan(args: argparse.Namespace) -> Plan:
    root, keys = _photographs(args)
    return Plan(root, spread(keys, args.photographs), args.weights, args.workers or cores(), args.rounds, args.each)


def _page(path: Path) -> str:
    """The page whose figures are to be rewritten."""
    if not path.is_file():
        raise DataError(f"{path}: not here, expected a page with the markers of figures.", "--page docs/performance.md")
    return path.read_text(encoding="utf-8")


def _peer(args: argparse.Namespace) -> Peer | None:
    """facenet-pytorch in an environment of its own, made where there is none; None with --no-peer."""
    if args.no_peer:
        return None
    return Peer(peer_python(args.peer, _say), PEER_SCRIPT)


def _print_end_to_end(found: dict[str, Any]) -> None:
    """A table: who, photographs per second, how many times the peer on the wall and in processor time, memory."""
    print(f"{'':<28}{'per second':>11}{'cpu ms':>8}  {'times the peer':<26}{'in processor time':<26}{'memory MB':>9}")
    rows = {"facenet-pytorch": found["peer"]} if "peer" in found else {}
    rows |= {key: value for key, value in found.items() if isinstance(value, dict) and "backend" in value}
    for name, row in rows.items():
        ratios = "".join(f"{_interval(row, ratio):<26}" for ratio in ("ratio", "cpu_ratio"))
        memory = row["peak_memory_bytes"] / 1e6
        print(f"{name:<28}{row['per_second']:>11.1f}{row['cpu_ms']:>8.1f}  {ratios}{memory:>9.0f}")


def _print_against(found: dict[str, Any]) -> None:
    """A table: how many times the other commit's time each setting takes."""
    print(f"time beside {found['commit'] or found['checkout']}: below 1 is faster now")
    print(f"{'':<28}{'then':<32}{'processor time':<26}{'on the wall':<26}")
    for name, row in found.items():
        if isinstance(row, dict) and "old" in row:
            ratios = "".join(f"{_interval(row, ratio):<26}" for ratio in ("cpu_time_ratio", "time_ratio"))
            print(f"{name:<28}{row['old']:<32}{ratios}".rstrip())


def _interval(row: dict[str, Any], name: str) -> str:
    return str(Estimate(row[name], *row[f"{name}_interval"])) if name in row else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """One call of `python -m benchmarks`; its exit status."""
    return run_module(sys.modules[__name__], "python -m benchmarks", sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
