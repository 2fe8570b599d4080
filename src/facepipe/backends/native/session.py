# SPDX-License-Identifier: Apache-2.0
"""A chain of layers as a session: images in, heads out."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final

import numpy as np

from facepipe.backends.native import kernels
from facepipe.backends.native.chain import Chain, Convolution, Pooling, chain_from_onnx
from facepipe.backends.native.compile import MachineCode, compiled, new_program
from facepipe.backends.native.emit import Program
from facepipe.backends.native.winograd import Winograd, winograd
from facepipe.errors import BackendError, TensorError
from facepipe.store.model_content import ModelContent

WINOGRAD: Final[Winograd] = winograd(3, 3, (0, 1, -1, 2))
"""F(3 x 3, 3 x 3): 25 products instead of 81, and float32 stays within 1e-5."""

LEAST_INPUTS: Final = 16  # channels, below which the transforms cost more than the products that they save
STRIP_FLOATS: Final = 1 << 15  # of the first convolution's outputs at a time: a quarter of a processor's own cache
TABLES: Final = 24  # of offsets that are kept, by number and size of images: the levels of one size of photograph

_ARRAY, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_CONVOLUTION = (_ARRAY, _ARRAY, _ARRAY, _NUMBER, _ARRAY, _NUMBER, _NUMBER)
_POOL = (_ARRAY, _ARRAY, *[_NUMBER] * 5)
_FIRST = (_ARRAY, _ARRAY, _ARRAY, _ARRAY, _NUMBER, _ARRAY, *[_NUMBER] * 5)
_TRANSFORMED = (_ARRAY, _ARRAY, _ARRAY, _ARRAY, _NUMBER, _ARRAY, _NUMBER, _NUMBER, _ARRAY, _ARRAY)


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """What goes from layer to layer: float32 [N, rows, columns, channels]."""

    values: np.ndarray
    count: int
    rows: int
    columns: int


_Step = Callable[["_Map", "_Scratch"], "_Map"]


@dataclass(frozen=True, slots=True)
class _Scratch:
    """Memory between layers, kept from call to call; of one thread."""

    kept: dict[str, np.ndarray] = field(default_factory=dict)

    def floats(self, name: str, count: int) -> np.ndarray:
        """At least so many."""
        if name not in self.kept or len(self.kept[name]) < count:
            self.kept[name] = np.empty(count, np.float32)
        return self.kept[name]


@dataclass(frozen=True, slots=True, eq=False)
class NativeSession:
    """One network. Any number of images of any size that it admits. Calls from several threads take turns.

    The functions below get addresses alone: what they would read is checked here, before every call.
    """

    path: Path
    chain: Chain
    steps: tuple[_Step, ...]
    cuts: tuple[tuple[int, int], ...]  # channels of each head
    channels: int  # of all heads, and what fills a vector
    are_maps: bool
    scratches: tuple[_Scratch, ...]
    threads: ThreadPoolExecutor | None
    code: MachineCode  # is freed with the session
    lock: threading.Lock = field(default_factory=threading.Lock)
    fixed_batch: int | None = None
    precision: str = "f32"

    def run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Outputs of the images float32 [N, C, h, w], shared among the threads; new arrays, the caller's.

        Raises:
            TensorError: not one float32 array of four axes, of the file's channels and of a size that it admits.
        """
        (images,) = _checked(inputs, self.chain, self.path)
        with self.lock:
            return self._share(images)

    def _share(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        share = -(-len(images) // len(self.scratches))
        if self.threads is None or share == len(images):
            return self._heads(self._run(images, self.scratches[0]), images)
        parts = [images[low : low + share] for low in range(0, len(images), share)]
        maps = list(self.threads.map(self._run, parts, self.scratches[: len(parts)]))
        whole = [self._heads(one, part) for one, part in zip(maps, parts, strict=True)]
        return tuple(np.concatenate(column) for column in zip(*whole, strict=True))

    def close(self) -> None:
        if self.threads is not None:
            self.threads.shutdown()

    def _run(self, images: np.ndarray, scratch: _Scratch) -> _Map:
        now = _Map(images, len(images), images.shape[2], images.shape[3])
        for step in self.steps:
            now = step(now, scratch)
        return now

    def _heads(self, last: _Map, images: np.ndarray) -> tuple[np.ndarray, ...]:
        values = last.values.reshape(len(images), last.rows, last.columns, self.channels).transpose(0, 3, 1, 2)
        if not self.are_maps:
            values = values[:, :, 0, 0]
        return tuple(values[:, low:high] for low, high in self.cuts)


def _checked(inputs: tuple[np.ndarray, ...], chain: Chain, path: Path) -> tuple[np.ndarray, ...]:
    """The inputs, contiguous and in this processor's order of bytes."""
    wanted = f"expected one float32 [N, {chain.planes}, {chain.side or 'height'}, {chain.side or 'width'}]"
    found = ", ".join(f"{array.dtype} {list(array.shape)}" for array in inputs)
    (first, *others) = inputs or (np.empty(0),)
    if others or first.dtype != np.float32 or first.ndim != 4 or first.shape[1] != chain.planes:
        raise TensorError(f"{path}: the inputs are {found or 'none'}, {wanted}.")
    if not all(chain.admits(size) for size in first.shape[2:]):
        raise TensorError(f"{path}: the input is {found}, {wanted}, large enough for every layer.")
    return (np.ascontiguousarray(first),)


def load_native(model: ModelContent, threads: int, cache: Path | None, width: int | None = None) -> NativeSession:
    """The network compiled for this processor.

    Args:
        model: a chain of layers, see `chain_from_onnx`.
        threads: among which the images of a call are shared.
        cache, width: as `compiled` and `new_program` take them.

    Raises:
        BackendError: the file is no chain of layers.
    """
    chain, program = chain_from_onnx(model.content, model.path), new_program(width)
    plans = _write(chain, program)
    code = compiled(program, cache)
    return NativeSession(
        model.path,
        chain,
        tuple(plan(code) for plan in plans),
        tuple(pairwise(accumulate(chain.heads, initial=0))),
        _padded(program, sum(chain.heads)),
        chain.are_maps,
        tuple(_Scratch() for _ in range(threads)),
        ThreadPoolExecutor(threads) if threads > 1 else None,
        code,
    )


_Plan = Callable[[MachineCode], _Step]


def _write(chain: Chain, program: Program) -> list[_Plan]:
    """Write every layer's functions; return what binds each of them, once they are compiled."""
    first, pool = chain.layers[:2]
    assert isinstance(first, Convolution) and isinstance(pool, Pooling), "chain_from_onnx sees to it"
    plans, side, channels = [_first(program, first, pool)], chain.side, len(first.bias)
    if side is not None:
        side = pool.outputs(first.outputs(side))
    for number, layer in enumerate(chain.layers[2:]):
        name = f"layer{number}"
        if isinstance(layer, Pooling):
            plans.append(_pool(program, name, layer, channels))
        else:
            plans.append(_convolution(program, name, layer, side, is_last=layer is chain.layers[-1]))
            channels = len(layer.bias)
        side = None if side is None else layer.outputs(side)
    return plans


def _padded(program: Program, channels: int) -> int:
    """As many channels as whole vectors hold."""
    return -(-channels // program.width) * program.width


def _filled(program: Program, layer: Convolution) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [O', C, h, w], bias and slopes of a layer with zeros for the channels that fill a vector."""
    more = _padded(program, len(layer.bias)) - len(layer.bias)
    slopes = np.zeros_like(layer.bias) if layer.slopes is None else layer.slopes
    return (
        np.pad(layer.weights, ((0, more), (0, 0), (0, 0), (0, 0))),
        np.pad(layer.bias, (0, more)),
        np.pad(slopes, (0, more)),
    )


def _first(program: Program, layer: Convolution, pool: Pooling) -> _Plan:
    """The first convolution, of planes of pixels, and its pooling."""
    weights, bias, slopes = _filled(program, layer)
    channels, planes, height, width = weights.shape
    runs = [kernels.Run(y, plane, 0, width) for plane in range(planes) for y in range(height)]
    kernels.write_convolution(program, "first_convolution", runs, channels, prelu=layer.slopes is not None)
    kernels.write_pool(program, "first_pool", pool.size, pool.stride, channels)
    kernels.write_first(program, "first", "first_convolution", "first_pool", pool.size, pool.stride, channels, planes)
    by_input = weights.transpose(1, 2, 3, 0).reshape(-1, channels)  # (planes * 3 * 3, channels)
    numbers = kernels.packed(program, by_input, bias, slopes)

    def bound(code: MachineCode) -> _Step:
        function = code.function("first", _FIRST)

        def step(now: _Map, scratch: _Scratch) -> _Map:
            rows, columns = layer.outputs(now.rows), layer.outputs(now.columns)
            down, across = pool.outputs(rows), pool.outputs(columns)
            strip = max(1, min(down, (STRIP_FLOATS // (columns * channels) - pool.size) // pool.stride + 1))
            between = scratch.floats("strip", ((strip - 1) * pool.stride + pool.size) * columns * channels)
            out = scratch.floats("first", now.count * down * across * channels)
            listed = _positions(1, now.rows, now.columns, 3, 1)
            function(
                *_addresses(now.values, listed, between, out),
                now.count,
                *_addresses(numbers),
                *(rows, columns, down, across, strip),
            )
            return _Map(out, now.count, down, across)

        return step

    return bound


def _pool(program: Program, name: str, layer: Pooling, channels: int) -> _Plan:
    padded = _padded(program, channels)
    kernels.write_pool(program, name, layer.size, layer.stride, padded)

    def bound(code: MachineCode) -> _Step:
        function = code.function(name, _POOL)

        def step(now: _Map, scratch: _Scratch) -> _Map:
            down, across = layer.outputs(now.rows), layer.outputs(now.columns)
            out = scratch.floats(name, now.count * down * across * padded)
            function(*_addresses(now.values, out), now.count, now.rows, now.columns, down, across)
            return _Map(out, now.count, down, across)

        return step

    return bound


def _convolution(program: Program, name: str, layer: Convolution, side: int | None, *, is_last: bool) -> _Plan:
    """A convolution in the way that is fastest for its shape; both ways where the size is not known."""
    _, inputs, taps, _ = layer.weights.shape
    may_be_winograd = taps == WINOGRAD.taps and inputs >= LEAST_INPUTS and layer.slopes is not None
    if not may_be_winograd:
        return _direct(program, name, layer, is_last=is_last)
    if side is not None:
        fits = layer.outputs(side) >= WINOGRAD.outputs
        return _winograd(program, name, layer) if fits else _direct(program, name, layer, is_last=is_last)
    transformed, direct = _winograd(program, name, layer), _direct(program, f"{name}_direct", layer, is_last=is_last)

    def bound(code: MachineCode) -> _Step:
        of_large, of_small = transformed(code), direct(code)

        def step(now: _Map, scratch: _Scratch) -> _Map:
            is_large = layer.outputs(min(now.rows, now.columns)) >= WINOGRAD.outputs
            return of_large(now, scratch) if is_large else of_small(now, scratch)

        return step

    return bound


def _direct(program: Program, name: str, layer: Convolution, *, is_last: bool) -> _Plan:
    """Sums of products. The last layer's outputs are the caller's, and in memory of their own."""
    weights, bias, slopes = _filled(program, layer)
    channels, inputs, height, width = weights.shape
    padded = _padded(program, inputs)
    if inputs == padded:  # what is side by side in a row is one run
        runs = [kernels.Run(y, 0, 0, width * padded) for y in range(height)]
    else:
        runs = [kernels.Run(y, 0, x * padded, inputs) for y in range(height) for x in range(width)]
    kernels.write_convolution(program, name, runs, channels, prelu=layer.slopes is not None)
    by_input = weights.transpose(2, 3, 1, 0).reshape(-1, channels)  # (h * w * inputs, channels)
    numbers = kernels.packed(program, by_input, bias, slopes)

    def bound(code: MachineCode) -> _Step:
        function = code.function(name, _CONVOLUTION)

        def step(now: _Map, scratch: _Scratch) -> _Map:
            rows, columns = layer.outputs(now.rows), layer.outputs(now.columns)
            size = now.count * rows * columns * channels
            out = np.empty(size, np.float32) if is_last else scratch.floats(name, size)
            listed = _positions(now.count, now.rows, now.columns, height, padded)
            function(*_addresses(now.values, listed, out), len(listed), *_addresses(numbers), now.columns * padded, 0)
            return _Map(out, now.count, rows, columns)

        return step

    return bound


def _winograd(program: Program, name: str, layer: Convolution) -> _Plan:
    """By Winograd's minimal filtering."""
    weights, bias, slopes = _filled(program, layer)
    channels, inputs = weights.shape[:2]
    padded = _padded(program, inputs)
    kernels.write_winograd(program, name, WINOGRAD, inputs, padded, channels)
    numbers = kernels.packed_winograd(program, WINOGRAD, weights, bias, slopes)

    def bound(code: MachineCode) -> _Step:
        function = code.function(name, _TRANSFORMED)

        def step(now: _Map, scratch: _Scratch) -> _Map:
            rows, columns = layer.outputs(now.rows), layer.outputs(now.columns)
            out = scratch.floats(name, now.count * rows * columns * channels)
            places = WINOGRAD.size**2 * kernels.TILES
            transformed, products = (
                scratch.floats(part, places * width)
                for part, width in (("transformed", padded), ("products", channels))
            )
            sources = _corners(now.count, now.rows, now.columns, rows, columns, padded)
            targets = _corners(now.count, rows, columns, rows, columns, channels)
            function(
                *_addresses(now.values, sources, out, targets),
                len(sources),
                *_addresses(numbers),
                now.columns * padded,
                columns * channels,
                *_addresses(transformed, products),
            )
            return _Map(out, now.count, rows, columns)

        return step

    return bound


def _addresses(*arrays: np.ndarray) -> list[int]:
    # The `ctypes` attribute would be an object made anew each time, ten times as slow.
    return [array.__array_interface__["data"][0] for array in arrays]


@functools.lru_cache(TABLES)
def _positions(count: int, rows: int, columns: int, taps: int, channels: int) -> np.ndarray:
    """Where the inputs of every output of a convolution begin: int32 [count * (rows - taps + 1) * ...]."""
    y, x = np.arange(rows - taps + 1), np.arange(columns - taps + 1)
    return _offsets(count, rows, columns, y, x, channels)


@functools.lru_cache(TABLES)
def _corners(count: int, rows: int, columns: int, down: int, across: int, channels: int) -> np.ndarray:
    """Where the tiles begin, in a map of rows x columns, that cover down x across outputs; the last are moved back."""
    y, x = (np.minimum(np.arange(0, size, WINOGRAD.outputs), size - WINOGRAD.outputs) for size in (down, across))
    return _offsets(count, rows, columns, y, x, channels)


def _offsets(count: int, rows: int, columns: int, y: np.ndarray, x: np.ndarray, channels: int) -> np.ndarray:
    if count * rows * columns * channels > np.iinfo(np.int32).max:
        raise BackendError(
            f"{count} maps of {rows}x{columns} with {channels} channels are too large for one call.", "a smaller batch."
        )
    images = np.arange(count)[:, None, None]
    lines = ((images * rows + y[:, None]) * columns * channels).astype(np.int32)  # (count, y, 1)
    return (lines + (x * channels).astype(np.int32)).reshape(-1)  # (count, y, x)
