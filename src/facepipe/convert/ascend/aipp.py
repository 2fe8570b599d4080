# SPDX-License-Identifier: Apache-2.0
"""(x - mean) * scale folded into an .om: Ascend's image pre-processing unit (AIPP), told by a text file.

The model then takes uint8 N, H, W, C, whatever --input_format says, and files of input shrink to a quarter.
Source: ATC guide, "AIPP configuration"; y = (x - mean_chn - min_chn) * var_reci_chn, after the channel swap.
"""

from __future__ import annotations

import numpy as np

from facepipe.errors import ConversionError
from facepipe.specs import ModelSpec


def aipp_config(spec: ModelSpec) -> str:
    """The AIPP file for a model with a fixed image size, fed RGB bytes.

    `mean_chn` takes whole numbers only, so the whole mean goes into `min_chn`, which is a half-precision number.

    Raises:
        ConversionError: the model's constants or its size do not survive AIPP.
    """
    height, width = spec.input.dims[2], spec.input.dims[3]
    if not (height.is_fixed and width.is_fixed):
        raise ConversionError(
            f"{spec.name}: its image size is {height} x {width}, expected a fixed one; static AIPP crops to one size.",
            "leave AIPP off for this model.",
        )
    for name, values in (("mean", spec.pixels.mean), ("scale", spec.pixels.scale)):
        for value in values:
            if float(np.float16(value)) != value:
                raise ConversionError(
                    f"{spec.name}: its {name} {value:.9g} is no half-precision number, and AIPP's constants are.",
                    "leave AIPP off for this model; its answers would move.",
                )
    lines = [
        "aipp_mode: static",
        "related_input_rank: 0",
        "input_format: RGB888_U8",
        f"src_image_size_w: {width.low}",
        f"src_image_size_h: {height.low}",
        "crop: false",
        f"rbuv_swap_switch: {str(spec.pixels.order == 'BGR').lower()}",
        "csc_switch: false",
        *(f"mean_chn_{channel}: 0" for channel in range(3)),
        *(f"min_chn_{channel}: {value!r}" for channel, value in enumerate(spec.pixels.mean)),
        *(f"var_reci_chn_{channel}: {value!r}" for channel, value in enumerate(spec.pixels.scale)),
    ]
    return "aipp_op {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
