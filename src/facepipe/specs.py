# SPDX-License-Identifier: Apache-2.0
"""What a model is, as frozen data: tensors, pixels, weights, alignment, conversion options.

This file knows no model. The models themselves are in `facepipe.catalogue`, one record each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from facepipe.errors import TensorError


@dataclass(frozen=True, slots=True)
class Dim:
    """One axis of a tensor: any size from `low` to `high` that is a multiple of `step`. Fixed when they are equal."""

    name: str
    low: int
    high: int
    step: int = 1

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high

    def admits(self, size: int) -> bool:
        return self.low <= size <= self.high and size % self.step == 0

    def __str__(self) -> str:
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        return str(self.low) if self.is_fixed else f"{self.low}~{self.high}{steps}"


def fixed(size: int) -> Dim:
    """An axis of exactly `size`."""
    return Dim(str(size), size, size)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and axes of one input or output."""

    name: str
    dims: tuple[Dim, ...]
    dtype: str = "float32"

    def check(self, array: np.ndarray, where: str) -> None:
        """Raise TensorError unless `array` has this dtype, rank and sizes; `where` names the model."""
        shape = array.shape
        fits = len(shape) == len(self.dims) and all(
            dim.admits(size) for dim, size in zip(self.dims, shape, strict=True)
        )
        if fits and array.dtype == np.dtype(self.dtype):
            return
        expected = ", ".join(str(dim) for dim in self.dims)
        raise TensorError(
            f"{where}: '{self.name}' is {array.dtype} {list(shape)}, expected {self.dtype} [{expected}].",
            "np.zeros(shape, np.float32) where a batch is padded; NumPy's default is float64."
            if array.dtype == np.float64
            else None,
        )


@dataclass(frozen=True, slots=True)
class Pixels:
    """From bytes to network input: channels in `order`, then (x - mean) * scale, per channel.

    `mean` is in 0..255, and both are listed in `order`.
    """

    order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A file inside a wheel on the package index. The wheel is opened as an archive, never imported."""

    project: str
    version: str
    sha256: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} in the wheel {self.project}=={self.version} on the package index"


@dataclass(frozen=True, slots=True)
class Address:
    """A public address that serves the file itself."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Recipe:
    """Weights that are computed, not fetched; `name` is a function of `facepipe.networks.seeded`."""

    name: str

    def __str__(self) -> str:
        return f"made on the spot by the recipe '{self.name}'"


@dataclass(frozen=True, slots=True)
class UserFile:
    """A file that only its user has; `hint` says which."""

    hint: str

    def __str__(self) -> str:
        return self.hint


Origin = WheelMember | Address | Recipe | UserFile


@dataclass(frozen=True, slots=True)
class Weights:
    """One weight file: where it lies, what it must be, where it comes from, under which licence."""

    file: str  # name under weights/
    sha256: str | None  # None: nobody published one; checked by strict loading, and the digest seen is recorded
    size: int | None  # bytes
    origin: Origin
    licence: str
    mirror: str | None = None  # path below a local mirror's root (FACEPIPE_ASSETS)


@dataclass(frozen=True, slots=True)
class MarginCrop:
    """Cut the box with a margin of `margin` output pixels and stretch it to size x size; landmarks are not used."""

    size: int
    margin: int


@dataclass(frozen=True, slots=True)
class FivePoint:
    """Move five landmarks onto `template` by a similarity transform; the output is size x size.

    `template` rows are (x, y): left eye, right eye, nose, left mouth corner, right mouth corner.
    """

    size: int
    template: tuple[tuple[float, float], ...]


Alignment = MarginCrop | FivePoint


@dataclass(frozen=True, slots=True)
class AtcOptions:
    """What Ascend's compiler is told about a model beyond its input tensors.

    `gears` is the axis the chip's fixed steps are planned over when no range is allowed:
    "image" (height and width), "batch" (the first axis), or "none" (one static shape).
    """

    gears: Literal["image", "batch", "none"] = "none"
    batch_gears: tuple[int, ...] = ()
    aipp: bool = False  # (x - mean) * scale may be folded into the .om
    # (stride, field) of a fully convolutional network: a side of s pixels has ceil((s - field) / stride) + 1 cells.
    cells: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class RateAt:
    """A threshold and the rate that it stands for.

    Attributes:
        far: the share of pairs of different people that are above it, at most.
        similarity: the cosine, a float32; a pair has to be above it to be of one person.
        low, high: 95 % interval of that share, among people like those it was measured on.
    """

    far: float
    similarity: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MeasuredThresholds:
    """Thresholds of a recogniser behind its own alignment.

    Attributes:
        rates: from the highest rate to the lowest.
        source: which photographs, of how many people, by which detector, and the command that measures.
    """

    rates: tuple[RateAt, ...]
    source: str


VERDICT_FAR = 1e-3
"""The rate that a verdict stands for, and a gallery's threshold, where nobody asks for another."""


@dataclass(frozen=True, slots=True)
class PriorLayout:
    """Where a single-shot detector expects faces: in each cell of several maps, boxes of given sides.

    Args:
        strides: input pixels from one cell to the next, one entry for each map.
        sides: of the square boxes in every cell of that map, in input pixels.
        even: the cells of a map share the side evenly, so that a side which the stride does not divide has cells a
            little closer than the stride; False: exactly `stride` apart, and the last cell hangs over.
        clipped: centres and sizes are cut to 0..1.
        corner: a prior's centre is the upper left corner of its cell, not its middle.
    """

    strides: tuple[int, ...]
    sides: tuple[tuple[int, ...], ...]
    even: bool
    clipped: bool
    corner: bool = False


@dataclass(frozen=True, slots=True)
class BoxCode:
    """How four numbers move a prior: centre + number * `centre` * side, and side * exp(number * `size`) or, when not
    `exponential`, side * number * `size`. Landmarks move as centres do. With `distances` the four are how far left,
    top, right and bottom are from the centre, in sides."""

    centre: float
    size: float
    exponential: bool = True
    distances: bool = False


@dataclass(frozen=True, slots=True)
class Suppression:
    """How many boxes on one face become one.

    Args:
        method: "hard" drops what overlaps a better box; "soft" lowers its score by exp(-IoU^2 / sigma); "blending"
            averages all that overlap the best.
        overlap: IoU above which two boxes are one face (hard, blending).
        sigma: of the Gaussian (soft).
        weights: of the average (blending): "score", or "exp" for exp(score).
        plus_one: count both corners as part of a box of pixels.
    """

    method: Literal["hard", "soft", "blending"]
    overlap: float
    sigma: float = 0.5
    weights: Literal["score", "exp"] = "score"
    plus_one: bool = False


@dataclass(frozen=True, slots=True)
class SingleShot:
    """What turns the outputs of a one-pass detector into faces.

    Args:
        size: (height, width) of the input it was trained for, or is usually run at.
        fit: how a photograph becomes an input. "stretch": to `size`, the aspect is not kept; "pad": shrunk or grown
            into `size`, the rest is the mean colour; "shrink": kept as it is, but shrunk when it does not fit
            into `size`.
        multiple: the sides of the input are filled up to a multiple of this with the mean colour.
        threshold: least score of a face in everyday use, in 0..1.
        keypoints: landmarks of each face, in the network's order; 0 when it gives none.
        mirrored: for each landmark, which one it becomes in a mirrored picture.
        heads: what its outputs are; see `geometry.heads`.
        black: what is filled up is black, and not the mean colour.
        batched: outputs have a row for each input; False: one input in each call, and its outputs without that axis.
    """

    size: tuple[int, int]
    fit: Literal["stretch", "pad", "shrink"]
    multiple: int
    priors: PriorLayout
    code: BoxCode
    threshold: float
    suppression: Suppression
    keypoints: int = 0
    mirrored: tuple[int, ...] = ()
    heads: Literal["joined", "scrfd", "yunet"] = "joined"
    black: bool = False
    batched: bool = True


@dataclass(frozen=True, slots=True)
class Imported:
    """What makes a model a user's own: it is known by a record beside its file, `<name>.toml`, not by the catalogue.

    Attributes:
        file: name of the final ONNX, below the folder of the record.
        sha256: of that file.
        meaning: sha256 of all in the record that its answers depend on. It stands where a model of the catalogue has
            the digest of its weights: runs and galleries are bound to it.
        threshold: cosine for verdicts that the record states; None: none.
        checkpoint: sha256 of the PyTorch weights that the file was exported from; None: it came as an ONNX.
    """

    file: str
    sha256: str
    meaning: str
    threshold: float | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is known of one model. Files are named from `name`; nothing else holds its constants."""

    name: str
    task: Literal["detect", "embed"]
    network: str  # key of facepipe.networks.build
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]  # in the order the network returns them
    pixels: Pixels
    weights: Weights
    opset: int
    passes: tuple[str, ...]  # names: the catalogue sits below convert/ and may not import it
    atc: AtcOptions = field(default_factory=AtcOptions)
    alignment: Alignment | None = None
    parity_tolerance: float = 1e-5  # of max|a - b|, times max(1, max|reference|)
    thresholds: MeasuredThresholds | None = None
    linking: float | None = None  # mean cosine down to which two groups of faces are one person; None: never measured
    for_accuracy: bool = True  # False: seeded weights; the numbers say nothing about the network
    single_shot: SingleShot | None = None  # of a detector that is one network
    imported: Imported | None = None  # None: of the catalogue

    @property
    def input(self) -> TensorSpec:
        """The one image input that every model here has."""
        return self.inputs[0]

    def exported(self, weights: Path) -> Path:
        """The ONNX as torch wrote it."""
        return weights / f"{self.name}.onnx"

    def fixed(self, weights: Path) -> Path:
        """The ONNX after the graph passes."""
        return weights / f"{self.name}.fixed.onnx"

    def final(self, weights: Path) -> Path:
        """The ONNX that is run and compiled: fixed, then simplified; or a user's own."""
        return weights / (self.imported.file if self.imported else f"{self.name}.simplified.onnx")

    def quantised(self, weights: Path) -> Path:
        """The final ONNX with its convolutions and products in eight bits."""
        return weights / f"{self.name}.int8.onnx"

    def compiled(self, weights: Path, soc: str, batch: int) -> Path:
        """The .om for one chip. Its name holds the batch where a batch is compiled in (all but batch gears)."""
        stem = self.name if self.atc.gears == "batch" else f"{self.name}.bs{batch}"
        return weights / f"{stem}.{soc}.om"
