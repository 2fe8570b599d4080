# SPDX-License-Identifier: Apache-2.0
"""The files that one photograph passes, fused, from `facepipe lfw` to accuracy.json: counted by tracing the calls.

A file counts when a function of it is called at all, set-up included; modules that only hold constants do not. It is
*given the key* when an argument of such a function is the photograph's key or holds it. The list is that of
docs/concepts.md, with the second kind marked, so that neither grows unseen.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import facepipe
from facepipe.cli import lfw as lfw_command  # loaded before the tracing, so that no import is counted
from facepipe.cli import main
from facepipe.datasets.sample import SampleSettings, make_sample

SRC = Path(facepipe.__file__).resolve().parent
PAGE = Path(__file__).resolve().parents[1] / "docs" / "concepts.md"
SMALL = SampleSettings(people=4, photographs=3, faceless=1, folds=2, pairs_per_kind=3)
OPTIONS = ["--embedder", "facenet.seeded", "--backend", "onnxruntime", "--workers", "1", "--min-face", "40"]
MOST_GIVEN_THE_KEY, MOST = 12, 52


def _holds(value: Any, key: str, depth: int = 4) -> bool:
    """Whether a value is the key, or has it somewhere inside."""
    if isinstance(value, str):
        return value == key
    if depth == 0 or value is None or isinstance(value, int | float | bytes | Path | np.ndarray):
        return False
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(_holds(getattr(value, field.name), key, depth - 1) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return any(_holds(one, key, depth - 1) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds(one, key, depth - 1) for one in value)
    return False


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> dict[str, bool]:
    """The files that are entered, in order; True for those that are given the key of one photograph."""
    assert lfw_command.run is not None
    pytest.importorskip("skimage", reason="the sample is made from a portrait that scikit-image ships")
    folder = tmp_path_factory.mktemp("one-path")
    key = make_sample(folder / "sample", SMALL).keys[0]
    entered: dict[str, bool] = {}

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(f"{SRC}/") or not code.co_flags & inspect.CO_OPTIMIZED:
            return  # the bodies of modules and classes run when they are imported
        name = code.co_filename[len(f"{SRC}/") :]
        arguments = (frame.f_locals.get(argument) for argument in code.co_varnames[: code.co_argcount])
        entered[name] = entered.get(name, False) or any(_holds(value, key) for value in arguments)

    words = ["lfw", "--data", str(folder / "sample"), "--weights", str(weights_dir), "--run", str(folder / "run")]
    sys.setprofile(look)
    try:
        status = main([*words, *OPTIONS])
    finally:
        sys.setprofile(None)
    assert status == 0
    return entered


@pytest.mark.weights
def test_the_files_of_one_path_are_those_of_the_page(traced: dict[str, bool]) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## The path of one photograph")[2].partition("\n## ")[0]
    listed = {name: bool(mark) for name, mark in re.findall(r"`([\w/]+\.py)`( \*)?", section)}
    assert listed == traced
    assert len(traced) <= MOST
    assert sum(traced.values()) <= MOST_GIVEN_THE_KEY
