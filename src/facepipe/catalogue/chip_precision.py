# SPDX-License-Identifier: Apache-2.0
"""What an .om computes in: ATC's precision modes, which chip has which, and what each rounds. Frozen data.

The one division that matters is whether a chip's matrix unit multiplies float32 numbers (`Soc.f32_matrices`). Where it
does not, a mode that keeps float32 sends convolutions and matrix products to the AI CPU, or fails: GE
docs/zh/user_guides/atc_tools/CLI_options/--precision_mode_v2.md, "origin"; PaddlePaddle/Paddle issue 70866 on a 310.
Nothing here was measured on a device.
"""

from __future__ import annotations

from typing import Literal

from facepipe.catalogue.chips import Soc, dialect
from facepipe.errors import ConversionError

PRECISION_V1 = (
    "force_fp16",
    "force_fp32",
    "cube_fp16in_fp32out",
    "allow_fp32_to_fp16",
    "must_keep_origin_dtype",
    "allow_mix_precision",
    "allow_mix_precision_fp16",
    "allow_mix_precision_bf16",
    "allow_fp32_to_bf16",
)
"""Values of --precision_mode. The documented order of accuracy: force_fp32, must_keep_origin_dtype,
allow_fp32_to_fp16, allow_mix_precision, force_fp16; of speed, the reverse."""

PRECISION_V2 = (
    "fp16",
    "origin",
    "cube_fp16in_fp32out",
    "mixed_float16",
    "mixed_bfloat16",
    "mixed_hif8",
    "cube_hif8",
)
"""Values of --precision_mode_v2, which excludes --precision_mode. The documented order of accuracy: origin,
mixed_float16, fp16, mixed_bfloat16, mixed_hif8."""

DEFAULT = "force_fp16"
"""What ATC does where nothing is asked for."""

INT8 = "int8"
"""Not a mode of ATC: the quantised recogniser through AMCT; what is left in float32 is computed by the default."""

_V1_OF_V2 = {
    "fp16": "force_fp16",
    "origin": "must_keep_origin_dtype",
    "cube_fp16in_fp32out": "force_fp32",  # GE, --precision_mode: "the effect is identical"; the new name came later
    "mixed_float16": "allow_mix_precision",
    "mixed_bfloat16": "allow_mix_precision_bf16",
}
_KEEP_F32 = frozenset(("origin", "must_keep_origin_dtype"))
_HALF_MATRICES = frozenset(("cube_fp16in_fp32out", "force_fp32"))

Rounding = Literal["everything", "matrices", "nothing", "unknown"]
"""What a mode computes in half precision: every operator; the inputs of convolutions and matrix products alone, summed
in float32; nothing; or what lists inside the compiler say."""


def finest(soc: Soc) -> str:
    """The most exact mode that runs on a chip: float32, or half-precision products summed in float32."""
    return "origin" if soc.f32_matrices else "cube_fp16in_fp32out"


def rounding(precision: str | None) -> Rounding:
    """What a mode rounds to half precision; None is the compiler's default."""
    if precision in (None, "fp16", "force_fp16"):
        return "everything"
    if precision in _HALF_MATRICES:
        return "matrices"
    return "nothing" if precision in _KEEP_F32 else "unknown"


def offered(soc: Soc) -> tuple[str, ...]:
    """The modes that a chip has, by both names, the newer first."""
    every = tuple(dict.fromkeys(PRECISION_V2 + PRECISION_V1))
    return tuple(name for name in every if why_not_on(name, soc) is None)


def why_not_on(precision: str, soc: Soc) -> str | None:
    """Why a mode cannot be compiled for a chip; None where it can."""
    if "hif8" in precision and soc.family != "950":
        return f"{soc.name} has no hifloat8; Ascend 950 has"
    if ("bf16" in precision or "bfloat16" in precision) and not soc.bf16:
        return f"{soc.name} has no bfloat16; Atlas A2, A3, 310B and 950 have"
    if precision in _KEEP_F32 and not soc.f32_matrices:
        return (
            f"{soc.name} multiplies no float32 matrices, so every convolution would go to its slow CPU, or fail "
            "(hicann/runtime platform_config, Intrinsic_mmad)"
        )
    return None


def precision_option(precision: str | None, soc: Soc, cann: str) -> tuple[str, ...]:
    """ATC's option for a precision, by the name that this release knows it under.

    Raises:
        ConversionError: no such precision, or not on this chip; the mode that is nearest to it is named.
    """
    if precision in (None, INT8):
        return ()
    if precision not in (*PRECISION_V2, *PRECISION_V1):
        raise ConversionError(
            f"precision '{precision}' is not known, expected one of {', '.join((*offered(soc), INT8))}."
        )
    reason = why_not_on(precision, soc)
    if reason is not None:
        raise ConversionError(f"precision '{precision}': {reason}.", f"PRECISION={finest(soc)}")
    if precision in PRECISION_V2 and dialect(cann).precision_v2:
        return (f"--precision_mode_v2={precision}",)
    if precision not in (*_V1_OF_V2, *PRECISION_V1):
        raise ConversionError(f"precision '{precision}': CANN {cann} has no such mode.", f"PRECISION={finest(soc)}")
    return (f"--precision_mode={_V1_OF_V2.get(precision, precision)}",)
