# SPDX-License-Identifier: Apache-2.0
"""A folder of bins as its keys and real rows: what a runner is expected to have been given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facepipe.store.bins import check_files, read_batch, read_index


def read_bins(folder: Path) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """The keys and real rows of every file, in order; padding is dropped."""
    index = read_index(folder)
    check_files(folder, index)
    for file in index.files:
        yield file.keys, read_batch(folder, index, file)[: len(file.keys)]
