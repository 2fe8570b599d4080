# SPDX-License-Identifier: Apache-2.0
"""Layers as functions. Every map is [rows, columns, channels], its channels padded with zeros to whole vectors.

A function ends with the layer's bias and PReLU. Each output number is summed in the same order whatever the number of
images, so that answers do not depend on what else is in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facepipe.backends.native.emit import FLOATS, INDEX, TABLE, Program, Value, Writer
from facepipe.backends.native.winograd import Winograd

TILES = 24
"""Tiles that are transformed together, so that they lie in the processor's own cache; a multiple of every block."""


@dataclass(frozen=True, slots=True)
class Block:
    """Outputs that are summed in registers at the same time: `rows` positions times `vectors` of channels."""

    rows: int
    vectors: int


@dataclass(frozen=True, slots=True)
class Run:
    """Inputs of one output that lie side by side: at down * pitch + plane * planes + start, `length` floats."""

    down: int
    planes: int
    start: int
    length: int


def block_of(program: Program, channels: int) -> Block:
    """The block for so many output channels: at most three quarters of the registers sum, the others hold operands."""
    vectors = 2 if channels % (2 * program.width) == 0 else 1
    return Block(6 if vectors == 2 and program.registers == 16 else 12, vectors)


def write_convolution(program: Program, name: str, runs: Sequence[Run], channels: int, *, prelu: bool) -> None:
    """A convolution, or a dense layer: products of inputs and weights, summed run by run.

    name(input, offsets, output, count, weights, pitch, plane): for each of `count` positions the inputs begin at its
    offset; outputs lie side by side. Weights as `packed` has them.
    """
    writer = program.function(name, [FLOATS, TABLE, FLOATS, INDEX, FLOATS, INDEX, INDEX])
    block = block_of(program, channels)
    count = writer.function.args[3]
    # The last block is moved back, so that it is whole too, and some outputs are computed twice. Fewer positions than a
    # block go one by one.
    with (
        writer.loop(channels // (block.vectors * program.width)) as part,
        writer.builder.if_else(writer.at_least(count, block.rows)) as (enough, few),
    ):
        with enough:
            last = writer.subtract(count, block.rows)
            with writer.loop(count, block.rows) as row:
                _sum_block(writer, runs, channels, block, part, writer.minimum(row, last), prelu)
        with few, writer.loop(count) as row:
            _sum_block(writer, runs, channels, Block(1, block.vectors), part, row, prelu)
    writer.end()


def _sum_block(
    writer: Writer, runs: Sequence[Run], channels: int, block: Block, part: Value, row: Value, prelu: bool
) -> None:
    source, offsets, target, _, weights, pitch, plane = writer.function.args
    width = writer.program.width
    side = block.vectors * width  # channels of a block
    inputs = sum(run.length for run in runs)
    bias = channels * inputs
    first, own = writer.multiply(part, inputs * side), writer.multiply(part, side)
    sums = [
        [writer.variable(writer.load(weights, writer.add(own, bias + v * width))) for v in range(block.vectors)]
        for _ in range(block.rows)
    ]
    places = [writer.entry_of(offsets, writer.add(row, i)) for i in range(block.rows)]
    done = 0
    for run in runs:
        start = writer.add(writer.multiply(pitch, run.down), writer.multiply(plane, run.planes), run.start)
        with writer.loop(run.length) as step:
            at = writer.add(first, writer.multiply(step, side), done * side)
            _multiply_add(writer, source, [writer.add(place, start, step) for place in places], weights, at, sums)
        done += run.length
    for i, row_sums in enumerate(sums):
        to = writer.add(writer.multiply(writer.add(row, i), channels), own)
        for v, place in enumerate(row_sums):
            total = writer.builder.load(place)
            if prelu:
                total = writer.prelu(total, writer.load(weights, writer.add(own, bias + channels + v * width)))
            writer.store(total, target, writer.add(to, v * width))


def _multiply_add(
    writer: Writer, source: Value, places: Sequence[Value], weights: Value, at: Value, sums: list[list[Value]]
) -> None:
    """One step of a block: every sum gets one input times one vector of weights."""
    width = writer.program.width
    vectors = [writer.load(weights, writer.add(at, v * width)) for v in range(len(sums[0]))]
    for place, row_sums in zip(places, sums, strict=True):
        number = writer.broadcast(source, place)
        for vector, total in zip(vectors, row_sums, strict=True):
            writer.builder.store(writer.multiply_add(number, vector, writer.builder.load(total)), total)


def packed(program: Program, weights: np.ndarray, bias: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Weights [inputs, channels] as the functions read them, then the biases, then PReLU's slopes: float32."""
    side = block_of(program, weights.shape[1]).vectors * program.width
    parts = weights.reshape(len(weights), -1, side).transpose(1, 0, 2)  # (channels / side, inputs, side)
    return np.concatenate([parts.ravel(), bias, slopes]).astype(np.float32)


def write_pool(program: Program, name: str, size: int, stride: int, channels: int) -> None:
    """The greatest of every window; windows may reach beyond the last row and column, where there is nothing.

    name(input, output, count, rows, columns, output_rows, output_columns), for `count` maps.
    """
    writer = program.function(name, [FLOATS, FLOATS, *[INDEX] * 5])
    source, target, count, rows, columns, output_rows, output_columns = writer.function.args
    pitch = writer.multiply(columns, channels)

    def within(start: Value, step: int, end: Value) -> Value:
        """The last row or column again, where a window goes beyond it: the greatest stays the same."""
        return writer.minimum(writer.add(writer.multiply(start, stride), step), writer.subtract(end, 1))

    with writer.loop(count) as image, writer.loop(output_rows) as y:
        top = writer.multiply(image, writer.multiply(rows, pitch))
        lines = [writer.add(top, writer.multiply(within(y, i, rows), pitch)) for i in range(size)]
        line = writer.multiply(writer.add(writer.multiply(image, output_rows), y), output_columns)
        with writer.loop(output_columns) as x:
            across = [writer.multiply(within(x, j, columns), channels) for j in range(size)]
            to = writer.multiply(writer.add(line, x), channels)
            for channel in range(0, channels, program.width):
                best = None
                for start in lines:
                    for step in across:
                        value = writer.load(source, writer.add(start, step, channel))
                        best = value if best is None else writer.maximum(value, best)
                writer.store(best, target, writer.add(to, channel))
    writer.end()


def write_first(
    program: Program, name: str, convolution: str, pool: str, size: int, stride: int, channels: int, planes: int
) -> None:
    """The first convolution and its pooling, a strip of rows after another, so that the map between them stays small.

    name(input, offsets, scratch, output, count, weights, rows, columns, output_rows, output_columns, strip): images
    [planes, rows + 2, columns + 2]; `rows` and `columns` are the convolution's; `strip` rows of the output at a time.
    """
    writer = program.function(name, [FLOATS, TABLE, FLOATS, FLOATS, INDEX, FLOATS, *[INDEX] * 5])
    source, offsets, scratch, target, count, weights, rows, columns, output_rows, output_columns, strip = (
        writer.function.args
    )
    convolve, reduce = program.module.globals[convolution], program.module.globals[pool]
    pitch = writer.add(columns, 2)
    plane = writer.multiply(writer.add(rows, 2), pitch)
    strips = writer.builder.sdiv(writer.add(output_rows, strip, -1), strip)
    with writer.loop(count) as image, writer.loop(strips) as number:
        begin = writer.multiply(number, strip)
        lines = writer.minimum(strip, writer.subtract(output_rows, begin))
        top = writer.multiply(begin, stride)
        needed = writer.minimum(
            writer.add(writer.multiply(writer.subtract(lines, 1), stride), size), writer.subtract(rows, top)
        )
        shown = writer.place(source, writer.multiply(image, writer.multiply(plane, planes)))
        listed = writer.place(offsets, writer.multiply(top, columns))
        writer.builder.call(convolve, [shown, listed, scratch, writer.multiply(needed, columns), weights, pitch, plane])
        line = writer.add(writer.multiply(image, output_rows), begin)
        to = writer.place(target, writer.multiply(writer.multiply(line, output_columns), channels))
        one = writer.add(1)
        writer.builder.call(reduce, [scratch, to, one, needed, columns, lines, output_columns])
    writer.end()


def write_winograd(
    program: Program, name: str, transform: Winograd, inputs: int, padded_inputs: int, channels: int
) -> None:
    """A convolution by Winograd's method, in tiles: transform, one matrix product for each place in a tile, transform.

    name(input, input_offsets, output, output_offsets, count, weights, input_pitch, output_pitch, transformed, products)
    for `count` tiles, which may overlap in the output. Scratch: size^2 * TILES * channels floats, of input and output.
    """
    writer = program.function(name, [FLOATS, TABLE, FLOATS, TABLE, INDEX, FLOATS, INDEX, INDEX, FLOATS, FLOATS])
    count = writer.function.args[4]
    with writer.loop(count, TILES) as first:
        tiles = writer.minimum(writer.subtract(count, first), TILES)
        _transform_inputs(writer, transform, padded_inputs, first, tiles)
        _multiply_places(writer, transform, inputs, padded_inputs, channels, tiles)
        _transform_outputs(writer, transform, inputs, channels, first, tiles)
    writer.end()


def _transform_inputs(writer: Writer, transform: Winograd, padded: int, first: Value, tiles: Value) -> None:
    source, offsets, _, _, _, _, pitch, _, transformed, _ = writer.function.args
    with writer.loop(tiles) as tile:
        corner = writer.entry_of(offsets, writer.add(first, tile))
        with writer.loop(padded, writer.program.width) as channel:
            at = writer.add(corner, channel)
            values = [
                [
                    writer.load(source, writer.add(at, writer.multiply(pitch, i), j * padded))
                    for j in range(transform.size)
                ]
                for i in range(transform.size)
            ]
            to = writer.add(writer.multiply(tile, padded), channel)
            for i, line in enumerate(writer.congruence(transform.input_transform, values)):
                for j, value in enumerate(line):
                    writer.store(value, transformed, writer.add(to, (i * transform.size + j) * TILES * padded))


def _multiply_places(
    writer: Writer, transform: Winograd, inputs: int, padded: int, channels: int, tiles: Value
) -> None:
    _, _, _, _, _, weights, _, _, transformed, products = writer.function.args
    block, width = block_of(writer.program, channels), writer.program.width
    side = block.vectors * width
    parts = channels // side
    with (
        writer.loop(transform.size**2) as place,
        writer.loop(parts) as part,
        # Beyond the last tile a block computes on what is left of others, which nobody reads.
        writer.loop(tiles, block.rows) as tile,
    ):
        zero = writer.constant(0)
        sums = [[writer.variable(zero) for _ in range(block.vectors)] for _ in range(block.rows)]
        first = writer.multiply(writer.add(writer.multiply(place, parts), part), inputs * side)
        at = writer.multiply(writer.add(writer.multiply(place, TILES), tile), padded)
        with writer.loop(inputs) as step:
            places = [writer.add(at, step, i * padded) for i in range(block.rows)]
            to = writer.add(first, writer.multiply(step, side))
            _multiply_add(writer, transformed, places, weights, to, sums)
        to = writer.add(
            writer.multiply(writer.add(writer.multiply(place, TILES), tile), channels), writer.multiply(part, side)
        )
        for i, row_sums in enumerate(sums):
            for v, total in enumerate(row_sums):
                writer.store(writer.builder.load(total), products, writer.add(to, i * channels + v * width))


def _transform_outputs(
    writer: Writer, transform: Winograd, inputs: int, channels: int, first: Value, tiles: Value
) -> None:
    _, _, target, offsets, _, weights, _, pitch, _, products = writer.function.args
    bias = transform.size**2 * inputs * channels
    with writer.loop(tiles) as tile:
        corner = writer.entry_of(offsets, writer.add(first, tile))
        with writer.loop(channels, writer.program.width) as channel:
            at = writer.add(writer.multiply(tile, channels), channel)
            values = [
                [
                    writer.load(products, writer.add(at, (i * transform.size + j) * TILES * channels))
                    for j in range(transform.size)
                ]
                for i in range(transform.size)
            ]
            shift = writer.load(weights, writer.add(channel, bias))
            slope = writer.load(weights, writer.add(channel, bias + channels))
            to = writer.add(corner, channel)
            for i, line in enumerate(writer.congruence(transform.output_transform, values)):
                for j, value in enumerate(line):
                    total = writer.prelu(writer.builder.fadd(value, shift), slope)
                    writer.store(total, target, writer.add(to, writer.multiply(pitch, i), j * channels))


def packed_winograd(
    program: Program, transform: Winograd, weights: np.ndarray, bias: np.ndarray, slopes: np.ndarray
) -> np.ndarray:
    """Weights [channels, inputs, taps, taps] transformed in float64, place by place; then as `packed`."""
    by = np.array(transform.weight_transform, np.float64)
    places = np.einsum("ya,ocab,xb->yxco", by, weights.astype(np.float64), by)  # (size, size, inputs, channels)
    no_numbers = np.zeros(0)
    parts = [
        packed(program, place, no_numbers, no_numbers) for place in places.reshape(-1, *places.shape[2:])
    ]  # size^2 of (inputs, channels)
    return np.concatenate([*parts, bias, slopes]).astype(np.float32)
