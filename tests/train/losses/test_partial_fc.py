# SPDX-License-Identifier: Apache-2.0
"""Partial FC against arcface_torch's answers, against a slow program, and on several ranks against one."""

from __future__ import annotations

import math
import re
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from arcface_torch_answers import (  # noqa: E402
    MARGINS,
    analytic,
    answers,
    distance,
    one_process,
    read_published,
    two_processes,
)
from ranks import by_processes, by_threads  # noqa: E402
from slow_margin_loss import slow_margin_loss  # noqa: E402
from torch.optim.sgd import sgd  # noqa: E402

from facepipe.errors import DataError  # noqa: E402
from facepipe.train.draws import generator  # noqa: E402
from facepipe.train.losses.margin import ARCFACE, COSFACE, Margin  # noqa: E402
from facepipe.train.losses.partial_fc import PartialFC, draw_classes, first_centres, shard_of  # noqa: E402
from facepipe.train.processes import ALONE  # noqa: E402

LARGEST = 1e-5
"""Of the largest entry of what is compared with."""


# What arcface_torch answers


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, np.ndarray]:
    return read_published(golden)


def test_one_process_answers_as_arcface_torch(published: dict[str, np.ndarray]) -> None:
    """Both margins; all classes, the filter, samples of two rates; loss and both gradients."""
    found = one_process(published)
    assert len(found) == 2 * 4 * 3
    assert max(found.values()) <= LARGEST, found


def test_the_analytic_gradient_is_the_stored_one(published: dict[str, np.ndarray]) -> None:
    found = analytic(published)
    assert len(found) == 2
    assert max(found.values()) <= LARGEST, found


def test_the_slow_program_has_the_stored_loss_without_a_bound(published: dict[str, np.ndarray]) -> None:
    """So it may judge the others."""
    embeddings, centres = (published[name].astype(np.float64) for name in ("embeddings", "centres"))
    for name, margin in MARGINS.items():
        slow = slow_margin_loss(
            embeddings[:8], published["labels"][:8], centres, np.arange(500),
            scale=64, m1=1, m2=margin.m2, m3=margin.m3, analytic=False, most=math.inf,
        )  # fmt: skip
        assert slow.loss == pytest.approx(-published[f"{name}_log_probability_float64"][:8].mean(), rel=1e-6)


@pytest.mark.process
def test_two_processes_answer_as_arcface_torch(published: dict[str, np.ndarray], executor: Executor) -> None:
    found = two_processes(published, executor)
    assert len(found) == 2 * (4 + 3)
    assert max(found.values()) <= LARGEST, found


# Several ranks, and one


def share_of_a_batch(processes: Any, embeddings: np.ndarray, labels: np.ndarray, classes: int) -> tuple[Any, ...]:
    """What a rank has after two steps: losses, the embeddings' true gradient, its centres and their momentum."""
    own = len(labels) // processes.world
    here = slice(own * processes.rank, own * processes.rank + own)
    head = PartialFC(classes, embeddings.shape[1], 5, processes=processes)
    losses = []
    for step in range(2):
        loss, gradient, _ = answers(head, embeddings[here], labels[here], ARCFACE, step)
        losses.append(loss)
        head.advance(1e-3, 0.9, 5e-4)  # a larger step would solve the batch, and leave nothing to compare
    state = head.rows_state()
    return losses, gradient / processes.world, state["weight"].numpy(), state["momentum"].numpy()


def made_batch(rows: int, classes: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    draws = generator(3, "a made batch", rows, classes)
    return draws.standard_normal((rows, dimension), dtype=np.float32), draws.integers(0, classes, rows)


def assert_equal_to_one_rank(found: list[tuple[Any, ...]], one: tuple[Any, ...]) -> None:
    assert all(part[0] == found[0][0] for part in found), "ranks were told other losses"
    assert distance(found[0][0], np.asarray(one[0])) <= LARGEST
    for place in (1, 2, 3):
        assert distance(np.concatenate([part[place] for part in found]), one[place]) <= LARGEST


@pytest.mark.process
@pytest.mark.parametrize("world", [2, 3])
def test_500_classes_on_several_processes_are_500_classes_on_one(world: int, executor: Executor) -> None:
    batch = made_batch(60, 500, 128)
    one = share_of_a_batch(ALONE, *batch, 500)
    assert_equal_to_one_rank(by_processes(executor, world, share_of_a_batch, *batch, 500), one)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_shards_need_not_be_equal(world: int) -> None:
    """37 classes: 19 and 18; 13, 12 and 12; 10 and three times 9."""
    batch = made_batch(24, 37, 16)
    found = by_threads(world, lambda processes: share_of_a_batch(processes, *batch, 37))
    assert [len(part[2]) for part in found] == {2: [19, 18], 3: [13, 12, 12], 4: [10, 9, 9, 9]}[world]
    assert_equal_to_one_rank(found, share_of_a_batch(ALONE, *batch, 37))


def go_on(processes: Any, saved: dict[str, np.ndarray], embeddings: np.ndarray, labels: np.ndarray) -> Any:
    """A step from what was saved, and where it leads: the loss, the centres, the momentum."""
    own = len(labels) // processes.world
    here = slice(own * processes.rank, own * processes.rank + own)
    head = PartialFC(len(saved["weight"]), embeddings.shape[1], 99, processes=processes)
    head.load_rows({name: torch.tensor(rows[head.first :][: head.rows]) for name, rows in saved.items()})
    loss, _, _ = answers(head, embeddings[here], labels[here], COSFACE)
    head.advance(1e-3, 0.9, 5e-4)
    return loss, *(rows.numpy() for rows in head.rows_state().values())


@pytest.mark.process
def test_centres_saved_by_two_processes_go_on_with_one_and_three(executor: Executor) -> None:
    embeddings, labels = made_batch(60, 500, 128)
    two = by_processes(executor, 2, share_of_a_batch, embeddings, labels, 500)
    saved = {name: np.concatenate([part[place] for part in two]) for place, name in ((2, "weight"), (3, "momentum"))}
    assert np.abs(saved["momentum"]).max() > 0
    by_world = {world: by_processes(executor, world, go_on, saved, embeddings, labels) for world in (2, 1, 3)}
    for world in (1, 3):
        assert distance(by_world[world][0][0], np.asarray(by_world[2][0][0])) <= LARGEST
        for place in (1, 2):
            expected = np.concatenate([part[place] for part in by_world[2]])
            assert distance(np.concatenate([part[place] for part in by_world[world]]), expected) <= LARGEST


@pytest.mark.parametrize(("classes", "world"), [(1, 1), (37, 3), (37, 37), (500, 3), (93_431, 8)])
def test_every_class_has_one_process(classes: int, world: int) -> None:
    shards = [shard_of(classes, rank, world) for rank in range(world)]
    assert [first for first, _ in shards] == [sum(rows for _, rows in shards[:rank]) for rank in range(world)]
    assert sum(rows for _, rows in shards) == classes
    assert {rows for _, rows in shards} <= {classes // world, classes // world + 1}


def test_rows_of_other_classes_are_refused() -> None:
    state = {"weight": torch.zeros(37, 2), "momentum": torch.zeros(37, 2)}
    with pytest.raises(DataError, match=r"centres: weight is \[37, 2\], expected \[37, 3\]"):
        PartialFC(37, 3, 0).load_rows(state)


def test_a_centre_s_start_depends_on_seed_and_class_alone() -> None:
    whole = first_centres(7, 0, 700, 8)
    assert whole.dtype == np.float32
    for first, rows in ((0, 1), (255, 2), (256, 256), (300, 399), (699, 1)):
        assert np.array_equal(first_centres(7, first, rows, 8), whole[first : first + rows])
    assert not np.array_equal(first_centres(8, 0, 1, 8), whole[:1])
    assert abs(whole.std() - 0.01) < 2e-4 and abs(whole.mean()) < 5e-4
    assert len(np.unique(whole, axis=0)) == 700


# The slow program


@st.composite
def programs(draw: st.DrawFn) -> dict[str, Any]:
    world = draw(st.integers(1, 3))
    classes = draw(st.integers(world, 14))
    label = st.one_of(
        st.just(-1), st.integers(0, classes - 1), st.integers(0, 1).map(lambda low: min(low, classes - 1))
    )
    rows = draw(st.integers(1, 3)) * world
    return {
        "world": world,
        "classes": classes,
        "labels": np.array(draw(st.lists(label, min_size=rows, max_size=rows)), dtype=np.int64),
        "rate": draw(st.sampled_from([1.0, 0.6, 0.3, 0.05])),
        "inter_class": draw(st.sampled_from([None, 0.1, 0.4])),
        "seed": draw(st.integers(0, 2**32)),
        "step": draw(st.integers(0, 1000)),
        "margin": Margin(
            draw(st.sampled_from([64.0, 8.0])),
            draw(st.sampled_from([1.0, 1.2])),
            draw(st.sampled_from([0.0, 0.5, 2.0])),
            draw(st.sampled_from([0.0, 0.4])),
            draw(st.sampled_from(["arcface_torch", "analytic"])),
        ),
    }


@settings(max_examples=60)
@given(programs())
def test_any_ranks_rate_margin_and_padding_answer_as_the_slow_program(case: dict[str, Any]) -> None:
    """In float64. Padding is rows of zeros; ranks without a positive, and more positives than asked for, come up."""
    world, classes, labels, margin = case["world"], case["classes"], case["labels"], case["margin"]
    draws = generator(case["seed"], "a case")
    embeddings = draws.standard_normal((len(labels), 6)) * (labels >= 0)[:, None]
    centres = draws.standard_normal((classes, 6))
    own = len(labels) // world

    def one_rank(processes: Any) -> tuple[Any, ...]:
        taken: list[np.ndarray] = []

        def lot(*arguments: Any) -> np.ndarray:
            taken.append(draw_classes(*arguments))
            return taken[-1]

        head = PartialFC(
            classes, 6, case["seed"], rate=case["rate"], inter_class=case["inter_class"], processes=processes, draw=lot
        ).double()
        head.load_rows(
            {"weight": torch.tensor(centres[head.first :][: head.rows]), "momentum": torch.zeros(head.rows, 6)}
        )
        here = slice(own * processes.rank, own * processes.rank + own)
        chosen = taken[0] if taken else np.arange(head.rows)
        found = answers(head, embeddings[here], labels[here], margin, case["step"])
        chosen = taken[0] if taken else np.arange(head.rows)
        return (*found, chosen + head.first, set(labels.tolist()) & set(range(head.first, head.first + head.rows)))

    found = by_threads(world, one_rank)
    for rank, (_, _, _, chosen, positives) in enumerate(found):
        rows = shard_of(classes, rank, world)[1]
        count = rows if case["rate"] == 1 else max(1, int(case["rate"] * rows), len(positives))
        assert positives <= set(chosen.tolist()) and len(chosen) == count
        assert (np.diff(chosen) > 0).all()
    taken = np.concatenate([part[3] for part in found])
    slow = slow_margin_loss(
        embeddings, labels, centres, taken, scale=margin.scale, m1=margin.m1, m2=margin.m2, m3=margin.m3,
        analytic=margin.gradient == "analytic", inter_class=case["inter_class"],
    )  # fmt: skip
    assert [part[0] for part in found] == pytest.approx([slow.loss] * world, rel=1e-9, abs=1e-12)
    by_embeddings = np.concatenate([part[1] for part in found]) / world
    np.testing.assert_allclose(by_embeddings, slow.embeddings, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(np.concatenate([part[2] for part in found]), slow.centres[taken], rtol=1e-7, atol=1e-9)


# Samples


def test_all_positives_take_part_where_they_are_more_than_asked_for() -> None:
    positives = np.array([1, 4, 7, 8])
    assert draw_classes(positives, 10, 2, generator(0, "x")).tolist() == [1, 4, 7, 8]


def test_a_lot_falls_on_every_other_class_alike_and_on_none_twice() -> None:
    positives = np.array([0, 5])
    counts = np.zeros(20)
    for step in range(2000):
        chosen = draw_classes(positives, 20, 8, generator(1, "classes", step, 0))
        assert len(np.unique(chosen)) == 8 and (np.diff(chosen) > 0).all()
        counts[chosen] += 1
    assert counts[positives].tolist() == [2000, 2000]
    others = np.delete(counts, positives)  # 6 of 18: 667 each, standard deviation 21
    assert np.abs(others - 2000 / 3).max() < 5 * 21


def test_a_sample_is_a_function_of_seed_step_and_rank() -> None:
    def sample(seed: int, step: int, before: int = 0) -> list[list[int]]:
        """Of each of two ranks, neither of which has a positive, after `before` other steps."""

        def one_rank(processes: Any) -> list[int]:
            chosen: list[np.ndarray] = []

            def lot(*arguments: Any) -> np.ndarray:
                chosen.append(draw_classes(*arguments))
                return chosen[-1]

            head = PartialFC(200, 4, seed, rate=0.1, processes=processes, draw=lot)
            for number in [*range(before), step]:
                head(torch.zeros(2, 4), torch.tensor([-1, -1]), ARCFACE, number)
            return chosen[-1].tolist()

        return by_threads(2, one_rank)

    first, second = sample(1, 8)
    assert len(first) == len(second) == 10 and first != second
    assert sample(1, 8) == [first, second] == sample(1, 8, before=3)
    assert sample(1, 9)[0] != first != sample(2, 8)[0]


# How centres move


def after_three_steps(movement: str, rate: float) -> tuple[PartialFC, list[dict[str, torch.Tensor]]]:
    """Rows 0 to 9 of 20 take part in steps 0 and 2, rows 5 to 14 in step 1; states before and after each step."""
    lots = iter([np.arange(10), np.arange(5, 15), np.arange(10)])
    head = PartialFC(20, 4, 3, rate=rate, movement=movement, draw=lambda *_: next(lots))
    embeddings, _ = made_batch(6, 20, 4)
    states = [{name: rows.clone() for name, rows in head.rows_state().items()}]
    for step in range(3):
        answers(head, embeddings, [5, 6, 7, 8, 9, 9], ARCFACE, step)
        head.advance(0.1, 0.9, 5e-2)
        states.append({name: rows.clone() for name, rows in head.rows_state().items()})
    return head, states


def moved_rows(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], name: str) -> list[int]:
    return (before[name] != after[name]).any(dim=1).nonzero().flatten().tolist()


@pytest.mark.parametrize("name", ["weight", "momentum"])
def test_v1_centres_that_take_no_part_stand_still(name: str) -> None:
    _, states = after_three_steps("v1", 0.5)
    assert [moved_rows(states[step], states[step + 1], name) for step in range(3)] == [
        list(range(10)),
        list(range(5, 15)),
        list(range(10)),
    ]


@pytest.mark.parametrize("name", ["weight", "momentum"])
def test_v2_centres_that_take_no_part_move_too(name: str) -> None:
    _, states = after_three_steps("v2", 0.5)
    assert [moved_rows(states[step], states[step + 1], name) for step in range(3)] == [list(range(20))] * 3


@pytest.mark.parametrize("movement", ["v1", "v2"])
def test_centres_move_as_torch_s_sgd_moves_them(movement: str) -> None:
    """v2 is SGD on all centres with a gradient of 0 where no part was taken; v1 on each row's own steps alone."""
    embeddings, _ = made_batch(6, 20, 4)
    lots = [np.arange(10), np.arange(5, 15), np.arange(10)]
    turn = iter(lots)
    head = PartialFC(20, 4, 3, rate=0.5, movement=movement, draw=lambda *_: next(turn))
    rows = list(head.weight.detach().clone())
    momenta: list[torch.Tensor | None] = [None] * 20
    for step in range(3):
        _, _, gradient = answers(head, embeddings, [5, 6, 7, 8, 9, 9], ARCFACE, step)
        by_class = dict(zip(lots[step].tolist(), torch.tensor(gradient), strict=True))
        for number in range(20) if movement == "v2" else by_class:
            of_this = momenta[number : number + 1]
            sgd(
                [rows[number]], [by_class.get(number, torch.zeros(4))], of_this, foreach=False,
                lr=0.1, momentum=0.9, weight_decay=5e-2, dampening=0, nesterov=False, maximize=False,
            )  # fmt: skip
            momenta[number] = of_this[0]
        head.advance(0.1, 0.9, 5e-2)
    np.testing.assert_allclose(head.weight, torch.stack(rows), rtol=1e-5, atol=1e-7)
    expected = [torch.zeros(4) if momentum is None else momentum for momentum in momenta]
    np.testing.assert_allclose(head.momentum, torch.stack(expected), rtol=1e-5, atol=1e-7)


def test_what_is_done_to_the_gradient_is_done_to_the_step() -> None:
    """A scaler divides it in place, a limit shortens it in place."""
    embeddings, labels = made_batch(6, 20, 4)
    heads = [PartialFC(20, 4, 3), PartialFC(20, 4, 3)]
    for head, factor in zip(heads, (1.0, 8.0), strict=True):
        loss = head(torch.tensor(embeddings), torch.tensor(labels), ARCFACE, 0)
        (loss * factor).backward()
        head.gradient().div_(factor)
        head.advance(0.1, 0.9, 5e-4)
    np.testing.assert_allclose(heads[0].weight, heads[1].weight, rtol=1e-5, atol=1e-7)


def test_a_step_without_a_loss_is_a_defect() -> None:
    head = PartialFC(20, 4, 3)
    with pytest.raises(AssertionError, match="no loss went backward"):
        head.advance(0.1, 0.9, 5e-4)
    embeddings, labels = made_batch(6, 20, 4)
    answers(head, embeddings, labels, ARCFACE)
    head.advance(0.1, 0.9, 5e-4)
    with pytest.raises(AssertionError, match="no loss went backward"):
        head.advance(0.1, 0.9, 5e-4)


# Padding, damage, precision


def test_padding_adds_nothing_and_gets_nothing() -> None:
    embeddings, labels = made_batch(6, 20, 4)
    padded = np.concatenate([embeddings, np.zeros((2, 4), np.float32)]), np.concatenate([labels, [-1, -1]])
    plain, more = PartialFC(20, 4, 3), PartialFC(20, 4, 3)
    loss, gradient, centres = answers(plain, embeddings, labels, ARCFACE)
    padded_loss, padded_gradient, padded_centres = answers(more, *padded, ARCFACE)
    assert padded_loss == pytest.approx(loss, rel=1e-6)
    assert not padded_gradient[6:].any()
    np.testing.assert_allclose(padded_gradient[:6], gradient, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(padded_centres, centres, rtol=1e-5, atol=1e-8)


def test_a_rank_with_nothing_but_padding_counts_for_nothing() -> None:
    embeddings, labels = made_batch(6, 20, 4)
    padded = np.concatenate([embeddings, np.zeros((6, 4), np.float32)]), np.concatenate([labels, np.full(6, -1)])
    found = by_threads(2, lambda processes: share_of_a_batch(processes, *padded, 20))
    one = share_of_a_batch(ALONE, embeddings, labels, 20)
    assert found[0][0] == pytest.approx(one[0], rel=1e-5)
    assert distance(np.concatenate([part[2] for part in found]), one[2]) <= LARGEST
    assert not found[1][1].any()


@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_a_batch_of_padding_has_the_loss_0_and_no_gradient(rate: float) -> None:
    head = PartialFC(20, 4, 3, rate=rate)
    loss, gradient, centres = answers(head, np.zeros((4, 4), np.float32), [-1] * 4, ARCFACE)
    assert loss == 0
    assert not gradient.any() and not centres.any()


def test_an_embedding_of_zeros_that_has_a_label_harms_nobody() -> None:
    """Its direction is unknown: cosines of 0 and no gradient, where a division by 1e-12 would take the whole step."""
    embeddings, labels = made_batch(6, 20, 4)
    embeddings[2] = 0
    loss, gradient, centres = answers(PartialFC(20, 4, 3), embeddings, labels, ARCFACE)
    assert math.isfinite(loss) and np.isfinite(centres).all()
    assert not gradient[2].any()
    assert np.abs(gradient).max() < 1000


@pytest.mark.parametrize("gradient", ["arcface_torch", "analytic"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_embedding_on_its_centre_or_opposite_has_finite_gradients(gradient: str, sign: int) -> None:
    head = PartialFC(20, 4, 3)
    embeddings = sign * 7 * head.weight.detach().numpy()
    loss, by_embeddings, by_centres = answers(head, embeddings, list(range(20)), Margin(gradient=gradient))
    assert math.isfinite(loss) and np.isfinite(by_embeddings).all() and np.isfinite(by_centres).all()


@pytest.mark.parametrize("broken", ["embeddings", "centres"])
def test_no_number_on_one_rank_is_no_loss_on_all(broken: str) -> None:
    """The loop stops at such a loss; all ranks must see it."""

    def one_rank(processes: Any) -> float:
        head = PartialFC(20, 4, 3, processes=processes)
        embeddings = torch.ones(2, 4)
        if processes.rank == 1:
            (embeddings if broken == "embeddings" else head.weight.data)[0, 0] = math.nan
        return head(embeddings, torch.tensor([0, 1]), ARCFACE, 0).item()

    assert [math.isnan(loss) for loss in by_threads(3, one_rank)] == [True] * 3


@pytest.mark.parametrize("label", [-2, 20, 10**12])
def test_a_label_that_is_no_class_is_refused_by_every_rank(label: int) -> None:
    """Else the ranks without it would wait for the others."""

    def one_rank(processes: Any) -> str:
        head = PartialFC(20, 4, 3, processes=processes)
        labels = torch.tensor([3, label if processes.rank == 1 else -1])
        with pytest.raises(DataError) as error:
            head(torch.ones(2, 4), labels, ARCFACE, 0)
        return str(error.value)

    told = f"labels: {label} is no class, expected 0 to 19, or -1 for a row of padding."
    assert all(text.startswith(told) for text in by_threads(2, one_rank))


def test_labels_of_another_dtype_are_refused() -> None:
    with pytest.raises(DataError, match=r"labels: dtype torch.int32, expected torch.int64"):
        PartialFC(20, 4, 3)(torch.ones(2, 4), torch.tensor([0, 1], dtype=torch.int32), ARCFACE, 0)


@pytest.mark.parametrize(
    ("classes", "options", "told"),
    [
        (20, {"rate": 0.0}, "centres: the sampled share is 0.0, expected above 0 to 1."),
        (20, {"rate": 1.5}, "centres: the sampled share is 1.5, expected above 0 to 1."),
        (20, {"movement": "v3"}, "centres: movement is 'v3', expected one of v1, v2."),
        (0, {}, "centres: 0 classes on 1 processes, expected a class for each at least. Try: 1 processes"),
    ],
)
def test_what_is_no_head_is_refused(classes: int, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        PartialFC(classes, 4, 3, **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_product_alone_is_in_half_precision(dtype: torch.dtype) -> None:
    embeddings, labels = made_batch(32, 50, 64)
    exact = answers(PartialFC(50, 64, 3), embeddings, labels, ARCFACE)
    head = PartialFC(50, 64, 3)
    x = torch.tensor(embeddings).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = head(x, torch.tensor(labels), ARCFACE, 0)
    loss.backward()
    # The same sums by hand: only the cosines are rounded to the half type.
    rounded = (
        torch.nn.functional.normalize(x.detach()).to(dtype) @ torch.nn.functional.normalize(head.weight).to(dtype).T
    )
    target = rounded.float()[range(32), labels]
    logits = rounded.float() * 64
    logits[range(32), labels] = (target.arccos() + 0.5).cos() * 64
    by_hand = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    assert loss.dtype == x.grad.dtype == head.gradient().dtype == torch.float32
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-6)
    assert loss.item() != exact[0]
    assert distance(loss.item(), np.asarray(exact[0])) < 0.01
    assert np.linalg.norm(x.grad.numpy() - exact[1]) / np.linalg.norm(exact[1]) < 0.05
    assert np.linalg.norm(head.gradient().numpy() - exact[2]) / np.linalg.norm(exact[2]) < 0.05


def test_embeddings_in_half_precision_get_a_gradient_of_their_own_kind() -> None:
    """What a network under autocast gives."""
    embeddings, labels = made_batch(8, 20, 4)
    x = torch.tensor(embeddings).bfloat16().requires_grad_()
    loss = PartialFC(20, 4, 3)(x, torch.tensor(labels), ARCFACE, 0)
    loss.backward()
    assert (loss.dtype, x.grad.dtype) == (torch.float32, torch.bfloat16)
    assert x.grad.any()
