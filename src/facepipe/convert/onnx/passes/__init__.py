# SPDX-License-Identifier: Apache-2.0
"""Graph passes, one file each, by the names that the catalogue uses.

A pass is a function of a model that edits it in place and returns how many edits it made. It finds nodes by operator
and role, never by name; a second run makes no edit; what it does not understand it refuses before the first edit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from facepipe.convert.onnx.passes.bound_clip import bound_clip
from facepipe.convert.onnx.passes.drop_unused_domains import drop_unused_domains
from facepipe.convert.onnx.passes.fold_identity import fold_identity
from facepipe.convert.onnx.passes.match_prelu_slope import match_prelu_slope
from facepipe.errors import ConversionError, did_you_mean, first_line
from facepipe.store.files import write_bytes


@dataclass(frozen=True, slots=True)
class GraphPass:
    """A pass and the operator it is about, "" for the file as such.

    A model that lists the pass and lacks the operator is not what it claims.
    """

    operator: str
    apply: Callable[[onnx.ModelProto], int]


PASSES: dict[str, GraphPass] = {
    "fold_identity": GraphPass("Identity", fold_identity),
    "match_prelu_slope": GraphPass("PRelu", match_prelu_slope),
    "bound_clip": GraphPass("Clip", bound_clip),
    "drop_unused_domains": GraphPass("", drop_unused_domains),
}


def fix_model(pass_name: str, source: Path, target: Path, *, overwrite: bool = False) -> int:
    """Apply one pass to any ONNX file and write the result whole; return the number of edits.

    Constants behind `Identity` are folded before the other passes, which read constants; that counts as an edit each.
    Both files may be one, with `overwrite`.

    Raises:
        ConversionError: there is no such pass, the source is no valid ONNX model, or the pass refuses it.
    """
    if pass_name not in PASSES:
        raise ConversionError(
            f"pass '{pass_name}' is not known, expected one of {', '.join(PASSES)}.", did_you_mean(pass_name, PASSES)
        )
    try:
        model = onnx.load(source)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's DecodeError, ValidationError, OSError: all mean "no model in this file"
        raise ConversionError(f"{source}: it is no valid ONNX model ({first_line(error)}).") from error
    try:
        edits = fold_identity(model) + (0 if pass_name == "fold_identity" else PASSES[pass_name].apply(model))
        onnx.checker.check_model(model)
    except (ConversionError, onnx.checker.ValidationError) as error:
        raise ConversionError(f"{source}: pass {pass_name}: {first_line(error)}") from error
    write_bytes(target, model.SerializeToString(), overwrite=overwrite)
    return edits
