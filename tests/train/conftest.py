# SPDX-License-Identifier: Apache-2.0
"""Processes that play the ranks of a training; they are started once for the room."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

import pytest


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """Three processes, for `ranks.by_processes`; torch is imported once, by the server that forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    with ProcessPoolExecutor(3, context) as three:
        yield three
