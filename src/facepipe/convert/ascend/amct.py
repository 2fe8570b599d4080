# SPDX-License-Identifier: Apache-2.0
"""Eight bits on the chip: the quantised recogniser as ATC takes it, by the vendor's quantiser AMCT.

ATC has no parser for QuantizeLinear and DequantizeLinear. AMCT's `convert_qat_model` replaces each pair by AscendQuant
and AscendDequant, the weights by their eight-bit values, and writes two files: one to try on a host, and one with
"deploy" in its name, which is for ATC and which no onnxruntime runs. Its limits: pairs share one scale, and weights
alone may have one for each channel; biases are rounded too, which moves the answers a little more.
Source: AMCT guide (hiascend.com, CANN 8.0 to 9.1: atlasamct_16_0148, _0159, _0160). It was run nowhere here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from facepipe.errors import ConversionError

PREFIX = "int8"
_ASK = "import sys, amct_onnx; amct_onnx.convert_qat_model(sys.argv[1], sys.argv[2])"


def amct_command(quantised: str, prefix: str) -> tuple[str, ...]:
    """The command that adapts a quantised model, in a process of its own: AMCT brings its own onnxruntime operators."""
    return (sys.executable, "-c", _ASK, quantised, prefix)


def deployed_name(prefix: str) -> str:
    """What AMCT calls the file for ATC."""
    return f"{prefix}_deploy_model.onnx"


def activations_by_channel(quantised: Path) -> list[str]:
    """The QuantizeLinear nodes that give a computed tensor more than one scale."""
    import onnx  # a machine that only compiles may lack it; AMCT itself needs it
    from onnx import numpy_helper

    from facepipe.convert.onnx.passes.graph import constants

    model = onnx.load(str(quantised))
    stored = constants(model)
    return [
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
        and node.input[0] not in stored
        and node.input[1] in stored
        and len(numpy_helper.to_array(stored[node.input[1]]).reshape(-1)) > 1
    ]


def deploy(quantised: Path, folder: Path) -> tuple[Path, str]:
    """The file for ATC, in `folder`, and what AMCT printed.

    Raises:
        ConversionError: AMCT's guide excludes the file; AMCT is not installed, refuses it, or leaves none.
    """
    by_channel = activations_by_channel(quantised)
    if by_channel:
        raise ConversionError(
            f"{quantised}: {len(by_channel)} activations have a scale for each channel (the first at {by_channel[0]}), "
            "and AMCT takes that of weights alone.",
            "a recogniser without depthwise convolutions, which NNCF quantises so: FaceNet, IResNet.",
        )
    made = subprocess.run(
        amct_command(str(quantised.resolve()), f"./{PREFIX}"),
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = made.stdout + made.stderr
    last = " / ".join(said.strip().splitlines()[-1:])[:300]
    if "No module named 'amct_onnx'" in said:
        raise ConversionError(
            f"{quantised}: no module named 'amct_onnx', which makes eight bits that ATC takes.",
            "the wheel amct_onnx of your CANN's AMCT package, into this Python; it is not on the package index.",
        )
    if made.returncode != 0:
        raise ConversionError(f"{quantised}: AMCT failed with exit status {made.returncode}. Last line: {last}.")
    found = folder / deployed_name(PREFIX)
    if not found.is_file():
        raise ConversionError(f"{quantised}: AMCT reported success, and left no {found.name}. Last line: {last}.")
    return found, said
