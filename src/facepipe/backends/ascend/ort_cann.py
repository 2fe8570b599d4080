# SPDX-License-Identifier: Apache-2.0
"""ONNX models on an Ascend chip through onnxruntime's CANN provider, which compiles one .om for each shape as it runs.

What was asked for is what runs, or it fails: `backends.ort.open_on`. Three traps of the provider are closed here:

- its force_fp32 multiplies half-precision numbers (GE, --precision_mode: the same as cube_fp16in_fp32out). float32 is
  must_keep_origin_dtype, and that fails on a chip whose matrix unit takes no float32, so such a chip is refused f32;
- it saves what it compiled into the current folder, and loads from there first what has a fitting name; the name knows
  neither precision, nor chip, nor CANN release, nor the weights (cann_graph.cc, `MatchFile`). Saving is turned off, and
  a folder with such a file is refused;
- from PR 27970 on the option is called precision_mode_v2, and an unknown option is an error.

Source: onnxruntime, core/providers/cann; wheel onnxruntime-cann 1.24.4.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

from facepipe.backends.ascend.board import board_soc
from facepipe.backends.base import RuntimeOptions, Session, Traits, why_not_honoured
from facepipe.backends.ort import open_on
from facepipe.catalogue.chips import SET_ENV, Soc
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

PROVIDER = "CANNExecutionProvider"
RENAMED = (1, 25)
"""The first onnxruntime that may know the option under its new name; 1.24.4 has the old one in its binary."""

_PRECISION = {"f32": "must_keep_origin_dtype", "f16": "force_fp16"}
_ATTEMPT = f"{SET_ENV}: libascendcl.so must be found; or --backend pyacl. --backend onnxruntime is the CPU."


_SAVED = re.compile(r"\w+_\d+_\d+\w*\.om")  # <graph>_<hash of the path>_<number>_<hash of the shapes>.om
_INSTALL = "pip install 'onnxruntime-cann<1.25' 'numpy<2'"


@dataclass(frozen=True, slots=True)
class OnnxRuntimeCann:
    """The back end `onnxruntime-cann`. f32 is for chips that multiply float32 matrices; f16 is for all."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "onnxruntime-cann"
    traits: Traits = Traits(packages=("onnxruntime-cann",))

    def why_unavailable(self) -> str | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return f"no module named 'onnxruntime'; {_INSTALL}."
        import onnxruntime

        if PROVIDER not in onnxruntime.get_available_providers():
            return (
                f"this onnxruntime is built without CANN; {_INSTALL} in an environment of its own: it takes the place "
                "of onnxruntime."
            )
        if tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= RENAMED:
            return f"onnxruntime {onnxruntime.__version__} may name the precision otherwise; {_INSTALL}."
        return why_not_honoured(self.options, tuple(_PRECISION), devices=True)

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session that runs on the chip.

        Raises:
            BackendError: onnxruntime made it on the CPU, or cannot load the file.
        """
        _refuse_stale(Path.cwd())
        if self.options.precision == "f32":
            require_f32(board_soc())
        return open_on("CANN", PROVIDER, provider_options(self.options), model, self.options, _ATTEMPT)


def provider_options(options: RuntimeOptions) -> dict[str, str]:
    """The provider's options, as strings."""
    return {
        "device_id": str(options.device),
        "precision_mode": _PRECISION[options.precision],
        "enable_cann_graph": "1",
        "dump_om_model": "0",
        "arena_extend_strategy": "kSameAsRequested",
    }


def require_f32(soc: Soc | None) -> None:
    """Raise BackendError unless the board's chip multiplies float32 matrices."""
    if soc is None:
        raise BackendError(
            "onnxruntime-cann: the board does not tell its chip, and not every chip computes in f32.",
            f"{SET_ENV}, whose module acl is asked; or --precision f16.",
        )
    if not soc.f32_matrices:
        raise BackendError(
            f"onnxruntime-cann: {soc.name} multiplies no float32 matrices, and f32 was asked for.", "--precision f16"
        )


def _refuse_stale(folder: Path) -> None:
    """Raise BackendError where the provider would find an .om of its own instead of compiling."""
    found = sorted(path.name for path in folder.glob("*.om") if _SAVED.fullmatch(path.name))
    if found:
        raise BackendError(
            f"{folder / found[0]}: onnxruntime's CANN provider loads such a file of the current folder instead of "
            "compiling, whatever precision, weights and chip it was made for.",
            "remove it, or another working directory.",
        )
