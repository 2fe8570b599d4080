# SPDX-License-Identifier: Apache-2.0
"""The same work on many items. Where it is done, here or on many hosts, is an engine's affair and nobody else's.

An engine opens what the work needs once on each of its workers (models, mostly) and hands items out until there are
none. A job says how; an item says what: a shard with its keys, say. So a job stays a few kB whatever the number of
photographs, and an item is all that travels for each piece of work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from facepipe.errors import StageError

Job = TypeVar("Job")
Item = TypeVar("Item")
Result = TypeVar("Result")
_Job = TypeVar("_Job", contravariant=True)
_Item = TypeVar("_Item", contravariant=True)
_Result = TypeVar("_Result", covariant=True)


class Open(Protocol[_Job, _Item, _Result]):
    """A module-level function: opens what the job needs on one worker, yields the function that does one item."""

    def __call__(self, job: _Job, worker: int, /) -> AbstractContextManager[Callable[[_Item], _Result]]: ...


@dataclass(frozen=True, slots=True)
class Died:
    """What comes in place of an item's result when its process ended at it.

    Attributes:
        how: in words that follow "the process": "ended with signal SIGSEGV", "ran out of memory".
    """

    how: str


class Engine(Protocol):
    """Does the items of a job."""

    @property
    def workers(self) -> int:
        """How many items are done at a time."""
        ...

    def map(
        self, open_job: Open[Job, Item, Result], job: Job, items: Sequence[Item], *, apart: bool = False
    ) -> Generator[tuple[int, Result | Died]]:
        """Each item's place among `items`, once, with its result, in the order in which they get ready.

        An item whose process dies comes back as Died and is not tried again; the other items go on.

        Args:
            open_job: called once on each worker, with the worker's number from 0.
            job: how the work is done; must pickle, and be small.
            items: pieces of work that do not depend on each other; must pickle.
            apart: never in this very process, which then outlives the death of any item.

        Raises:
            StageError: workers die before they are given anything.
            FacepipeError: what a worker raised; the first one ends the others.
        """
        ...


def or_error(answer: Result | Died) -> Result:
    """The result of an item, for work that cannot do without any.

    Raises:
        StageError: its process died.
    """
    if isinstance(answer, Died):
        raise StageError(
            f"a worker process {answer.how} while it had work to do, expected an answer.",
            "run the same command again to resume; fewer --workers where memory is short.",
        )
    return answer
