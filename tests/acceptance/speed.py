# SPDX-License-Identifier: Apache-2.0
"""Speed beside facenet-pytorch, from `make bench`; and that the faster settings keep the answers of f32."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from checks import REPOSITORY, Check, Measured, anew, assets, at_least, at_most, make, read
from lfw import EMBEDDER, fused

from facepipe.geometry.boxes import iou_matrix

LEAST_IOU, LEAST_SHARE, MOST_ACCURACY_DIFFERENCE = 0.98, 0.998, 0.001
MEMORY_BOUND, GROWTH_BOUND = 1.2e9, 0.05
HELP_BOUND, DETECT_BOUND = 0.15, 1.5


@functools.cache
def bench(parts: str) -> dict[str, Any]:
    """bench.json after `make bench PARTS=...`."""
    assets()
    make("bench", log=f"bench-{parts.replace(' ', '-')}", PARTS=parts)
    found: dict[str, Any] = read(REPOSITORY / "runs" / "bench" / "bench.json")
    return found


def times_the_peer(key: str, bound: float) -> Callable[[], Measured]:
    def measure() -> Measured:
        found = bench("end_to_end")["end_to_end"]
        row, peer = found[key], found["peer_per_second"]
        (low, high), (cpu_low, cpu_high) = row["ratio_interval"], row["cpu_ratio_interval"]
        note = (
            f"{low:.2f} to {high:.2f} in {found['rounds']} rounds; in processor time {row['cpu_ratio']:.2f}, "
            f"{cpu_low:.2f} to {cpu_high:.2f}; {row['per_second']:.1f} against {peer:.1f} photographs/s"
        )
        return at_least(row["ratio"], bound, note)

    return measure


def memory() -> Measured:
    peaks = bench("scaling memory")["memory"]["peak_bytes"]
    return at_most(peaks["7701"], MEMORY_BOUND, f"bytes of all processes; {peaks}")


def memory_growth() -> Measured:
    return at_most(bench("scaling memory")["memory"]["growth_of_the_last_step"], GROWTH_BOUND)


def startup(name: str, bound: float) -> Callable[[], Measured]:
    return lambda: at_most(bench("startup")["startup"][name]["seconds"], bound)


@functools.cache
def openvino(precision: str) -> dict[str, Any]:
    """accuracy.json and the boxes of `make lfw` on OpenVINO."""
    assets()
    run = anew(f"lfw-native+openvino-{precision}")
    make(
        "lfw",
        log=run.name,
        BATCH=16,
        EMBEDDER=EMBEDDER,
        DETECTOR="mtcnn",
        RUN=run,
        BACKEND="native+openvino",
        PRECISION=precision,
    )
    return {**read(run / "accuracy.json"), "faces": (run / "faces.jsonl").read_bytes()}


def same_boxes(precision: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        share, worst = shared_boxes(fused(16)["faces"], openvino(precision)["faces"])
        return at_least(share, LEAST_SHARE, f"least IoU {worst:.4f}")

    return measure


def same_accuracy(precision: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        one, other = (run["accuracy"]["mean"] for run in (fused(16), openvino(precision)))
        ran = openvino(precision)["model_precisions"]
        return at_most(abs(one - other), MOST_ACCURACY_DIFFERENCE, f"{other:.4f} against {one:.4f}; ran in {ran}")

    return measure


def shared_boxes(reference: bytes, other: bytes) -> tuple[float, float]:
    """The share of faces whose box has IoU 0.98 or more in the other faces.jsonl, and the least IoU. A photograph with
    a face in one of them alone counts as IoU 0."""
    boxes, others = boxes_of(reference), boxes_of(other)
    ious = [
        float(iou_matrix(boxes[key], others[key])[0, 0]) if key in boxes and key in others else 0.0
        for key in sorted(boxes.keys() | others.keys())
    ]
    return float(np.mean(np.array(ious) >= LEAST_IOU)), min(ious)


def boxes_of(faces: bytes) -> dict[str, np.ndarray]:
    """Key to box float32 [1, 4], of the photographs that have a face."""
    lines = map(json.loads, faces.splitlines())
    return {line["key"]: np.array([line["box"]], np.float32) for line in lines if "box" in line}


CHECKS = (
    Check(
        "bench_onnxruntime",
        "end to end on onnxruntime beside facenet-pytorch",
        "at least 2 times",
        times_the_peer("onnxruntime_f32", 2),
    ),
    Check(
        "bench_openvino_bf16",
        "end to end on OpenVINO, recogniser in bf16",
        "at least 6 times",
        times_the_peer("native+openvino_bf16", 6),
    ),
    Check(
        "bench_openvino_int8",
        "end to end on OpenVINO, recogniser in eight bits",
        "at least 6 times",
        times_the_peer("native+openvino_int8", 6),
    ),
    Check("bench_memory", "all of LFW in as many processes as cores", "at most 1.2 GB", memory),
    Check("bench_memory_flat", "memory from 1,000 to 7,701 photographs", "at most 5 % more", memory_growth),
    Check("bench_help", "facepipe --help", "at most 0.15 s", startup("help", HELP_BOUND)),
    Check(
        "bench_detect", "facepipe detect one.jpg, cold", "at most 1.5 s", startup("detect_onnxruntime", DETECT_BOUND)
    ),
    *(
        Check(
            f"openvino_{precision}_{name}",
            f"LFW on OpenVINO in {precision} beside onnxruntime in f32: {what}",
            bound,
            of,
        )
        for precision in ("f32", "bf16", "int8")
        for name, what, bound, of in (
            ("boxes", "faces with a box at IoU 0.98 or more", "at least 99.8 %", same_boxes(precision)),
            ("accuracy", "difference of the mean accuracy", "at most 0.001", same_accuracy(precision)),
        )
    ),
)
