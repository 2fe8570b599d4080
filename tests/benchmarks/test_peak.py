# SPDX-License-Identifier: Apache-2.0
"""The repeated steps do the products that they are counted with."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

pytest.importorskip("llvmlite")
from benchmarks.peak import STRIDE, Step, peaks, steps_for, write_repetition
from llvmlite import binding

from facepipe.backends.native.compile import compiled, new_program

FEATURES = dict(binding.get_host_cpu_features())
ACCUMULATORS, TIMES = 3, 5


def repeated(step: Step, width: int, memory: np.ndarray) -> np.ndarray:
    """The accumulators after `TIMES` steps, as bytes [ACCUMULATORS, 4 * width]."""
    program = new_program(width)
    write_repetition(program, "repeat", step, ACCUMULATORS)
    after = memory.copy()
    code = compiled(program, None)
    code.function("repeat", (ctypes.c_int64, ctypes.c_void_p))(TIMES, after.ctypes.data)
    return after.reshape(-1, STRIDE)[2:, :width].copy().view(np.uint8)


def memory_of(numbers: np.ndarray) -> np.ndarray:
    """float32 [(2 + ACCUMULATORS) * STRIDE]: the same bytes."""
    return np.ascontiguousarray(numbers).reshape(-1).view(np.float32)


def processor_s(precision: str) -> tuple[Step, int]:
    program = new_program()
    steps = steps_for(FEATURES, program)
    if precision not in steps:
        pytest.skip(f"this processor has no vectors for {precision}")
    return steps[precision], program.width


def test_the_step_of_f32_multiplies_and_adds() -> None:
    step, width = processor_s("f32")
    numbers = np.random.default_rng(0).uniform(-1, 1, (2 + ACCUMULATORS, STRIDE)).astype(np.float32)
    one, other, begin = numbers[0, :width], numbers[1, :width], numbers[2:, :width]
    assert step.products == width
    after = repeated(step, width, memory_of(numbers)).view(np.float32)
    np.testing.assert_allclose(after, begin + TIMES * one * other, rtol=1e-5, atol=1e-6)


def test_the_step_of_bf16_adds_two_products_to_every_float() -> None:
    step, width = processor_s("bf16")
    numbers = np.random.default_rng(0).uniform(-1, 1, (2 + ACCUMULATORS, STRIDE)).astype(np.float32)
    halves = numbers[:2].view(np.uint16)
    halves[:, ::2] = halves[:, 1::2]  # a bf16 is the upper half of a float32; the lower is none to compute with
    one, other = (halves.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    sums = (one * other).reshape(width, 2).sum(axis=1)
    assert step.products == 2 * width
    after = repeated(step, width, memory_of(numbers)).view(np.float32)
    np.testing.assert_allclose(after, numbers[2:] + TIMES * sums, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("feature", "width"), [("avx512vnni", 16), ("avxvnni", 8)])
def test_the_step_of_eight_bits_adds_four_products_to_every_number(feature: str, width: int) -> None:
    if not FEATURES.get(feature):
        pytest.skip(f"this processor has no {feature}")
    step = steps_for({feature: True}, new_program(width))["int8"]
    data = np.random.default_rng(0).integers(0, 256, (2 + ACCUMULATORS, 4 * STRIDE), np.uint8)
    products = data[0].astype(np.int64) * data[1].view(np.int8)
    sums = products[: 4 * width].reshape(width, 4).sum(axis=1)
    assert step.products == 4 * width
    after = repeated(step, width, memory_of(data)).view(np.int32)
    np.testing.assert_array_equal(after, (data[2:].view(np.int32)[:, :width] + TIMES * sums).astype(np.int32))


@pytest.mark.parametrize(("feature", "width"), [("avx512bw", 16), ("avx2", 8)])
def test_without_vnni_pairs_are_summed_in_sixteen_bits_first(feature: str, width: int) -> None:
    if not FEATURES.get(feature):
        pytest.skip(f"this processor has no {feature}")
    step = steps_for({feature: True}, new_program(width))["int8"]
    data = np.random.default_rng(0).integers(0, 256, (2 + ACCUMULATORS, 4 * STRIDE), np.uint8)
    factors, shorts = data[0, : 4 * width].view(np.int8).astype(np.int64), data[1, : 4 * width].view(np.int16)
    expected = data[2:].view(np.int32)[:, :width].copy()
    for _ in range(TIMES):
        pairs = (expected.view(np.uint8) * factors).reshape(ACCUMULATORS, 2 * width, 2).sum(axis=2).clip(-32768, 32767)
        expected += (pairs * shorts).reshape(ACCUMULATORS, width, 2).sum(axis=2).astype(np.int32)
    assert step.products == 4 * width
    np.testing.assert_array_equal(repeated(step, width, memory_of(data)).view(np.int32), expected)


@pytest.mark.parametrize(
    ("features", "width", "expected"),
    [
        ([], 4, ["f32"]),
        (["avx2"], 8, ["f32", "int8"]),
        (["avx2"], 16, ["f32"]),  # with avx512f, which has no bytes
        (["avx2", "avx512bw"], 16, ["f32", "int8"]),
        (["avx2", "avx512bw", "avx512vnni", "avx512bf16"], 16, ["f32", "bf16", "int8"]),
        (["avx512vnni", "avx512bf16", "amx-bf16", "amx-int8"], 16, ["f32"]),  # tiles are not measured by vectors
    ],
)
def test_what_is_not_measured_is_left_out(features: list[str], width: int, expected: list[str]) -> None:
    assert list(steps_for(dict.fromkeys(features, True), new_program(width))) == expected


def test_every_step_of_this_processor_is_measured() -> None:
    found = peaks(1)
    assert list(found) == list(steps_for(FEATURES, new_program()))
    assert all(operations > 1e8 for operations in found.values())
