# SPDX-License-Identifier: Apache-2.0
"""facepipe backends

What can execute a network here: each back end with the version of its library, or why it cannot be used; and whether
the compiled host kernels can.
"""

from __future__ import annotations

import argparse
import json
from importlib import metadata

from facepipe.backends import backend_by_name, backend_names
from facepipe.errors import BackendError
from facepipe.geometry.kernels import kernels_by_name

# Distributions that a back end's module may come from, likeliest first.
_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-cann", "onnxruntime-openvino"),
    "openvino": ("openvino",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, for machines")


def run(args: argparse.Namespace) -> int:
    rows = [_backend_row(name) for name in backend_names()]
    kernels = _kernels_row()
    if args.json:
        rows_as_json = [{"name": name, "available": usable, "note": note} for name, usable, note in (*rows, kernels)]
        print(json.dumps({"backends": rows_as_json[:-1], "kernels": rows_as_json[-1]}, indent=2, ensure_ascii=False))
        return 0
    width = max(len(name) for name, _, _ in (*rows, kernels)) + 2
    for name, usable, note in rows:
        print(f"{name:<{width}}{'available' if usable else 'unavailable'}: {note}")
    name, usable, note = kernels
    print(f"\n{name:<{width}}{'available' if usable else 'unavailable'}: {note}")
    return 0


def _backend_row(name: str) -> tuple[str, bool, str]:
    """Name, whether it can be used, and its version or the reason."""
    backend = backend_by_name(name)
    reason = backend.why_unavailable()
    if reason is not None:
        return name, False, reason
    version = next((found for project in _DISTRIBUTIONS.get(name, ()) if (found := _version(project))), None)
    note = f"version {version}" if version else f"runs {backend.suffix} files"
    if name == "openvino":
        note += f"; MTCNN's networks are machine code, by llvmlite {_version('llvmlite')}"
    return name, True, note


def _kernels_row() -> tuple[str, bool, str]:
    label = "compiled kernels"
    try:
        kernels_by_name("compiled")
    except BackendError as error:
        return label, False, f"{error} NumPy does the same, more slowly."
    return label, True, f"numba {_version('numba')}; the same bits as NumPy's"


def _version(project: str) -> str | None:
    try:
        return metadata.version(project)
    except metadata.PackageNotFoundError:
        return None
