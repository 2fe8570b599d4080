# SPDX-License-Identifier: Apache-2.0
"""Folds for pairs that came without: ten where there can be ten, dealt by person, the same for the same pairs.

A threshold is chosen on the other folds and judged on this one, so what is known of a person there must not help here.
Who a person is, the folders tell: the first ones of a path, as many as it takes for the pairs of one person to agree in
them and the pairs of two people to differ (`ann/1.jpg`, `train/001/frontal/01.jpg`). Where no number of folders does
that, those are one person whom pairs of one person join.

A pair of two people joins them, and the pairs of a set often join everybody with everybody. Where they do not, people
who are joined stay in one fold, and no person is in two. Where they do, a person's own pairs stay in one fold, and a
pair of two people goes to the fold of one of them, the emptier; how many have a person in another fold is said.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from facepipe.errors import DataError

MOST_FOLDS = 10
SEED = 0
_DEEPEST = 32  # folders of a path that are looked at
_UNEVEN = 1.5  # times its share of the pairs that a fold may have at most

Truth = tuple[str, str, bool]
"""Two keys, and whether they show the same person."""


@dataclass(frozen=True, slots=True)
class DealtFolds:
    """The fold of each pair, from 0; how many there are; how they were dealt, in words that begin with "folds"."""

    folds: tuple[int, ...]
    count: int
    rule: str


def deal_folds(pairs: Sequence[Truth]) -> DealtFolds:
    """Folds that have both kinds of pairs each.

    Args:
        pairs: in any order; the answer of a pair does not depend on it. A pair that is listed again has one fold.

    Raises:
        DataError: there cannot be two such folds.
    """
    person, how = _people(pairs)
    joined = _joined_people(pairs, person)
    for count in range(MOST_FOLDS, 1, -1):
        folds = _apart(pairs, joined, count)
        if _each_has_both(folds, pairs, count) and max(Counter(folds).values()) * count <= _UNEVEN * len(pairs):
            return DealtFolds(folds, count, f"folds dealt with seed {SEED}, no person in two of them ({how})")
    shuffled = sorted({(min(a, b), max(a, b)) for a, b, same in pairs if not same}, key=_shuffled)
    for count in range(MOST_FOLDS, 1, -1):
        folds, crossing = _by_one_of_two(pairs, person, shuffled, count)
        if _each_has_both(folds, pairs, count):
            told = f"folds dealt with seed {SEED} by person ({how}); {crossing:,} pairs have a person in another fold"
            return DealtFolds(folds, count, told)
    same = sum(truth for _, _, truth in pairs)
    raise DataError(
        f"folds: {same:,} pairs of one person and {len(pairs) - same:,} of two cannot be dealt into two folds that "
        "have both kinds, expected more of them.",
        "more pairs, or your own folds in a fourth column.",
    )


def _people(pairs: Sequence[Truth]) -> tuple[dict[str, str], str]:
    """Each key's person, and what told it."""
    keys = {key for first, second, _ in pairs for key in (first, second)}
    deepest = max((key.count("/") for key in keys), default=0)
    for depth in range(1, min(deepest, _DEEPEST) + 1):
        if all((_folders(first, depth) == _folders(second, depth)) == same for first, second, same in pairs):
            return {key: _folders(key, depth) for key in keys}, "people by folder"
    joined = _components(keys, ((first, second) for first, second, same in pairs if same))
    return joined, "people by the pairs of one person"


def _folders(key: str, depth: int) -> str:
    """The first folders of a path."""
    return "/".join(key.split("/")[:-1][:depth])


def _components(members: Iterable[str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each member's group, named by its first member in the order of text."""
    parent = {member: member for member in members}

    def root(member: str) -> str:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for one, other in links:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    return {member: root(member) for member in parent}


def _joined_people(pairs: Sequence[Truth], person: dict[str, str]) -> list[str]:
    """The group of each pair: people whom pairs of two join, directly or by others."""
    group = _components(set(person.values()), ((person[first], person[second]) for first, second, _ in pairs))
    return [group[person[first]] for first, _, _ in pairs]


def _apart(pairs: Sequence[Truth], joined: Sequence[str], count: int) -> tuple[int, ...]:
    """A group goes to one fold with all its pairs."""
    weights: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, (_, _, same) in zip(joined, pairs, strict=True):
        weights[name][same] += 1
    totals = [sum(weight[kind] for weight in weights.values()) for kind in (0, 1)]
    load = {name: weight[0] / max(totals[0], 1) + weight[1] / max(totals[1], 1) for name, weight in weights.items()}
    fold_of = _dealt(load, count)
    return tuple(fold_of[name] for name in joined)


def _by_one_of_two(
    pairs: Sequence[Truth], person: dict[str, str], shuffled: Sequence[tuple[str, str]], count: int
) -> tuple[tuple[int, ...], int]:
    """A person's own pairs in one fold; a pair of two, in the shuffled order of these, in the one of their folds that
    has fewer by then. How many of these have their people in two folds."""
    own = Counter(person[first] for first, _, same in pairs if same)
    fold_of = _dealt({name: float(own[name]) for name in set(person.values())}, count)
    chosen: dict[frozenset[str], int] = {}
    filled = [0] * count
    for first, second in shuffled:
        fold = min(fold_of[person[first]], fold_of[person[second]], key=lambda fold: filled[fold])
        chosen[frozenset((first, second))] = fold
        filled[fold] += 1
    folds = tuple(
        fold_of[person[first]] if same else chosen[frozenset((first, second))] for first, second, same in pairs
    )
    crossing = sum(fold_of[person[first]] != fold_of[person[second]] for first, second, _ in pairs)
    return folds, crossing


def _dealt(load: dict[str, float], count: int) -> dict[str, int]:
    """The heaviest first, each to the fold that has least; equals in a shuffled order."""
    filled = [0.0] * count
    fold_of = {}
    for name in sorted(load, key=lambda name: (-load[name], _shuffled(name))):
        fold_of[name] = filled.index(min(filled))
        filled[fold_of[name]] += load[name]
        if not load[name]:  # those without a load are spread too
            filled[fold_of[name]] += 1e-9
    return fold_of


def _shuffled(of: object) -> str:
    """Where something stands in the shuffled order, whatever stands beside it."""
    return hashlib.sha256(f"{SEED} {of}".encode("utf-8", "surrogatepass")).hexdigest()


def _each_has_both(folds: Sequence[int], pairs: Sequence[Truth], count: int) -> bool:
    there = {(fold, same) for fold, (_, _, same) in zip(folds, pairs, strict=True)}
    return len(there) == 2 * count
