# SPDX-License-Identifier: Apache-2.0
"""Speed beside facenet-pytorch, from `make bench`."""

from __future__ import annotations

from checks import REPOSITORY, Check, Measured, assets, make, read


def twice_the_peer() -> Measured:
    assets()
    make("bench", log="bench-end-to-end", PARTS="end_to_end")
    found = read(REPOSITORY / "runs" / "bench" / "bench.json")["end_to_end"]
    own = found["onnxruntime_f32"]
    note = f"{own['per_second']:.1f} against {found['peer_per_second']:.1f} photographs/s"
    return Measured(own["ratio"], own["ratio"] >= 2, note)


CHECKS = (
    Check("bench_onnxruntime", "end to end on onnxruntime beside facenet-pytorch", "at least 2 times", twice_the_peer),
)
