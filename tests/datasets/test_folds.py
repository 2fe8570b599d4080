# SPDX-License-Identifier: Apache-2.0
"""Folds that are dealt keep people apart where they can, have both kinds of pairs, and do not depend on the order."""

from __future__ import annotations

import random

import pytest

from facepipe.datasets.folds import deal_folds
from facepipe.errors import DataError

Truth = tuple[str, str, bool]


def people(names: int, photographs: int = 4, below: str = "") -> list[list[str]]:
    return [[f"{below}p{name:03d}/{number}.jpg" for number in range(photographs)] for name in range(names)]


def couples(groups: list[list[str]]) -> list[Truth]:
    """Each two neighbours are compared with one another and nobody else: strangers never join three."""
    pairs: list[Truth] = [(one[0], one[1], True) for one in groups]
    pairs += [(one[0], other[1], False) for one, other in zip(groups[::2], groups[1::2], strict=True)]
    return pairs


def ring(groups: list[list[str]]) -> list[Truth]:
    """Everybody is joined with everybody, by the next."""
    pairs: list[Truth] = [(one[0], one[1], True) for one in groups]
    return pairs + [(one[2], other[3], False) for one, other in zip(groups, [*groups[1:], groups[0]], strict=True)]


def folds_of_people(pairs: list[Truth], folds: tuple[int, ...], depth: int = 1) -> dict[str, set[int]]:
    seen: dict[str, set[int]] = {}
    for (first, second, _), fold in zip(pairs, folds, strict=True):
        for key in (first, second):
            seen.setdefault("/".join(key.split("/")[:depth]), set()).add(fold)
    return seen


def test_people_who_are_not_all_joined_are_in_one_fold_each() -> None:
    pairs = couples(people(60))
    dealt = deal_folds(pairs)
    assert dealt.count == 10 and set(dealt.folds) == set(range(10))
    assert all(len(folds) == 1 for folds in folds_of_people(pairs, dealt.folds).values())
    assert dealt.rule == "folds dealt with seed 0, no person in two of them (people by folder)"
    for fold in range(10):
        kinds = [same for (_, _, same), place in zip(pairs, dealt.folds, strict=True) if place == fold]
        assert (kinds.count(True), kinds.count(False)) == (6, 3)


def test_folders_above_the_persons_are_seen_through() -> None:
    groups = people(30, below="data/train/") + people(30, below="data/test/")
    pairs = couples(groups)
    dealt = deal_folds(pairs)
    assert "no person in two of them (people by folder)" in dealt.rule
    assert all(len(folds) == 1 for folds in folds_of_people(pairs, dealt.folds, 3).values())


def test_where_all_are_joined_a_persons_own_pairs_stay_together_and_the_others_are_counted() -> None:
    groups = people(40, 6)
    pairs = ring(groups) + [(one[4], one[5], True) for one in groups]
    dealt = deal_folds(pairs)
    own = [(pair, fold) for pair, fold in zip(pairs, dealt.folds, strict=True) if pair[2]]
    fold_of = {first.split("/")[0]: fold for (first, _, _), fold in own}
    assert all(fold == fold_of[first.split("/")[0]] for (first, _, _), fold in own)
    strangers = [(pair, fold) for pair, fold in zip(pairs, dealt.folds, strict=True) if not pair[2]]
    homes = [{fold_of[key.split("/")[0]] for key in pair[:2]} for pair, _ in strangers]
    assert all(fold in home for (_, fold), home in zip(strangers, homes, strict=True))
    crossing = sum(len(home) == 2 for home in homes)
    assert (
        dealt.rule
        == f"folds dealt with seed 0 by person (people by folder); {crossing:,} pairs have a person in another fold"
    )


def test_without_folders_that_tell_those_are_one_person_whom_their_pairs_join() -> None:
    loose = [[key.replace("/", "-") for key in group] for group in people(40)]
    pairs: list[Truth] = []
    for one, other in zip(loose[::2], loose[1::2], strict=True):
        pairs += [(one[0], one[1], True), (one[1], one[2], True), (other[0], other[1], True), (one[2], other[0], False)]
    dealt = deal_folds(pairs)
    assert "(people by the pairs of one person)" in dealt.rule and "no person in two" in dealt.rule
    for place in range(0, len(pairs), 4):
        assert len(set(dealt.folds[place : place + 4])) == 1


@pytest.mark.parametrize("make", [couples, ring])
def test_neither_the_order_of_the_lines_nor_of_a_pair_moves_one(make: object) -> None:
    assert callable(make)
    pairs: list[Truth] = make(people(40))
    before = dict(zip(pairs, deal_folds(pairs).folds, strict=True))
    shuffled = list(pairs)
    random.Random(1).shuffle(shuffled)
    turned = [(second, first, same) for first, second, same in shuffled]
    assert dict(zip(shuffled, deal_folds(turned).folds, strict=True)) == before


def test_a_pair_that_is_listed_again_is_in_its_fold() -> None:
    pairs = ring(people(40))
    folds = deal_folds([*pairs, *((second, first, same) for first, second, same in pairs)]).folds
    assert folds[: len(pairs)] == folds[len(pairs) :]


def test_few_pairs_make_few_folds_and_too_few_are_refused() -> None:
    assert deal_folds(couples(people(6))).count == 3
    with pytest.raises(DataError, match="3 pairs of one person and 1 of two cannot be dealt into two folds"):
        deal_folds([*couples(people(2)), ("p9/1.jpg", "p9/2.jpg", True)])
    with pytest.raises(DataError, match="40 pairs of one person and 0 of two"):
        deal_folds([pair for pair in couples(people(40)) if pair[2]])


@pytest.mark.parametrize("small", [2, 20])
def test_a_crowd_beside_small_groups_does_not_fill_a_fold(small: int) -> None:
    """Nearly all pairs hang together: people apart would make one fold of them, and another of the rest."""
    pairs = ring(people(60)) + couples([[f"q{key}" for key in group] for group in people(small)])
    dealt = deal_folds(pairs)
    assert dealt.count == 10 and "by person" in dealt.rule
    most = max(dealt.folds.count(fold) for fold in range(dealt.count))
    assert most * dealt.count <= 1.5 * len(pairs)
