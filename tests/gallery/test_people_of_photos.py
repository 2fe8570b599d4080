# SPDX-License-Identifier: Apache-2.0
"""The group photographs of the mirror, each twice: as it is, and mirrored, smaller and coded anew. Who is who was
labelled by eye (people_of_photos.tsv); the second copy has the same people."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.catalogue import embedder
from facepipe.cli import main
from facepipe.gallery.cluster_folder import pile_of_run
from facepipe.gallery.clusters import Linking, group_faces, similarity_of
from facepipe.geometry.boxes import iou_matrix
from facepipe.metrics.clustering import pairwise

LABELS = Path(__file__).with_name("people_of_photos.tsv")
NAMES = ("group_retinaface.jpg", "group_ultraface_1.jpg", "group_ultraface_27.jpg", "multiface.jpg")
SMALLER = 0.9


def people_at(key: str, boxes: np.ndarray, width: int) -> list[str]:
    """The labelled person of each box float32 [N, 4]; a name of its own where nobody is labelled."""
    lines = [line.split("\t") for line in LABELS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    own = [line for line in lines if line[0] == key.rpartition("/")[2]]
    labelled = np.array([[float(value) for value in line[1:5]] for line in own], np.float32)
    if key.startswith("again/"):
        boxes = boxes[:, [2, 1, 0, 3]] / np.float32(SMALLER)
        boxes[:, [0, 2]] = width - boxes[:, [0, 2]]
    overlap = iou_matrix(boxes.astype(np.float32), labelled)
    best = overlap.argmax(axis=1)
    return [own[j][5] if overlap[i, j] > 0.4 else f"{key} {i}" for i, j in enumerate(best.tolist())]


@pytest.mark.slow
def test_people_of_group_photographs_are_told_apart_and_found_again(
    assets: Path, weights_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    widths: dict[str, int] = {}
    for name in NAMES:
        with Image.open(assets / "photos" / name) as opened:
            image = opened.convert("RGB")
        widths[name] = image.width
        for copy in ("as it is", "again"):
            (folder / copy).mkdir(parents=True, exist_ok=True)
        image.save(folder / "as it is" / name, quality=95)
        size = (round(image.width * SMALLER), round(image.height * SMALLER))
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize(size).save(folder / "again" / name, quality=88)
    options = ["--embedder", "mobilefacenet.ms1m", "--weights", str(weights_dir), "--workers", "1"]
    assert main(["embed", str(folder), "--out", str(tmp_path / "run"), "--faces", "all", *options]) == 0
    found = pile_of_run(tmp_path / "run").found
    people: list[str] = []
    for key in sorted(set(found.keys)):
        boxes = np.stack([face.box for own, face in found.faces if own == key])
        people += people_at(key, boxes, widths[key.rpartition("/")[2]])
    truth = np.array(people)
    assert len(truth) > 300 and Counter(Counter(people).values())[2] > 100, "most faces are found on both copies"

    similarity = similarity_of(embedder("mobilefacenet.ms1m"))
    grouped = group_faces(found.faces, found.embeddings, Linking(similarity))
    for group in range(grouped.people):
        keys = [key for key, own in zip(found.keys, grouped.groups, strict=True) if own == group]
        assert len(set(keys)) == len(keys), "two faces of one photograph"
    rates = pairwise(grouped.groups, truth)
    everybody = pairwise(
        group_faces(found.faces, found.embeddings, Linking(similarity, side=0, sharpness=0, score=0)).groups, truth
    )
    print(f"pairs: {rates}; without limits for poor faces: {everybody}; {grouped.people} people")
    assert rates.precision >= 0.98 and everybody.precision >= 0.98
    assert everybody.recall >= 0.98
