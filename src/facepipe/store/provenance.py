# SPDX-License-Identifier: Apache-2.0
"""What a result came from: digests of model files and of the weights behind them, versions of what ran."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from facepipe.store.model_content import ModelContent

RECORDED = (
    *("facepipe", "numpy", "Pillow", "onnxruntime", "openvino", "numba", "llvmlite"),
    *("torch", "onnx", "onnxsim", "nncf"),
)


_VECTORS = (
    *("sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "i8mm", "bf16"),
    *("sve", "sve2"),
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model file that ran."""

    model: str
    file: str
    sha256: str
    weights_sha256: str | None  # of the checkpoint it was converted from; None when no record tells
    engine: str  # the back end that executed it; of a pair such as native+openvino the one of the two


def model_provenance(model: str, read: ModelContent, engine: str, meaning: str | None = None) -> ModelFile:
    """Of what was read: its digest, that of its weights as the record beside it tells, and what executes it.

    Args:
        meaning: of an imported model what stands for its weights; see `specs.Imported`.
    """
    weights = meaning or (None if read.record is None else read.record.made_from.inputs.get("weights"))
    return ModelFile(model, read.path.name, read.sha256, weights, engine)


def processor() -> str:
    """This machine's architecture and those of its vector extensions by which libraries choose their arithmetic.

    Two processors of the same words add up in the same order; which one made a result is recorded beside it.

    Example:
        >>> processor()  # doctest: +SKIP
        'x86_64 avx2 avx512f avx512_vnni avx512_bf16'
    """
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return f"{platform.machine()} {platform.processor()}".strip()
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", told, re.MULTILINE)
    flags = set(line[1].split()) if line else set()
    return " ".join([platform.machine(), *(name for name in _VECTORS if name in flags)])


def versions() -> dict[str, str]:
    """The version of Python and of each installed package that a result may depend on."""
    return {"python": platform.python_version(), **package_versions(RECORDED)}


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each of these packages that is installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
