# SPDX-License-Identifier: Apache-2.0
"""The Paddle port's `index.bin`: a pickle of {"label": [names], "feature": [float32 (1, D), ...]}, read as data.

The file does not say which model made it: its reader has to. The port built its galleries from pictures in BGR and
searched them in RGB, so an old index fits its model less well than one that is built again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facepipe.datasets.restricted_pickle import read_pickle
from facepipe.embed.embedder import unit_rows
from facepipe.errors import DataError
from facepipe.gallery.file import MAGIC, Gallery, empty_gallery, with_rows

PORT_MODELS = {"MobileFace": "mobilefacenet.paddle", "ArcFace": "arcface.iresnet50"}
"""The recognisers behind the port's names for them; its own detector is none of the catalogue's."""

PORT_THRESHOLD = 0.45
"""--rec_thresh where neither the command nor the index tells one."""


def is_port_index(path: Path) -> bool:
    """Anything that does not begin like our gallery and is called like the port's."""
    if not path.is_file():
        return False
    with path.open("rb") as source:
        return path.suffix == ".bin" and source.read(len(MAGIC)) != MAGIC


def read_port_index(path: Path, model: str, weights_sha256: str, dimension: int) -> Gallery:
    """The port's gallery as ours; row i is called "index.bin#i".

    Args:
        path: the port's file.
        model, weights_sha256: of the recogniser that made it, which the file does not tell.
        dimension: of that recogniser's embeddings.

    Raises:
        DataError: the file names a class or function, has another form, or has embeddings of another dimension.
            Nothing in it is executed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), expected the port's index.bin.") from error
    value = read_pickle(content, str(path), ("dict", "list", "str", "array"))
    if not isinstance(value, dict) or set(value) != {"label", "feature"}:
        raise DataError(f"{path}: it holds another value, expected a dictionary of 'label' and 'feature'.")
    labels, features = value["label"], value["feature"]
    if not isinstance(labels, list) or not all(type(label) is str for label in labels):
        raise DataError(f"{path}: its labels are no list of text.")
    if isinstance(features, list) and not all(isinstance(row, np.ndarray) for row in features):
        raise DataError(f"{path}: its features are no list of arrays.")
    sizes = {row.size for row in features}
    if sizes != {dimension} or len(features) != len(labels):
        raise DataError(
            f"{path}: {len(labels)} labels and {len(features)} embeddings of {sorted(sizes)} numbers, expected as many "
            f"of {dimension}, which {model} gives.",
            "--embedder with the model that made it.",
        )
    if len(features) * dimension > len(content):  # one array can be named many times in a pickle
        raise DataError(f"{path}: {len(features):,} embeddings in {len(content):,} bytes, expected each to be there.")
    rows = np.stack([np.asarray(row, np.float32).reshape(-1) for row in features])  # (N, D)
    names = [label.strip() for label in labels]
    sources = [f"{path.name}#{i}" for i in range(len(labels))]
    return with_rows(empty_gallery(model, weights_sha256, dimension), names, sources, unit_rows(rows, str(path)))
