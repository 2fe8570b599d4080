# SPDX-License-Identifier: Apache-2.0
"""Weights and data sets by name, put where they belong: what `facepipe fetch` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facepipe.assets.download import Progress
from facepipe.assets.lfw import fetch_lfw
from facepipe.assets.portraits import fetch_portraits
from facepipe.assets.workspace import HOME_VARIABLE, Workspace, fetch_weights, find_weights, known_digest
from facepipe.catalogue import DETECTORS, MODELS
from facepipe.convert.onnx.report import finished
from facepipe.errors import AssetError, DataError, did_you_mean
from facepipe.specs import ModelSpec, Recipe, UserFile
from facepipe.store.parts import remove_parts

DATA_SETS: dict[str, Callable[[Workspace, Progress], tuple[object, ...]]] = {
    "lfw": fetch_lfw,
    "portraits": fetch_portraits,
}


def names_of(given: Sequence[str]) -> list[str]:
    """The models and data sets that `given` stand for, each once, in order. "all" leaves out what only a user has.

    Raises:
        DataError: a name is none of a model, detector, data set or "all".
    """
    obtainable = [name for name, spec in MODELS.items() if not isinstance(spec.weights.origin, UserFile)]
    groups = {"all": (*obtainable, *DATA_SETS)} | DETECTORS
    choices = list(dict.fromkeys((*groups, *MODELS, *DATA_SETS)))
    for name in given:
        if name not in choices:
            raise DataError(
                f"'{name}' is nothing that can be fetched, expected one of {', '.join(choices)}.",
                did_you_mean(name, choices),
            )
    return list(dict.fromkeys(part for name in given for part in groups.get(name, (name,))))


def fetch(name: str, ws: Workspace, progress: Progress) -> str:
    """One model's weights or one data set, if it is not here; in a line, where it is now.

    Raises:
        AssetError: it cannot be had, is not what was published, or its folder cannot be made.
    """
    folder = ws.data if name in DATA_SETS else ws.weights
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        attempt = f"--{'data' if name in DATA_SETS else 'weights'} with another folder, or {HOME_VARIABLE}."
        raise AssetError(f"{folder}: cannot be made ({error.strerror}), expected a folder.", attempt) from error
    if name in DATA_SETS:
        return f"{name}: {', '.join(map(str, DATA_SETS[name](ws, progress)))}"
    return _fetch_model(MODELS[name], ws, progress)


def remove_unfinished(ws: Workspace) -> None:
    """What downloads that were killed left."""
    for folder in (ws.weights, ws.data, ws.data / "lfw"):
        remove_parts(folder)


def _fetch_model(spec: ModelSpec, ws: Workspace, progress: Progress) -> str:
    if isinstance(spec.weights.origin, Recipe):
        return f"{spec.name}: nothing to fetch, {spec.weights.origin}"
    if find_weights(spec, ws) is None and finished(spec, spec.weights.sha256, ws.weights) is not None:
        return f"{spec.name}: nothing to fetch, {spec.final(ws.weights)} is converted from it already"
    path = fetch_weights(spec, ws, progress)
    checked = "as the catalogue says" if spec.weights.sha256 else "none was published; this one was seen first"
    return f"{spec.name}: {path}, {path.stat().st_size:,} bytes, sha256 {known_digest(spec, path)} ({checked})"
