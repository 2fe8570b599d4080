# SPDX-License-Identifier: Apache-2.0
"""What the room shares: processes that play the ranks of a training, and a small network."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """Three processes, for `ranks.by_processes`."""
    from ranks import three_processes

    with three_processes() as three:
        yield three


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """In place of the catalogue's, so that a step takes milliseconds."""
    from made_faces import SmallNetwork

    monkeypatch.setattr("facepipe.train.learner.build", lambda name: SmallNetwork(512 if "iresnet" in name else 128))
