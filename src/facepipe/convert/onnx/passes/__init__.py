# SPDX-License-Identifier: Apache-2.0
"""Graph passes, one file each, by the names that the catalogue uses.

A pass is a function of a model that edits it in place and returns how many edits it made. It finds nodes by operator
and role, never by name; a second run makes no edit; what it does not understand it refuses before the first edit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from facepipe.convert.onnx.passes.bound_clip import bound_clip
from facepipe.convert.onnx.passes.match_prelu_slope import match_prelu_slope


@dataclass(frozen=True, slots=True)
class GraphPass:
    """A pass and the operator it is about: a model that lists the pass and lacks the operator is not what it claims."""

    operator: str
    apply: Callable[[onnx.ModelProto], int]


PASSES: dict[str, GraphPass] = {
    "match_prelu_slope": GraphPass("PRelu", match_prelu_slope),
    "bound_clip": GraphPass("Clip", bound_clip),
}
