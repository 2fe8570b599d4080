# SPDX-License-Identifier: Apache-2.0
"""facepipe backends

What can execute a network here: each back end with the version of its library, or why it cannot be used; which one of
them "auto" is; and whether the compiled host kernels can be used.
"""

from __future__ import annotations

import argparse

from facepipe.backends import AUTO, backend_by_name, backend_names, resolve_backend
from facepipe.backends.about import about, version_of
from facepipe.errors import BackendError
from facepipe.geometry.kernels import kernels_by_name
from facepipe.terminal.output import add_output_arguments, heading, result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    rows = [_backend_row(name) for name in backend_names()]
    kernels, auto = _kernels_row(), _auto_row()
    width = max(len(name) for name, _, _ in (*rows, kernels)) + 2
    for name, usable, told in rows:
        record = {"backend": name, "available": usable, "note": told, "auto": auto[1] and auto[2] == name}
        result(args, _line(name, usable, told, width), record)
    heading(args, f"{_line(*auto, width)}\n")
    name, usable, told = kernels
    result(args, _line(name, usable, told, width), {"kernels": "compiled", "available": usable, "note": told})
    return 0


def _line(name: str, usable: bool, told: str, width: int) -> str:
    return f"{name:<{width}}{'available' if usable else 'unavailable'}: {told}"


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
