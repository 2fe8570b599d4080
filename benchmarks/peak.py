# SPDX-License-Identifier: Apache-2.0
"""What this processor can do at most: its multiply-adds, again and again on numbers that stay in its registers."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from llvmlite import binding, ir

from facepipe.backends.native.compile import compiled, new_program
from facepipe.backends.native.emit import FLOATS, INDEX, Program, Value, Writer

BYTE, SHORT, WORD = ir.IntType(8), ir.IntType(16), ir.IntType(32)
STRIDE = 16  # floats from one vector in memory to the next: the longest there are
SECONDS, ROUNDS = 0.05, 6  # of one repetition, and how many there are; the fastest counts


class _BFloat(ir.Type):  # type: ignore[misc]  # llvmlite's classes have no types
    """LLVM's half-wide float32, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


Write = Callable[[Writer, Value, Value, Value], Value]
"""Writes the new accumulator of an accumulator and two operands."""


@dataclass(frozen=True, slots=True)
class Step:
    """One multiply-add of vectors.

    Attributes:
        accumulator, operand: the vectors' types.
        products: how many are added to one accumulator.
        write: the instructions.
    """

    accumulator: ir.VectorType
    operand: ir.VectorType
    products: int
    write: Write


def peaks(threads: int) -> dict[str, float]:
    """Operations per second (two for a multiply-add) that so many threads do at once, by precision.

    Returns:
        "f32"; "bf16" where the processor has avx512_bf16; "int8" where it has AVX2 or more. A precision that AMX
        computes is left out: no instruction of vectors tells what its tiles do.
    """
    program = new_program()
    steps = steps_for(dict(binding.get_host_cpu_features()), program)
    accumulators = program.registers * 3 // 4  # more than a multiply-add takes cycles, and room for the operands
    for precision, step in steps.items():
        write_repetition(program, f"repeat_{precision}", step, accumulators)
    code = compiled(program, None)
    found = {}
    for precision, step in steps.items():
        repeat = code.function(f"repeat_{precision}", (ctypes.c_int64, ctypes.c_void_p))
        found[precision] = 2 * step.products * accumulators * _repetitions_per_second(repeat, accumulators, threads)
    return found


def steps_for(features: Mapping[str, bool], program: Program) -> dict[str, Step]:
    """By precision, the step that does most on a processor with these features, which have LLVM's names."""
    width, words = program.width, ir.VectorType(WORD, program.width)
    steps = {"f32": Step(program.vector, program.vector, width, _in_f32)}
    if features.get("avx512bf16") and not features.get("amx-bf16"):
        pairs = ir.VectorType(_BFloat(), 2 * width)
        steps["bf16"] = Step(program.vector, pairs, 2 * width, _calling("llvm.x86.avx512bf16.dpbf16ps.512"))
    in_bytes = None if features.get("amx-int8") else _in_bytes(features, width)
    if in_bytes is not None:
        steps["int8"] = Step(words, words, 4 * width, in_bytes)
    return steps


def _in_bytes(features: Mapping[str, bool], width: int) -> Write | None:
    """Of vectors of `width` 32-bit numbers; None where the processor has none of that length."""
    if width == 16 and features.get("avx512vnni"):
        return _calling("llvm.x86.avx512.vpdpbusd.512")
    if width == 16 and features.get("avx512bw"):
        return _by_pairs("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512")
    if width == 8 and features.get("avxvnni"):
        return _calling("llvm.x86.avx512.vpdpbusd.256")
    if width == 8 and features.get("avx2"):
        return _by_pairs("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd")
    return None


def write_repetition(program: Program, name: str, step: Step, accumulators: int) -> None:
    """Write a function (times, memory) that does the step so often for each accumulator, with the same two operands.

    In memory every `STRIDE` floats a vector begins: the two operands, then the accumulators, which are written back.
    """
    writer = program.function(name, [INDEX, FLOATS])
    times, memory = writer.function.args
    builder = writer.builder

    def at(position: int) -> Value:
        return writer.place(memory, STRIDE * position)

    one, other = (builder.load(at(position), align=4, typ=step.operand) for position in (0, 1))
    held = []
    for position in range(accumulators):
        held.append(builder.alloca(step.accumulator))
        builder.store(builder.load(at(2 + position), align=4, typ=step.accumulator), held[-1])
    with writer.loop(times):
        for place in held:
            builder.store(step.write(writer, builder.load(place), one, other), place)
    for position, place in enumerate(held):
        builder.store(builder.load(place), at(2 + position), align=4)
    writer.end()


def _in_f32(writer: Writer, accumulator: Value, one: Value, other: Value) -> Value:
    return writer.multiply_add(one, other, accumulator)


def _calling(name: str) -> Write:
    """One instruction that does all of it."""

    def write(writer: Writer, accumulator: Value, one: Value, other: Value) -> Value:
        return _call(writer, name, accumulator.type, [accumulator, one, other])

    return write


def _by_pairs(multiply: str, add: str) -> Write:
    """Before VNNI: products of bytes summed by pairs in 16 bits, those by pairs in 32, and these to the accumulator.

    The bytes that are multiplied are the accumulator's own. Were they the operands', their products would be the same
    every time, and the compiler would do them once.
    """

    def write(writer: Writer, accumulator: Value, one: Value, other: Value) -> Value:
        builder, words = writer.builder, accumulator.type
        data, shorts = ir.VectorType(BYTE, 4 * words.count), ir.VectorType(SHORT, 2 * words.count)
        factors = [builder.bitcast(accumulator, data), builder.bitcast(one, data)]
        sums = [_call(writer, multiply, shorts, factors), builder.bitcast(other, shorts)]
        return builder.add(accumulator, _call(writer, add, words, sums))

    return write


def _call(writer: Writer, name: str, result: ir.VectorType, arguments: list[Value]) -> Value:
    module = writer.program.module
    known = module.globals.get(name)
    function = known or ir.Function(module, ir.FunctionType(result, [value.type for value in arguments]), name)
    return writer.builder.call(function, arguments)


def _repetitions_per_second(repeat: Callable[..., None], accumulators: int, threads: int) -> float:
    """Of all threads together, the fastest of some rounds."""
    random = np.random.default_rng(0)
    memories = [random.uniform(-1, 1, STRIDE * (2 + accumulators)).astype(np.float32) for _ in range(threads)]
    times = 1 << 16
    with ThreadPoolExecutor(threads) as pool:

        def spent() -> float:
            began = time.perf_counter()
            for done in [pool.submit(repeat, times, memory.ctypes.data) for memory in memories]:
                done.result()
            return time.perf_counter() - began

        while spent() < SECONDS:
            times *= 2
        return threads * times / min(spent() for _ in range(ROUNDS))
