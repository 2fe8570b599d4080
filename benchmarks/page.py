# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md, made from bench.json: what is measured, and the figures with their machine, date and command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Part = Mapping[str, Any]

INTRODUCTION = """\
# Performance

This page is made by `make bench PAGE=docs/performance.md`; its figures are those of one machine, named beside each. For
yours:

```sh
make bench                                                  # everything; the figures go to runs/bench/bench.json
make bench PARTS="end_to_end startup"
python -m benchmarks end_to_end --photographs 1000 --repeats 5 --backend onnxruntime:f32 --backend openvino:int8
python -m benchmarks networks --threads 1
```

Accuracy is never measured in the same run; see [accuracy.md](accuracy.md).

## What is measured

**end_to_end**: photographs to embeddings. The peer is facenet-pytorch 2.5.3 with torch 2.14.1 and torchvision
0.29.1, in an environment of its own (`.venv-peer`, about 6 GB on Linux, made the first time and kept).

- Both sides run in processes of their own, on the same photographs (LFW's, taken at even distances), one after the
  other, several rounds; the figure is the median, the ratio is that of the medians.
- The peer detects in batches of 32, with as many threads as there are cores, selects by `center_weighted_size`,
  crops and embeds in one batch: as its own LFW notebook does. Selection goes photograph by photograph, because its
  call on a batch raises with NumPy 1.24 or newer as soon as one photograph has no face.
- Both recognisers are InceptionResnetV1 with the same seeded weights.
- Loading models and one warm-up are outside the clock on both sides. Reading and decoding are inside; facepipe also
  writes its results inside.
- Memory is the greatest resident size; with several worker processes, their sum.

**profile**: one process with one thread over the same kind of photographs; time and arithmetic of each network,
and what is left for the host.

**networks**: each network at the fourteen shapes of the vendor's table (PNet 1/4/8 x 1500x1500, RNet 100/800/1600,
ONet 50/400/800, FaceNet 1/4/8/16/32), each in a process of its own: the median of at least three calls after one.
Operations are counted from the ONNX graph (two for a multiply-add), and stand beside the most that the processor does
in that precision: its multiply-adds on numbers that stay in registers, on as many threads. Minimal filtering does fewer
than are counted. A limit that AMX sets is not measured. FaceNet stands beside facenet-pytorch's own call.

**scaling**: photographs to embeddings for 100, 1,000 and 7,701 photographs, and by one and by several processes;
and detection in one process on photographs of 250 pixels, 1080p and 4K, which are made of LFW's side by side.

**memory**: the highest of those runs. **startup**: whole commands in fresh processes. **gallery**: search among a
million random embeddings. **detectors**: UltraFace, RetinaFace and BlazeFace at their sizes, the network alone and
with the host's work.

## Precisions

| `--precision` | computes in | answers |
|---|---|---|
| `f32` | everything in f32 | the reference |
| `bf16` (OpenVINO) | the recogniser in bf16, detectors in f32 | the same boxes; embeddings differ in the third digit |
| `int8` | the recogniser in eight bits (`facepipe quantise`), detectors in f32 | the same boxes; see its cosine |
| `bf16-all` (OpenVINO) | every network in bf16 | **other boxes**: faster, and never a default |

What runs is read back from the compiled model, and `accuracy.json` names it for each network under
`model_precisions`.

## Machine code

With `--backend openvino`, OpenVINO executes recognisers and the detectors of one network. MTCNN's three networks, where
they compute in f32, are compiled by facepipe itself (`backends/native`, with llvmlite): general libraries reach
half of what a processor does, or less, where there are few channels and many small inputs.

- 3x3 convolutions of 16 or more channels go by Winograd's minimal filtering: tiles of 3x3 outputs take 25 products
  instead of 81. Everything else is summed directly, in blocks that fill the processor's registers.
- Everything is f32. Outputs differ from onnxruntime's by at most 1e-5 of the largest, as OpenVINO's do; boxes and
  accuracy stay (`make accept ONLY="openvino_f32_boxes openvino_f32_accuracy"`).
- Vectors are as wide as the processor's (AVX-512, AVX, or 128 bits). A program is compiled in a second for each network
  and kept in `weights/cache`.
"""


def page(found: Mapping[str, Part]) -> str:
    """The whole page, from the content of bench.json; parts that were not measured are left out."""
    sections = [INTRODUCTION]
    for name, title, body in (
        ("end_to_end", "Photographs to embeddings", _end_to_end),
        ("profile", "Where the time goes", _profile),
        ("networks", "Networks", _networks),
        ("scaling", "As the work grows", _scaling),
        ("memory", "Memory", _memory),
        ("startup", "Start-up", _startup),
        ("gallery", "Search in a gallery", _gallery),
        ("detectors", "Detectors of one network", _detectors),
    ):
        if name in found:
            sections.append(f"## {title}\n\n{body(found[name])}\n{_measured(found[name])}")
    sections += [FINDINGS, KEYS]
    return "\n".join(section.rstrip("\n") + "\n" for section in sections)


FINDINGS = """\
## What gave what

- **One thread for each worker process**: no core waits for another step, and batches are full across photographs.
  Answers do not depend on the number of workers.
- **Machine code for the cascade's networks**, with the same boxes: compare `pnet`, `rnet` and `onet` of the two back
  ends above, of which onnxruntime's are a library's.
- **Compiled host work**: pyramid, crops and suppression in numba, with the bits of the NumPy functions beside them.
  Crops for the recogniser are turned while they are bytes.
- **Calls that fit a processor's own cache**: RNet on 48 crops and ONet on 12 instead of 512 and 128, PNet on 65,536
  pixels, each picked through before the next one is scaled.
- **The recogniser in bf16, then in eight bits**. NNCF moves the biases by the mean rounding error, without which
  MobileFaceNet loses much more. What it gives is the processor's: with avx2 alone eight bits do twice f32's work and
  bf16 is refused; with avx512_vnni four times, avx512_bf16 twice; with amx much more.
- **Batches of 16** are as fast as larger ones on two cores, and take less memory.

Tried once, and not worth it (no command of the project repeats it): PNet's two heads as one convolution in OpenVINO,
and FaceNet's parallel 1x1 convolutions merged; RNet and PNet in eight bits as a sieve before f32, because too many
crops and cells must then be looked at again; ONet's large convolutions in bf16, because too many boxes move; input in
channels-last order; MNN and ncnn, which are slower at FaceNet than OpenVINO in eight bits and at the cascade than
machine code; shards of other sizes.

What remains is FaceNet's, about half of the time in eight bits and most of it in f32 and bf16; the table of networks
says how near it runs to the processor's limit. avx512_bf16 does twice f32's work, and facenet-pytorch's own call on 32
crops reaches some two fifths of f32's limit: FaceNet in bf16 at eight times its speed takes AMX. With avx2 alone eight
bits do twice f32's work: a multiply of bytes and one of their sums for each 32 products. The rest is the cascade and
the host; a cheaper cascade (fewer levels, a larger least face) changes the answers.

LFW through `mobilefacenet.ms1m` beside onnxruntime in f32, and the boxes of all its faces: `make accept
ONLY="openvino_f32_boxes openvino_f32_accuracy openvino_bf16_boxes openvino_bf16_accuracy openvino_int8_boxes
openvino_int8_accuracy"`; the figures are in [accuracy.md](accuracy.md).
"""

KEYS = """\
## bench.json

| key | value |
|---|---|
| `end_to_end.peer_per_second` | photographs per second of facenet-pytorch |
| `end_to_end.<backend>_<precision>.per_second`, `.ratio` | facepipe's, and how many times the peer's that is |
| `….peak_memory_bytes`, `….step_seconds` | memory; seconds of all workers in reading, detecting, cropping, embedding |
| `profile.<backend>_<precision>` | `ms` for each photograph on one thread, `steps`, `networks` with `gflops` |
| `networks.<backend>_<precision>.<model>.<shape>` | `latency_ms` of one call; rows `per_second`; `gflops`; `ratio` |
| `networks.limits_gflops`, `profile.limits_gflops` | by precision, what the processor can do at most |
| `scaling.photographs`, `.processes`, `.sizes` | `per_second`, `faces`, `peak_memory_bytes` by count, number and size |
| `memory.peak_bytes`, `.growth_of_the_last_step` | by number of photographs; 0.01 is one per cent |
| `startup.<command>.seconds` | median |
| `detectors.<backend>_<precision>.<model>.<size>.<threads>` | `latency_ms` of the network, photographs `per_second` |
| `<part>.measured` | machine, date, command, versions |
"""


def _end_to_end(found: Part) -> str:
    own = {name: row for name, row in found.items() if isinstance(row, dict) and "backend" in row}
    rows: list[Sequence[str]] = []
    if "peer" in found:
        peer = found["peer"]
        rows.append(("facenet-pytorch", f"{peer['per_second']:.1f}", "1", _megabytes(peer), "", "", "", ""))
    for name, row in own.items():
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        rows.append((f"`{name}`", f"{row['per_second']:.1f}", ratio, _megabytes(row), *_steps(row, found)))
    head = ("", "photographs/s", "times the peer", "memory MB", "read", "detect", "crop", "embed")
    note = (
        f"{found['photographs']} photographs, median of {found['repeats']} rounds, {found['cores']} cores. "
        "The last four columns are the profile: core-milliseconds for each photograph."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _steps(row: Part, found: Part) -> list[str]:
    steps = row.get("step_seconds", {})
    return [f"{1000 * steps[name] / found['photographs']:.2f}" for name in ("read", "detect", "crop", "embed")]


def _profile(found: Part) -> str:
    own = {name: row for name, row in found.items() if isinstance(row, dict) and "steps" in row}
    labels = {
        "read": "read and decode",
        "detect": "pyramid, crops, suppression on the host",
        "crop": "choice and crop of the face",
        "embed": "normalisation",
    }
    rows: list[Sequence[str]] = [("**together**", *(f"**{row['ms']:.1f}**" for row in own.values()))]
    rows += [(labels[step], *(f"{row['steps'][step]:.2f}" for row in own.values())) for step in labels]
    for name in dict.fromkeys(name for row in own.values() for name in row["networks"]):
        cells = [row["networks"][name] for row in own.values()]
        about = f"`{name}`: {cells[0]['rows']:.1f} rows, {cells[0]['gflop']:.3f} GFLOP"
        rows.append((about, *(f"{cell['ms']:.2f} ({cell['gflops']:.0f} GFLOP/s)" for cell in cells)))
    return (
        f"{_table(('core-milliseconds for each photograph', *(f'`{name}`' for name in own)), rows)}\n\n"
        f"{found['photographs']} photographs, one process, one thread, which can do at most "
        f"{_limits(found)}. Operations are counted from the graph."
    )


def _limits(found: Part) -> str:
    limits = [f"{limit:.0f} GFLOP/s in {precision}" for precision, limit in found["limits_gflops"].items()]
    return ", ".join(limits)


def _networks(found: Part) -> str:
    rows = []
    for size, row in found.get("peer", {}).get("facenet.seeded", {}).items():
        rows.append(
            (
                "facenet-pytorch",
                "facenet.seeded",
                size,
                f"{row['latency_ms']:.1f}",
                f"{row['per_second']:,.0f}",
                "1",
                "",
                "",
            )
        )
    for name, table in found.items():
        if not isinstance(table, dict) or "threads" not in table or name == "peer":
            continue
        limit = found["limits_gflops"].get(name.rpartition("_")[2])
        for model, shapes in table.items():
            if not isinstance(shapes, dict):
                continue
            for shape, row in shapes.items():
                share = f"{100 * row['gflops'] / limit:.0f}" if limit is not None else ""
                times = f"{row['ratio']:.2f}" if "ratio" in row else ""
                figures = (
                    f"{row['latency_ms']:.1f}",
                    f"{row['per_second']:,.0f}",
                    times,
                    f"{row['gflops']:.0f}",
                    share,
                )
                rows.append((f"`{name}`", model, shape, *figures))
    head = ("", "network", "shape", "ms", "rows/s", "times the peer", "GFLOP/s", "% of the limit")
    note = (
        f"The limit is what as many threads can do at most in that precision: {_limits(found)}. "
        "Minimal filtering (MTCNN in f32 on OpenVINO) does fewer operations than are counted."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _scaling(found: Part) -> str:
    rows: list[Sequence[str]] = []
    for kind, noun in (("photographs", "photographs"), ("processes", "processes"), ("sizes", "detection")):
        for name, row in found[kind].items():
            faces = f"{row['faces'] / row['photographs']:.1f}"
            rows.append((f"{name} {noun}", f"{row['per_second']:.2f}", faces, _megabytes(row)))
    head = ("", "photographs/s", "faces each", "memory MB")
    return f"{_table(head, rows)}\n\nBy `{found['configuration']}`. Only `detection` counts every face."


def _memory(found: Part) -> str:
    rows = [(f"{int(count):,}", f"{peak / 1e6:.0f}") for count, peak in found["peak_bytes"].items()]
    growth = found.get("growth_of_the_last_step")
    note = "" if growth is None else f"\n\nFrom the last but one to the last: {100 * growth:+.1f} %."
    return _table(("photographs", "memory MB"), rows) + note


def _startup(found: Part) -> str:
    rows = [(f"`{name}`", f"{row['seconds']:.2f}") for name, row in found.items() if name != "measured"]
    return _table(("command", "seconds"), rows)


def _gallery(found: Part) -> str:
    rows = []
    for kind, row in found.items():
        if isinstance(row, dict) and "latency_ms" in row:
            latency = row["latency_ms"]
            rows.append(
                (
                    kind,
                    f"{row['build_seconds']:.1f}",
                    f"{latency['median']:.2f}",
                    f"{row['per_second']:,.0f}",
                    f"{row['copies']['recall_at_1']:.4f}",
                    f"{row['random']['recall_at_1']:.4f}",
                )
            )
    head = ("index", "built in s", "ms a probe", "probes/s", "recall at 1, copies", "recall at 1, random")
    return f"{_table(head, rows)}\n\n{found['rows']:,} rows of {found['dimension']} numbers."


def _detectors(found: Part) -> str:
    rows = []
    for name, table in found.items():
        if not isinstance(table, dict) or name == "measured":
            continue
        for model, sizes in table.items():
            for size, by_threads in sizes.items():
                for threads, row in by_threads.items():
                    figures = (f"{row['latency_ms']:.2f}", f"{row['per_second']:.0f}")
                    rows.append((f"`{name}`", model, size, threads, *figures))
    head = ("", "detector", "input", "threads", "ms, network alone", "photographs/s, whole")
    note = (
        f"The network alone: one input. Whole: {found['photographs']} photographs of LFW in batches of "
        f"{found['batch']}, read, decoded, scaled, searched, suppressed, in one process."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _measured(part: Part) -> str:
    about = part.get("measured")
    if about is None:
        return ""
    machine, versions = about["machine"], about["versions"]
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"\nMeasured {about['date']} on {machine.get('processor', 'an unnamed processor')}, {machine['cores']} cores "
        f"({machine['system']}), by `{about['command']}`. Versions: {said}.\n"
    )


def _megabytes(row: Part) -> str:
    return f"{row['peak_memory_bytes'] / 1e6:.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose figures stand at the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
