# SPDX-License-Identifier: Apache-2.0
"""What every back end for compiled models (.om) needs to know about one: its record, its gears, its output shapes.

The record is the JSON file beside an .om (store.made_from), written last by `facepipe om`. Command-line runners cannot
ask a model for its gears, so they need it; pyACL asks the model, and holds the record against the answer.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facepipe.backends.base import RuntimeOptions, why_not_honoured
from facepipe.errors import BackendError, StageError, TensorError
from facepipe.geometry.shape_plan import Call, calls, cells, padded
from facepipe.specs import ModelSpec, Pixels
from facepipe.store.files import sidecar_of
from facepipe.store.made_from import Record, read_record

ShapeKind = Literal["static", "batch", "image", "range"]


@dataclass(frozen=True, slots=True)
class OmShapes:
    """The input shapes that an .om was compiled for.

    Attributes:
        kind: "static": one; "batch", "image": gears over that; "range": anything within `low` and `high`.
        gears: whole input shapes, N, C, H, W. Empty for a range.
        low: least sizes of a range, else empty.
        high: greatest sizes of a range, else empty.
        letterbox: whether an image that no gear has exactly may be padded into a larger gear.
    """

    kind: ShapeKind
    gears: tuple[tuple[int, ...], ...]
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    letterbox: bool = False

    @property
    def largest(self) -> tuple[int, ...]:
        """The gear with the most elements, which is what buffers are sized for."""
        return max(self.gears, key=lambda gear: int(np.prod(gear)))


@dataclass(frozen=True, slots=True)
class OmSidecar:
    """What a back end has to know of an .om, from the record beside it."""

    model: str
    written_as: str  # the name ATC gave it, which may end in an operating system and an architecture
    soc: str
    precision: str
    aipp: bool
    shapes: OmShapes

    def to_json(self) -> dict[str, Any]:
        """The `facts` of the record."""
        return {name: value for name, value in asdict(self).items() if name != "model"}


def read_sidecar(om: Path) -> OmSidecar | None:
    """What the record of an .om tells; None where there is none.

    Raises:
        BackendError: it is there and cannot be read, or is of another format.
    """
    try:
        return told_by(read_record(om), om)
    except StageError as error:
        raise BackendError(error.what, _ANEW) from error


def told_by(record: Record | None, om: Path) -> OmSidecar | None:
    """What a record that lay beside the .om tells; None of none.

    Raises:
        BackendError: it is no .om's.
    """
    if record is None:
        return None
    try:
        facts = dict(record.facts)
        shapes = dict(facts.pop("shapes"))
        gears = tuple(tuple(gear) for gear in shapes.pop("gears"))
        low, high = tuple(shapes.pop("low")), tuple(shapes.pop("high"))
        return OmSidecar(record.model, shapes=OmShapes(gears=gears, low=low, high=high, **shapes), **facts)
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(f"{sidecar_of(om)}: is no sidecar of an .om ({error}).", _ANEW) from error


_ANEW = "`make om` writes both anew."


def check_sidecar(sidecar: OmSidecar, spec: ModelSpec, om: Path, soc: str | None) -> None:
    """Raise BackendError when the .om is of another model, another chip or another batch than is asked for.

    Args:
        sidecar: of `om`.
        spec: what is to run.
        om: its name says which batch was meant.
        soc: the chip that is here; None where nobody can tell.
    """
    if sidecar.model != spec.name:
        raise BackendError(f"{om}: was compiled from {sidecar.model}, expected {spec.name}.", "`make om`")
    if soc is not None and sidecar.soc != soc:
        raise BackendError(
            f"{om}: was compiled for {sidecar.soc}, this chip is {soc}.",
            f"`make om SOC={soc}`; --any-chip lets the runtime judge.",
        )
    check_batch(sidecar.shapes, om)
    bound = re.search(r"_linux_(\w+)\.om$", sidecar.written_as)
    if bound is not None and bound[1] != platform.machine():
        raise BackendError(
            f"{om}: a model of a range is bound to its host; it was compiled for {bound[1]}, this is "
            f"{platform.machine()}.",
            f"`facepipe om --host-cpu {platform.machine()}`, or gears, which run anywhere.",
        )


def why_not_compiled(options: RuntimeOptions) -> str | None:
    """Why a compiled model cannot be run with these options; None when it can. `make om` chose its precision."""
    if options.precision != "f32":
        return f"precision {options.precision} cannot be chosen here, it is compiled in; `make om PRECISION=...`."
    return why_not_honoured(options, ("f32",), threads=False, devices=True, compiled=True)


def check_batch(shapes: OmShapes, om: Path) -> None:
    """Raise BackendError when the file's name promises a batch that the model was not compiled for."""
    promised = re.search(r"\.bs(\d+)\.", om.name)
    if promised is None or shapes.kind == "range":
        return
    batches = sorted({gear[0] for gear in shapes.gears})
    if batches != [int(promised[1])]:
        raise BackendError(
            f"{om}: its name says batch {promised[1]}, it was compiled for batch {', '.join(map(str, batches))}.",
            f"`make om BATCH={promised[1]}`",
        )


def output_shapes(spec: ModelSpec, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The shape of each output for an input of `shape` (N, C, H, W), from the specification.

    The first axis is the batch; another that is not fixed is a side counted in cells, height before width, or -1 for
    a model without a rule for cells.
    """
    found = []
    for tensor in spec.outputs:
        sizes = [shape[0]]
        sides = iter(shape[2:])
        for dim in tensor.dims[1:]:
            if dim.is_fixed:
                sizes.append(dim.low)
            elif spec.atc.cells is None:
                sizes.append(-1)
            else:
                sizes.append(cells(next(sides), *spec.atc.cells))
        found.append(tuple(sizes))
    return tuple(found)


def run_in_gears(
    image: np.ndarray,
    spec: ModelSpec,
    shapes: OmShapes,
    execute: Callable[[list[np.ndarray]], Iterator[tuple[np.ndarray, ...]]],
) -> tuple[np.ndarray, ...]:
    """Any batch through a model that takes its gears alone: chunked, padded, executed, trimmed, joined.

    Args:
        image: [N, C, H, W] of any batch, N at least 1.
        spec: names the model, and its rule for cells.
        shapes: what it was compiled for, gears only.
        execute: the padded inputs, each exactly of one gear's shape, to their outputs in the same order, each already
            of the gear's own size.

    Returns:
        The outputs, N rows each; where the image was letterboxed, only the cells of the image.

    Raises:
        TensorError: no gear holds the image.
    """
    planned = calls(image.shape, shapes.gears, shapes.letterbox, spec.name)
    feeds = [padded(image[call.start : call.stop], call.gear) for call in planned]
    parts = [_trimmed(outputs, call, image, spec) for call, outputs in zip(planned, execute(feeds), strict=True)]
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _trimmed(outputs: tuple[np.ndarray, ...], call: Call, image: np.ndarray, spec: ModelSpec) -> tuple[np.ndarray, ...]:
    """The rows and cells that belong to the caller's images."""
    rows = call.stop - call.start
    if call.gear[1:] == image.shape[1:]:
        return tuple(array[:rows] for array in outputs)
    wanted = output_shapes(spec, (rows, *image.shape[1:]))
    return tuple(
        np.ascontiguousarray(array[tuple(slice(size) for size in shape)])
        for array, shape in zip(outputs, wanted, strict=True)
    )


def bytes_of_normalised(images: np.ndarray, pixels: Pixels, where: str) -> np.ndarray:
    """The bytes that a normalised batch was made of: what an .om with AIPP takes.

    Args:
        images: float32 [N, 3, H, W], (x - mean) * scale.
        pixels: the mean and scale; the channels stay as they are, which is the order that AIPP was told.
        where: names the model in an error.

    Returns:
        uint8 [N, H, W, 3], C-contiguous.

    Raises:
        TensorError: the values do not come from bytes, so AIPP would see something else.
    """
    mean = np.array(pixels.mean, np.float64)[:, None, None]  # (3, 1, 1)
    scale = np.array(pixels.scale, np.float64)[:, None, None]
    values = images / scale + mean
    whole = np.rint(values)
    if np.abs(values - whole).max(initial=0) > 1e-3 or whole.min(initial=0) < 0 or whole.max(initial=0) > 255:
        raise TensorError(
            f"{where}: the input does not come from bytes 0 to 255, and its .om has AIPP, which takes them."
        )
    return np.ascontiguousarray(whole.astype(np.uint8).transpose(0, 2, 3, 1))
