# SPDX-License-Identifier: Apache-2.0
"""A model file that was read once: the bytes that were hashed are the bytes that are loaded."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from facepipe.errors import StageError
from facepipe.store.made_from import Record, verified_record


@dataclass(frozen=True, slots=True, eq=False)
class ModelContent:
    """A model's bytes, with what is known of them.

    Attributes:
        path: where they were read. For messages: nothing is read there again.
        content: the whole file.
        sha256: of `content`.
        record: what lay beside the file, of these very bytes; None where nothing did.
    """

    path: Path
    content: bytes
    sha256: str
    record: Record | None

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A private copy of these bytes under the file's own name, for what takes a path alone; then it is removed."""
        with tempfile.TemporaryDirectory(prefix="facepipe-model-") as folder:
            copy = Path(folder) / self.path.name
            copy.write_bytes(self.content)
            yield copy


def read_model(path: Path, sha256: str | None = None) -> ModelContent:
    """Read a model file, and hold it against the record beside it.

    Args:
        sha256: what its digest must be, where a run has stated that; None: any.

    Raises:
        StageError: it is another file than was stated; or the record cannot be read, or is of another file.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise StageError(
            f"{path}: sha256 is {found[:12]}..., expected {sha256[:12]}..., the file that this run began with.",
            "put it back and run the same command again, or --force to start over with the file as it is.",
        )
    return ModelContent(path, content, found, verified_record(path, found))
