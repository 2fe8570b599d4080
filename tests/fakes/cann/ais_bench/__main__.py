# SPDX-License-Identifier: Apache-2.0
"""ais_bench as its source has it (facts 3.2), for tests: a summary beside the result folder, files smaller than the
input joined into a batch, names cut at the first dot.

FAKE_SOC, FAKE_DEVICES: the board. FAKE_AIS_BENCH: silent (status 0, no files), killed, version (aclruntime mismatch).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path

import fake_om


def fail(text: str) -> None:
    print(f"[ERROR] {text}")
    sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ais_bench", allow_abbrev=False)
    parser.add_argument("--model", "-m", required=True)
    parser.add_argument("--input", "-i")
    parser.add_argument("--output", "-o")
    parser.add_argument("--output_dirname")
    parser.add_argument("--outfmt", choices=("NPY", "BIN", "TXT"), default="BIN")
    parser.add_argument("--device", "-d", default="0")
    parser.add_argument("--loop", type=int, default=1)
    parser.add_argument("--dymBatch", type=int)
    parser.add_argument("--dymHW")
    parser.add_argument("--dymShape")
    parser.add_argument("--outputSize")
    parser.add_argument("--batchsize", type=int)
    parser.add_argument("--pure_data_type", choices=("zero", "random"), default="zero")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    told = os.environ.get("FAKE_AIS_BENCH", "")
    if told == "version":
        fail("aclruntime version is not match")
    if sum(value is not None for value in (args.dymBatch, args.dymHW, args.dymShape)) > 1:
        fail("dymBatch, dymHW, dymShape exclude each other")
    if any(int(device) >= int(os.environ.get("FAKE_DEVICES", "1")) for device in args.device.split(",")):
        fail("acl open device failed 507033")
    if args.output_dirname and not args.output:
        fail("output_dirname needs output")
    try:
        om = fake_om.load(args.model)
    except (fake_om.NotAnOm, FileNotFoundError):
        fail("load model failed 100012")
    if om.soc != os.environ.get("FAKE_SOC", "Ascend310"):
        fail(f"load model failed 545001, the model is of {om.soc}")
    if told == "silent":
        return 0
    shape = shape_of(om, args)
    if args.input is None:
        return pure(om, args, shape)
    folder = Path(args.output) / (args.output_dirname or datetime.now().strftime("%Y_%m_%d-%H_%M_%S"))
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(args.input)
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    needed, samples = om.input_bytes(shape), {}
    sizes = {path.stat().st_size for path in files}
    if sizes != {needed}:
        # facts 3.2: smaller files that divide the input are joined; this stand-in refuses, so that nobody relies on it
        fail(f"tensor size {needed} and file size {sorted(sizes)} not match")
    for path in files:
        names = []
        for index, result in enumerate(om.execute(path.read_bytes(), shape)):
            if args.outputSize and int(args.outputSize.split(",")[index]) < result.nbytes:
                fail("save out files error")
            target = folder / f"{path.name.partition('.')[0]}_{index}.bin"  # facts 3.2: up to the first dot
            target.write_bytes(result.tobytes())
            names.append(str(target))
        samples[str(len(samples))] = {"infiles": [str(path)], "outfiles": names}
        if told == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    summarise(folder, samples, len(files), shape[0])
    return 0


def shape_of(om: fake_om.Om, args: argparse.Namespace) -> tuple[int, ...]:
    if om.kind == "batch" and args.dymBatch is not None:
        found = [gear for gear in om.gears if gear[0] == args.dymBatch]
    elif om.kind == "image" and args.dymHW is not None:
        found = [gear for gear in om.gears if gear[2:] == tuple(int(side) for side in args.dymHW.split(","))]
    elif om.kind == "range" and args.dymShape is not None:
        shape = tuple(int(size) for size in args.dymShape.rpartition(":")[2].split(","))
        bounds = zip(shape, om.header["low"], om.header["high"], strict=True)
        found = [shape] if all(low <= size <= high for size, low, high in bounds) else []
    elif om.kind == "static":
        found = [om.gears[0]]
    else:
        found = []
    if not found:
        fail(f"set dynamic gear failed 145013, the model is of kind {om.kind}")
    return found[0]


def pure(om: fake_om.Om, args: argparse.Namespace, shape: tuple[int, ...]) -> int:
    """No input: zeros, for speed."""
    for _ in range(args.loop):
        om.execute(b"\0" * om.input_bytes(shape), shape)
    if args.output:
        folder = Path(args.output) / (args.output_dirname or "pure")
        folder.mkdir(parents=True, exist_ok=True)
        summarise(folder, {}, args.loop, shape[0])
    print(f"[INFO] throughput 1000*batchsize.mean({shape[0]})/NPU_compute_time.mean(1.0): {1000.0 * shape[0]}")
    return 0


def summarise(folder: Path, samples: dict[str, object], count: int, batch: int) -> None:
    """facts 3.2: beside the folder, not in it."""
    numbers = {"min": 1.0, "max": 1.0, "mean": 1.0, "median": 1.0, "percentile(99%)": 1.0, "count": count}
    copies = {name: {**numbers, "mean": 0.5, "median": 0.25} for name in ("H2D_latency", "D2H_latency")}
    content = {
        "filesinfo": samples,
        "NPU_compute_time": numbers,
        **copies,
        "throughput": 1000.0 * batch,
        "pid": os.getpid(),
    }
    (folder.parent / f"{folder.name}_summary.json").write_text(json.dumps(content))


if __name__ == "__main__":
    sys.exit(main())
