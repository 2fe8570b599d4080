# SPDX-License-Identifier: Apache-2.0
"""The folder of a training: whose it is, what it was begun with, and that one training at a time writes into it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final

from facepipe.errors import StageError
from facepipe.store import owned
from facepipe.store.files import read_json, write_json, write_text
from facepipe.store.lock import LOCK, held
from facepipe.store.resumable import Resumable, begin, finish
from facepipe.train import state
from facepipe.train.log import METRICS
from facepipe.train.processes import Processes
from facepipe.train.recipe import Recipe, recipe_text

BEGUN: Final = "begun.json"
DONE: Final = "done.json"
RECIPE: Final = "recipe.toml"
CLASSES: Final = "classes.json"
LAST, BEST, PAGE = "weights.pt", "best.pt", "page.html"
START_OVER: Final = "another --out; --init with this one's weights.pt begins anew from what it learned."


class RunFolder:
    """The folder while a training has it; the first process alone touches it, and the others wait.

    Args:
        start_over: what to try where it was begun with something else, by the asking command's own options.

    Raises:
        StageError: another training has it, or it holds what facepipe did not make.
    """

    def __init__(self, out: Path, processes: Processes, start_over: str = START_OVER) -> None:
        self._out, self._processes, self._start_over = out, processes, start_over
        self._work = Resumable(out, "training", BEGUN, DONE, guarded="", keeps_begun=True, start_over=start_over)
        self._record: Mapping[str, object] = {}
        self._open = ExitStack()

    def __enter__(self) -> RunFolder:
        if self._processes.is_first:
            owned.claim(self._out, "--out with another folder.")
            self._open.enter_context(held(self._out / LOCK, self._busy, vanishes=True))
            state.clear_unfinished(self._out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def begin(self, record: Mapping[str, object], classes: Sequence[str], recipe: Recipe) -> None:
        """Settle that this folder was begun with just this, or begin it.

        Raises:
            StageError: it was begun with another recipe, other faces or other classes; the first difference is named.
        """
        self._record = {**record, "classes": {"count": len(classes), "sha256": _digest(classes)}}
        if self._processes.is_first:
            self._require_classes(classes)
            begin(self._work, self._record, ())
            write_text(self._out / RECIPE, recipe_text(recipe))
            write_json(self._out / CLASSES, {"classes": list(classes)})
        self._processes.wait()

    def finish(self) -> None:
        """All steps are done."""
        finish(self._work, self._record)

    def _require_classes(self, classes: Sequence[str]) -> None:
        path = self._out / CLASSES
        if not path.is_file():
            return
        before = read_json(path, "another --out.")["classes"]
        for number, (was, now) in enumerate(zip(before, classes, strict=False)):
            if was != now:
                raise StageError(
                    f"{self._out}: class {number} was '{was}' when it was begun and is '{now}' now, expected the same "
                    "people in the same order.",
                    self._start_over,
                )

    def _busy(self, owner: str) -> StageError:
        return StageError(
            f"{self._out}: another training is at work there (process {owner}), expected one at a time.",
            f"wait for it, or {self._start_over}",
        )


def remove_run(out: Path) -> None:
    """Remove the training that was in a folder of ours; what else lies there stays.

    Raises:
        StageError: a file in the place of one of its own is none; what was removed before stays removed.
    """
    state.clear_unfinished(out)
    for folder in state.checkpoints(out).values():
        owned.remove_below(folder)
    for name in (BEGUN, DONE, RECIPE, CLASSES, LAST, BEST, PAGE):
        owned.remove(out / name)
    if os.path.lexists(out / METRICS):
        owned.require_grown(out / METRICS)
        (out / METRICS).unlink()


def _digest(classes: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()
