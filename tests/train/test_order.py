# SPDX-License-Identifier: Apache-2.0
"""Which samples a step sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepipe.errors import DataError
from facepipe.train.order import Order


@given(samples=st.integers(4, 200), batch=st.integers(1, 4), epoch=st.integers(0, 5), seed=st.integers(0, 2**40))
def test_an_epoch_sees_every_sample_once_but_what_fills_no_batch(
    samples: int, batch: int, epoch: int, seed: int
) -> None:
    order = Order(seed, samples, batch)
    first = epoch * order.steps_of_epoch
    seen = [int(one) for step in range(first, first + order.steps_of_epoch) for one in order.batch_of(step)]
    assert len(set(seen)) == len(seen) == samples // batch * batch
    assert set(seen) <= set(range(samples))


@given(samples=st.integers(1, 60), batch=st.integers(1, 100))
def test_an_order_that_wraps_sees_all_and_fills_every_batch(samples: int, batch: int) -> None:
    order = Order(3, samples, batch, wraps=True)
    steps = [order.batch_of(step) for step in range(order.steps_of_epoch)]
    assert {len(step) for step in steps} == {batch}
    assert {int(one) for step in steps for one in step} == set(range(samples))


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_processes_take_slices_of_the_one_batch(world: int) -> None:
    order = Order(1, samples=50, batch=12)
    for step in (0, 3, 9):
        slices = [one for rank in range(world) for one in order.batch_of(step, rank, world)]
        assert slices == [*order.batch_of(step)]


def test_epochs_have_different_orders_and_a_seed_gives_its_own() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        order = Order(seed, samples=40, batch=4)
        return [int(one) for step in range(10 * number, 10 * number + 10) for one in order.batch_of(step)]

    assert epoch(1, 0) == epoch(1, 0)
    assert epoch(1, 0) != epoch(1, 1)
    assert epoch(1, 0) != epoch(2, 0)


def test_batches_begin_at_any_step() -> None:
    order = Order(1, samples=10, batch=3)
    whole = list(order.batches(0, 8))
    assert list(order.batches(5, 8)) == whole[5:]
    assert [epoch for (epoch, _), *_ in whole] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_a_set_smaller_than_a_batch_is_refused_unless_the_order_wraps() -> None:
    with pytest.raises(DataError, match=r"has 3 samples, expected at least one batch of 4.*--set wraps=true"):
        Order(1, samples=3, batch=4)
    assert len(Order(1, samples=3, batch=4, wraps=True).batch_of(0)) == 4
