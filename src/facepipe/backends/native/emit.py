# SPDX-License-Identifier: Apache-2.0
"""Loops and float32 vectors in LLVM's language: what the kernels are written with.

Arrays are pointers to float32 and offsets count floats. Accumulators are variables in memory, which LLVM turns into
registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from llvmlite import ir

INDEX, FLOAT = ir.IntType(64), ir.FloatType()
ENTRY = ir.IntType(32)  # of a table of offsets
FLOATS, TABLE = ir.PointerType(), ir.PointerType()  # LLVM's pointers have no type; these say what is behind them

Value = Any
"""A number of the program that is written; llvmlite's classes have no types."""

Offset = Value | int


@dataclass(frozen=True, slots=True)
class Program:
    """A module under construction, for vectors of `width` floats on a processor with so many vector registers."""

    module: ir.Module
    width: int
    registers: int

    @property
    def vector(self) -> ir.VectorType:
        return ir.VectorType(FLOAT, self.width)

    @property
    def multiply_add(self) -> Value:
        """LLVM's a * b + c, in one rounding where the processor has that."""
        name = f"llvm.fmuladd.v{self.width}f32"
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(self.vector, [self.vector] * 3), name)

    def function(self, name: str, arguments: Sequence[ir.Type]) -> Writer:
        """A new function without a result. Its arrays never overlap."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), arguments), name)
        function.attributes.add("nounwind")
        for argument in function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return Writer(self, function, ir.IRBuilder(function.append_basic_block("entry")))


@dataclass(frozen=True, slots=True)
class Writer:
    """The body of one function."""

    program: Program
    function: ir.Function
    builder: ir.IRBuilder

    # whole numbers

    def add(self, *terms: Offset) -> Value:
        """The sum of offsets; those known now become one constant."""
        total = _index(sum(term for term in terms if isinstance(term, int)))
        for term in terms:
            if not isinstance(term, int):
                total = self.builder.add(term, total, flags=("nsw",))
        return total

    def subtract(self, one: Offset, other: Offset) -> Value:
        return self.builder.sub(_index(one), _index(other), flags=("nsw",))

    def multiply(self, one: Offset, other: Offset) -> Value:
        return self.builder.mul(_index(one), _index(other), flags=("nsw",))

    def minimum(self, one: Offset, other: Offset) -> Value:
        one, other = _index(one), _index(other)
        return self.builder.select(self.builder.icmp_signed("<", one, other), one, other)

    def entry_of(self, table: Value, position: Offset) -> Value:
        """A 32-bit entry of a table of offsets."""
        return self.builder.sext(self.builder.load(self._at(table, position, ENTRY), align=4, typ=ENTRY), INDEX)

    # vectors

    def load(self, array: Value, offset: Offset) -> Value:
        return self.builder.load(self.place(array, offset), align=4, typ=self.program.vector)

    def store(self, value: Value, array: Value, offset: Offset) -> None:
        self.builder.store(value, self.place(array, offset), align=4)

    def broadcast(self, array: Value, offset: Offset) -> Value:
        """One float of an array, in every lane."""
        none = ir.Constant(self.program.vector, ir.Undefined)
        first = self.builder.insert_element(
            none, self.builder.load(self.place(array, offset), align=4, typ=FLOAT), ir.Constant(ir.IntType(32), 0)
        )
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.program.width), [0] * self.program.width)
        return self.builder.shuffle_vector(first, none, lanes)

    def constant(self, number: Fraction | int) -> Value:
        return ir.Constant(self.program.vector, [float(number)] * self.program.width)

    def multiply_add(self, one: Value, other: Value, third: Value) -> Value:
        return self.builder.call(self.program.multiply_add, [one, other, third])

    def maximum(self, one: Value, other: Value) -> Value:
        """Of two vectors, lane by lane."""
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def prelu(self, value: Value, slope: Value) -> Value:
        """The value where it is positive, else slope * value."""
        is_positive = self.builder.fcmp_ordered(">", value, self.constant(0))
        return self.builder.select(is_positive, value, self.builder.fmul(value, slope))

    def linear_combination(self, factors: Sequence[Fraction], values: Sequence[Value]) -> Value:
        """The sum of factor * value, without the products by 0, 1 and -1. At least one factor is not 0."""
        terms = [(factor, value) for factor, value in zip(factors, values, strict=True) if factor != 0]
        terms.sort(key=lambda term: (term[0] != 1, term[0] != -1))
        total = None
        for factor, value in terms:
            if total is None:
                total = value if factor == 1 else self.builder.fmul(value, self.constant(factor))
            elif factor == 1:
                total = self.builder.fadd(total, value)
            elif factor == -1:
                total = self.builder.fsub(total, value)
            else:
                total = self.multiply_add(value, self.constant(factor), total)
        return total

    def congruence(self, matrix: Sequence[Sequence[Fraction]], tile: Sequence[Sequence[Value]]) -> list[list[Value]]:
        """M T M^T of a tile T of vectors."""
        by_columns = zip(*tile, strict=True)
        half = [[self.linear_combination(row, column) for row in matrix] for column in by_columns]  # [column][row of M]
        return [[self.linear_combination(row, values) for row in matrix] for values in zip(*half, strict=True)]

    def variable(self, value: Value) -> Value:
        """Memory for one vector, which begins as `value`."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(self.program.vector)
        self.builder.store(value, place)
        return place

    # control

    @contextmanager
    def loop(self, stop: Offset, step: int = 1) -> Iterator[Value]:
        """For 0, step, ... below `stop`."""
        before = self.builder.block
        head, body, after = (self.function.append_basic_block(name) for name in ("head", "body", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        counter = self.builder.phi(INDEX)
        counter.add_incoming(_index(0), before)
        self.builder.cbranch(self.builder.icmp_signed("<", counter, _index(stop)), body, after)
        self.builder.position_at_end(body)
        yield counter
        following = self.builder.add(counter, _index(step), flags=("nsw",))
        counter.add_incoming(following, self.builder.block)
        self.builder.branch(head)
        self.builder.position_at_end(after)

    def at_least(self, one: Offset, other: Offset) -> Value:
        return self.builder.icmp_signed(">=", _index(one), _index(other))

    def end(self) -> None:
        self.builder.ret_void()

    def place(self, array: Value, offset: Offset) -> Value:
        """The array from `offset` on."""
        return self._at(array, offset, FLOAT)

    def _at(self, array: Value, offset: Offset, kind: ir.Type) -> Value:
        return self.builder.gep(array, [_index(offset)], inbounds=True, source_etype=kind)


def _index(number: Offset) -> Value:
    return ir.Constant(INDEX, number) if isinstance(number, int) else number
