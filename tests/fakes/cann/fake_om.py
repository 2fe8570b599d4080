# SPDX-License-Identifier: Apache-2.0
"""A stand-in's .om: a zip of the ONNX file and what it was compiled for, executed with onnxruntime.

Shared by the stand-ins of ATC, pyACL, msame and ais_bench. "facts N.N" in these files names the section of the Ascend
fact sheet (tests/fakes/README.md tells where each rule comes from).
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN_INPUT = "ascend_mbatch_shape_data"  # facts 2.3: the hidden extra input of a model with gears
FLOAT, FLOAT16, UINT8 = 0, 1, 4  # facts 4.2: dtype numbers
NUMPY = {FLOAT: np.dtype(np.float32), FLOAT16: np.dtype(np.float16), UINT8: np.dtype(np.uint8), 9: np.dtype(np.int64)}

_SESSIONS: dict[tuple[str, int], Any] = {}


class NotAnOm(Exception):
    """The file is no .om of these stand-ins."""


def version(text: str) -> tuple[int, int, int]:
    """A CANN release that sorts: 6.3.RC1 < 6.3 < 8.0."""
    major, minor, candidate = re.match(r"(\d+)\.(\d+)(?:\.RC(\d+))?", text).groups()  # type: ignore[union-attr]
    return int(major), int(minor), int(candidate or 99)


def write(path: Path, header: dict[str, Any], onnx_bytes: bytes) -> None:
    """Write an .om. `header`: soc, kind, gears, low, high, aipp (constants or None), output_type (dtype number)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("om.json", json.dumps(header))
        archive.writestr("model.onnx", onnx_bytes)


@dataclass
class Om:
    """One loaded .om."""

    header: dict[str, Any]
    onnx_bytes: bytes
    input_name: str = ""
    output_names: list[str] = field(default_factory=list)
    session: Any = None

    @property
    def kind(self) -> str:
        """static, batch, image or range."""
        return str(self.header["kind"])

    @property
    def soc(self) -> str:
        return str(self.header["soc"])

    @property
    def cann(self) -> tuple[int, int, int]:
        """The release that compiled it."""
        return version(str(self.header.get("cann", "8.0")))

    @property
    def gears(self) -> list[tuple[int, ...]]:
        """Whole shapes N, C, H, W."""
        return [tuple(gear) for gear in self.header["gears"]]

    @property
    def largest(self) -> tuple[int, ...]:
        return max(self.gears, key=math.prod)

    @property
    def greatest(self) -> tuple[int, ...]:
        """The largest gear, or the upper bounds of a range."""
        return tuple(self.header["high"]) if self.kind == "range" else self.largest

    @property
    def is_unbounded(self) -> bool:
        """A range of -1, whose sizes nobody tells."""
        return bool(self.header.get("unbounded"))

    @property
    def aipp(self) -> dict[str, float] | None:
        found: dict[str, float] | None = self.header.get("aipp")
        return found

    @property
    def input_type(self) -> int:
        return UINT8 if self.aipp else FLOAT

    @property
    def output_type(self) -> int:
        return int(self.header.get("output_type", FLOAT))

    def device_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the input buffer for a gear: N, H, W, C under AIPP (facts 2.5), else as it is."""
        return (shape[0], shape[2], shape[3], shape[1]) if self.aipp else shape

    def input_bytes(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape) * NUMPY[self.input_type].itemsize

    def output_shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """By execution, once for each shape."""
        cache = self.__dict__.setdefault("_shapes", {})
        if shape not in cache:
            cache[shape] = [array.shape for array in self._run(np.zeros(shape, np.float32))]
        return list(cache[shape])

    def output_bytes(self, shape: tuple[int, ...]) -> list[int]:
        size = NUMPY[self.output_type].itemsize
        return [math.prod(out) * size for out in self.output_shapes(shape)]

    def execute(self, raw: bytes, shape: tuple[int, ...]) -> list[np.ndarray]:
        """The network on the bytes of one gear's input."""
        data = np.frombuffer(raw, NUMPY[self.input_type])[: math.prod(shape)].reshape(self.device_shape(shape))
        if self.aipp:
            # facts 2.5: y = (x - mean - min) * var_reci, in half precision, on N, H, W, C
            planes = data.transpose(0, 3, 1, 2).astype(np.float16)
            least, reciprocal = np.float16(self.aipp["min"]), np.float16(self.aipp["var_reci"])
            data = ((planes - np.float16(self.aipp["mean"]) - least) * reciprocal).astype(np.float32)
        return [array.astype(NUMPY[self.output_type]) for array in self._run(np.ascontiguousarray(data))]

    def _run(self, data: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(array) for array in self.session.run(None, {self.input_name: data})]


def load(path: str | Path) -> Om:
    """Read an .om.

    Raises:
        NotAnOm: the file is something else, or torn.
    """
    return loads(Path(path).read_bytes())


def loads(content: bytes) -> Om:
    """The same from memory."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            header = json.loads(archive.read("om.json"))
            onnx_bytes = archive.read("model.onnx")
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise NotAnOm(str(error)) from error
    import onnxruntime

    om = Om(header, onnx_bytes)
    key = (str(hash(onnx_bytes)), len(onnx_bytes))
    if key not in _SESSIONS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        _SESSIONS[key] = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    om.session = _SESSIONS[key]
    om.input_name = om.session.get_inputs()[0].name
    om.output_names = [output.name for output in om.session.get_outputs()]
    return om
