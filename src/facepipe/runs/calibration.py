# SPDX-License-Identifier: Apache-2.0
"""What quantised networks are calibrated with: crops for a recogniser, inputs for a detector of one network.

A photograph that a test names is refused where it is met: by its digest, whatever it is called, and by its key,
whatever became of its bytes.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facepipe.assets.lfw import find_lfw, find_pairs
from facepipe.assets.workspace import Workspace
from facepipe.backends import backend_by_name
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import extensions_in, is_table, read_pairs, read_verification_set
from facepipe.detect import open_single_shot
from facepipe.detect.single_shot import SingleShotDetector, single_shot_settings
from facepipe.errors import ConversionError, DataError
from facepipe.faces.photographs import EVERYDAY, Limits, read_photograph
from facepipe.faces.pipeline import FacePipeline, alignment_of, each_face, open_pipeline
from facepipe.geometry.boxes import area
from facepipe.results import NoFace, Unread
from facepipe.specs import ModelSpec
from facepipe.store.files import sha256_of_file

PER_PHOTOGRAPH = 12  # faces at most: a crowd must not outweigh all the rest
LEAST_QUARTER = 150  # pixels of a quarter's shorter side
LEAST_FACES = 16  # for a recogniser
LEAST_PHOTOGRAPHS = 8  # of named ones: faces of one photograph have one light
PORTRAITS = 70  # of LFW, for a detector: large faces, beside the small ones of the group photographs
MIRRORED = ("photos", "widerface/images", "widerface/val416")  # folders of the mirror that hold no test photograph
LEAST_SIDE = 24  # pixels: of smaller faces a crop is mostly interpolation


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Photographs that judge, and so may not calibrate.

    Attributes:
        name: of the set, in words.
        keys: of its photographs that lie in a folder: `AJ_Cook/AJ_Cook_0001.jpg`. A name alone tells nothing.
        digests: sha256 of those that are here.
    """

    name: str
    keys: frozenset[str]
    digests: frozenset[str]

    def refuse(self, path: Path, sha256: str) -> None:
        """Raise ConversionError where that is a photograph of the set."""
        parts = path.absolute().parts
        if sha256 in self.digests:
            how = "by its content"
        elif any("/".join(parts[start:]) in self.keys for start in range(1, len(parts) - 1)):
            how = "by its name"
        else:
            return
        raise ConversionError(
            f"{path}: is a photograph of {self.name}, {how}, expected none that judges what is calibrated.",
            "--photographs with a folder that holds none of them.",
        )


def held_out(name: str, root: Path, keys: Iterable[str]) -> HeldOut:
    """The photographs `keys` below `root`, whether they are there or not."""
    listed = list(keys)
    there = [root / key for key in listed if (root / key).is_file()]
    in_folders = frozenset(key for key in listed if "/" in key)
    return HeldOut(name, in_folders, frozenset(map(sha256_of_file, there)))


def tests_named(sets: Iterable[Path]) -> list[HeldOut]:
    """Verification sets of one's own: pairs files in LFW's form, tables, folders of CFP's protocol.

    Raises:
        DataError: one has another form.
    """
    found = []
    for path in sets:
        root = path.absolute().parents[2] if path.is_dir() else path.parent
        if not path.is_dir() and not is_table(path) and (root / "images").is_dir():
            root = root / "images"
        found.append(held_out(str(path), root, read_verification_set(path, root).keys()))
    return found


@dataclass(frozen=True, slots=True)
class CalibrationCrops:
    """Crops, and the photographs that gave them: name to sha256."""

    crops: np.ndarray  # uint8 [N, S, S, 3]
    photographs: dict[str, str]


def crops_for(
    spec: ModelSpec,
    ws: Workspace,
    folders: Sequence[Path] | None,
    wanted: int,
    tests: Sequence[HeldOut],
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> CalibrationCrops:
    """Crops for a recogniser, by an f32 detector.

    Args:
        tests: a photograph of these is refused.
        ws: where models and data are.
        folders: of photographs; None: those of LFW that no pair names and the mirror's, else the made sample.
        wanted: how many crops.
        progress: told how many crops came with each photograph.

    Raises:
        DataError: the photographs are too few, or show too few faces.
        ConversionError: one of them is of a test.
    """
    with tempfile.TemporaryDirectory(prefix="facepipe-sample-") as made:
        paths = _faces_outside_tests(ws, folders, Path(made))
        random.Random(0).shuffle(paths)  # the same order every time, spread over all folders
        with open_pipeline("mtcnn", None, backend_by_name("onnxruntime"), ws.weights, 1) as finds:
            cuts = replace(finds, alignment=alignment_of("mtcnn", spec.name, ws.weights))
            found = collect_crops(paths, cuts, wanted, tests, limits, _told(folders), progress)
    if len(found.crops) < LEAST_FACES:
        raise DataError(
            f"quantise: {len(paths)} photographs show {len(found.crops)} usable faces, expected {LEAST_FACES} or more.",
            "--photographs with a folder of more faces.",
        )
    _require_enough(found.photographs, folders)
    return found


def _told(folders: Sequence[Path] | None) -> Callable[[Path], str]:
    """One's own photographs by path, for two folders may have one name twice; those of the fixed set by name alone."""
    return (lambda path: path.name) if folders is None else Path.as_posix


def _require_enough(photographs: Mapping[str, str], folders: Sequence[Path] | None) -> None:
    if folders is not None and len(photographs) < LEAST_PHOTOGRAPHS:
        raise DataError(
            f"quantise: {len(photographs)} photographs could be used, expected {LEAST_PHOTOGRAPHS} or more.",
            "--photographs with a folder of more photographs; without it the fixed set is taken.",
        )


def inputs_for(
    spec: ModelSpec,
    ws: Workspace,
    folders: Sequence[Path] | None,
    tests: Sequence[HeldOut],
    limits: Limits = EVERYDAY,
) -> CalibrationInputs:
    """Inputs for a detector of one network; `folders` None: the mirror's group photographs and some of LFW."""
    backend = backend_by_name("onnxruntime")
    with (
        tempfile.TemporaryDirectory(prefix="facepipe-sample-") as made,
        open_single_shot(spec.name, backend, ws.weights, single_shot_settings(spec)) as shot,
    ):
        found = collect_inputs(_whole_photographs(ws, folders, Path(made)), shot, tests, limits, _told(folders))
    _require_enough(found.photographs, folders)
    return found


def lfw_held_out(ws: Workspace) -> list[HeldOut]:
    """The photographs that LFW's pairs name, where the pairs are here: without the photographs by their names alone."""
    pairs = find_pairs(ws)
    if pairs is None:
        return []
    found = find_lfw(ws)
    root = pairs.parent if found is None else found[0]
    return [held_out(f"LFW's {pairs.name}", root, read_pairs(pairs, extensions_in(root)).keys())]


def wider_held_out(ws: Workspace) -> list[HeldOut]:
    """WIDER FACE's photographs that are here: those are scored, and must not be calibrated with."""
    folders = [ws.data / "widerface", *([ws.mirror / "widerface"] if ws.mirror else [])]
    return [
        held_out("WIDER FACE", folder, (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.jpg"))))
        for folder in folders
        if folder.is_dir()
    ]


def outside(root: Path, excluded: Iterable[str]) -> list[Path]:
    """The photographs below `root` whose keys are not among `excluded`."""
    names = set(excluded)
    return [root / key for key in list_keys(root) if key not in names]


def collect_crops(
    paths: Sequence[Path],
    pipeline: FacePipeline,
    wanted: int,
    tests: Sequence[HeldOut] = (),
    limits: Limits = EVERYDAY,
    told: Callable[[Path], str] = Path.as_posix,
    progress: Callable[[int], None] = lambda _: None,
) -> CalibrationCrops:
    """The largest faces of each photograph, cut as the recogniser wants them, until there are `wanted`.

    Args:
        paths: photographs, taken in an order that spreads over all of them.
        told: what the record calls a photograph.
        progress: told how many crops came with each photograph.
    """
    crops: list[np.ndarray] = []
    photographs: dict[str, str] = {}
    for path in paths:
        if len(crops) >= wanted:
            break
        photograph = read_photograph(path, limits)
        for test in tests:
            test.refuse(path, photograph.sha256)
        image = photograph.pixels
        if isinstance(image, Unread):
            continue
        (found,) = pipeline.detect([image])
        largest = np.argsort(-area(found.boxes), kind="stable")[:PER_PHOTOGRAPH]
        taken = 0
        for face in each_face(found.take(largest)):
            side = float(min(face.box[2] - face.box[0], face.box[3] - face.box[1]))
            crop = pipeline.crop(image, face) if side >= LEAST_SIDE else NoFace("too small")
            if not isinstance(crop, NoFace) and len(crops) < wanted:
                crops.append(crop)
                taken += 1
        if taken:
            photographs[told(path)] = photograph.sha256
        progress(taken)
    stacked = np.stack(crops) if crops else np.zeros((0, 1, 1, 3), np.uint8)
    return CalibrationCrops(stacked, photographs)


@dataclass(frozen=True, slots=True)
class CalibrationInputs:
    """Inputs of a detector, float32 [1, 3, H, W] each, and the photographs that gave them: name to sha256."""

    inputs: list[np.ndarray]
    photographs: dict[str, str]


def collect_inputs(
    paths: Sequence[Path],
    detector: SingleShotDetector,
    tests: Sequence[HeldOut] = (),
    limits: Limits = EVERYDAY,
    told: Callable[[Path], str] = Path.as_posix,
) -> CalibrationInputs:
    """Each photograph as the detector sees it, and its quarters too where it is large, so that faces vary in size.

    What cannot be read is passed over.
    """
    inputs: list[np.ndarray] = []
    photographs: dict[str, str] = {}
    for path in paths:
        photograph = read_photograph(path, limits)
        for test in tests:
            test.refuse(path, photograph.sha256)
        image = photograph.pixels
        if isinstance(image, Unread):
            continue
        parts = [image]
        height, width = image.shape[0] // 2, image.shape[1] // 2
        if min(height, width) >= LEAST_QUARTER:
            parts += [image[y : y + height, x : x + width] for y in (0, height) for x in (0, width)]
        inputs += [detector.inputs_of(part) for part in parts]
        photographs[told(path)] = photograph.sha256
    return CalibrationInputs(inputs, photographs)


def _faces_outside_tests(ws: Workspace, folders: Sequence[Path] | None, made: Path) -> list[Path]:
    if folders is not None:
        return [folder / key for folder in folders for key in list_keys(folder)]
    paths: list[Path] = []
    lfw = find_lfw(ws)
    if lfw is not None:
        root, pairs = lfw
        paths += outside(root, read_pairs(pairs, extensions_in(root)).keys())
    if ws.mirror is not None:
        paths += [path for name in MIRRORED if (ws.mirror / name).is_dir() for path in outside(ws.mirror / name, ())]
    if not paths:
        from facepipe.datasets.sample import make_sample

        sample = make_sample(made)
        paths = [sample.images / key for key in sample.keys]
    return sorted(paths)


def _whole_photographs(ws: Workspace, folders: Sequence[Path] | None, made: Path) -> list[Path]:
    """Photographs to calibrate a detector with: as named, else the mirror's group photographs and some of LFW."""
    if folders is not None:
        return [folder / key for folder in folders for key in list_keys(folder)]
    groups = outside(ws.mirror / "photos", ()) if ws.mirror and (ws.mirror / "photos").is_dir() else []
    lfw = find_lfw(ws)
    portraits = outside(lfw[0], ()) if lfw else []
    if groups or portraits:
        return [*groups, *portraits[:: max(1, len(portraits) // PORTRAITS)][:PORTRAITS]]
    from facepipe.datasets.sample import make_sample

    sample = make_sample(made)
    return [sample.images / key for key in sample.keys]
