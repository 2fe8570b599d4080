# SPDX-License-Identifier: Apache-2.0
"""facepipe backends

What can execute a network here: each back end with the version of its library, or why it cannot be used; which one of
them "auto" is; and whether the compiled host kernels can be used.
"""

from __future__ import annotations

import argparse
import json

from facepipe.backends import AUTO, backend_by_name, backend_names, resolve_backend
from facepipe.backends.about import about, version_of
from facepipe.errors import BackendError
from facepipe.geometry.kernels import kernels_by_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, for machines")


def run(args: argparse.Namespace) -> int:
    rows = [_backend_row(name) for name in backend_names()]
    kernels, auto = _kernels_row(), _auto_row()
    if args.json:
        rows_as_json = [{"name": name, "available": usable, "note": note} for name, usable, note in (*rows, kernels)]
        found = {"backends": rows_as_json[:-1], "auto": auto[2] if auto[1] else None, "kernels": rows_as_json[-1]}
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    width = max(len(name) for name, _, _ in (*rows, kernels)) + 2
    for name, usable, note in (*rows, auto):
        print(f"{name:<{width}}{'available' if usable else 'unavailable'}: {note}")
    name, usable, note = kernels
    print(f"\n{name:<{width}}{'available' if usable else 'unavailable'}: {note}")
    return 0


def _backend_row(name: str) -> tuple[str, bool, str]:
    """Name, whether it can be used, and its version or the reason."""
    backend = backend_by_name(name)
    reason = backend.why_unavailable()
    return (name, False, reason) if reason is not None else (name, True, about(backend))


def _auto_row() -> tuple[str, bool, str]:
    """What "auto" is here."""
    try:
        return AUTO, True, resolve_backend(AUTO).name
    except BackendError as error:
        return AUTO, False, error.what


def _kernels_row() -> tuple[str, bool, str]:
    label = "compiled kernels"
    try:
        kernels_by_name("compiled")
    except BackendError as error:
        return label, False, f"{error} NumPy does the same, more slowly."
    return label, True, f"numba {version_of('numba')}; the same bits as NumPy's"
