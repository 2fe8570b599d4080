# SPDX-License-Identifier: Apache-2.0
"""Pictures to embeddings: true batches, faces that cannot be cut out, pictures that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from squares import Squares, mean_colour, picture

from facepipe.catalogue import model
from facepipe.embed import Embedder
from facepipe.errors import DataError
from facepipe.faces.photographs import photographs_of
from facepipe.faces.pipeline import FacePipeline, alignment_of
from facepipe.gallery.faces import folder_faces

FACENET = model("facenet.seeded")  # takes a margin crop


def pipeline() -> FacePipeline:
    return FacePipeline(Squares(), Embedder(FACENET, mean_colour, 4), alignment_of("mtcnn", FACENET.name), "largest")


def _folder(root: Path) -> list[str]:
    keys = []
    for i in range(7):
        Image.fromarray(picture((10 + i, 10, 40)) if i != 2 else picture()).save(root / f"{i}.png")
        keys.append(f"{i}.png")
    (root / "3.png").write_bytes(b"no picture")
    return [*keys, "absent.png"]


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_every_picture_is_enrolled_or_has_a_reason(tmp_path: Path, batch: int) -> None:
    keys, told = _folder(tmp_path), []
    found = folder_faces(tmp_path, keys, pipeline(), batch=batch, main=True, progress=told.append)
    assert found.keys == ("0.png", "1.png", "4.png", "5.png", "6.png")
    assert found.embeddings.shape == (5, 512)
    reasons = dict(found.left_out)
    assert set(reasons) == {"2.png", "3.png", "absent.png"}
    assert reasons["2.png"] == "no face found"
    assert "is no picture" in reasons["3.png"]
    assert sum(told) == len(keys)


def test_all_faces_of_a_folder_are_in_its_order(tmp_path: Path) -> None:
    keys = _folder(tmp_path)
    found = folder_faces(tmp_path, keys, pipeline(), batch=2)
    assert found.keys == ("0.png", "1.png", "4.png", "5.png", "6.png")
    assert [key for key, _ in found.left_out] == ["3.png", "absent.png"], "a picture without faces is none left out"


def test_results_of_an_earlier_call_within_the_folder_are_no_photographs(tmp_path: Path) -> None:
    for key in ("a.jpg", "named/a.jpg", "named/deep/b.jpg", "named too/c.jpg"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"")
    everything = ["a.jpg", "named too/c.jpg", "named/a.jpg", "named/deep/b.jpg"]
    assert photographs_of(tmp_path, tmp_path / "named") == ["a.jpg", "named too/c.jpg"]
    for elsewhere in (tmp_path.parent / "out", tmp_path, tmp_path / "named" / ".." / "absent"):
        assert photographs_of(tmp_path, elsewhere) == everything
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "named too" / "c.jpg").unlink()
    with pytest.raises(DataError, match="no photograph in it beside"):
        photographs_of(tmp_path, tmp_path / "named")
