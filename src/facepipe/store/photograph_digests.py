# SPDX-License-Identifier: Apache-2.0
"""`photographs.sha256`: which photographs a run saw, each by the digest of its file.

The lines are those of `sha256sum`, so that `sha256sum -c` reads them too: the digest, two spaces, the key. A name with
a backslash or a line break in it has them escaped, and a backslash before the digest says so. A dash in the digest's
place stands for a photograph that could not be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from facepipe.errors import DataError
from facepipe.store.files import atomic_path

PHOTOGRAPHS_FILE = "photographs.sha256"
_LINE = re.compile(r"(\\?)([0-9a-f]{64}|-)  (.+)\n")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_MEANINGS = {escaped: letter for letter, escaped in _ESCAPES.items()}


def write_digests(path: Path, digests: Iterable[tuple[str, str]]) -> None:
    """Write (key, sha256) as lines, whole or not at all; "" for the digest of what could not be read."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="\n") as target:
        for key, sha256 in digests:
            name = re.sub(r"[\\\n\r]", lambda match: _ESCAPES[match[0]], key)
            target.write(f"{'' if name == key else chr(92)}{sha256 or '-'}  {name}\n")


def read_digests(path: Path) -> Iterator[tuple[str, str]]:
    """(key, sha256) of every line; "" for the digest of what could not be read.

    Raises:
        DataError: the file cannot be read, or a line has another form.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as source:
            for number, line in enumerate(source, start=1):
                match = _LINE.fullmatch(line)
                if match is None:
                    raise DataError(f"{path}, line {number}: {line[:80]!r}, expected a sha256, two spaces and a key.")
                key = match[3]
                if match[1]:
                    key = re.sub(r"\\.", lambda found: _MEANINGS.get(found[0], found[0]), key)
                yield key, match[2].removeprefix("-")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}), expected the photographs of a run.") from error
