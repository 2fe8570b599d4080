# SPDX-License-Identifier: Apache-2.0
"""A detector on WIDER FACE's validation set, from the folder of photographs to wider.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from facepipe.assets.workspace import open_workspace
from facepipe.backends.base import RuntimeOptions
from facepipe.catalogue import detector_models
from facepipe.datasets.images import list_keys, read_size
from facepipe.datasets.widerface import (
    FACES_FILE,
    WiderTruth,
    find_photographs,
    read_predictions,
    read_sizes,
    read_truth,
)
from facepipe.detect import default_settings
from facepipe.detect.single_shot import SingleShotSettings
from facepipe.engine import Engine
from facepipe.errors import AssetError, DataError
from facepipe.geometry.fit import Resample
from facepipe.runs.faces_run import Progress, silent
from facepipe.runs.job import told_of
from facepipe.runs.score_detection import WIDER_FILE, WiderScores, score_predictions, wider_content
from facepipe.runs.wider_protocol import WiderProtocol
from facepipe.runs.wider_run import WiderFile, WiderJob, run_pass, wider_models, wider_stage, write_predictions
from facepipe.store.files import write_json
from facepipe.store.owned import claim
from facepipe.store.provenance import versions
from facepipe.store.stage import locked

THRESHOLD = 0.01
"""Least score: curves need the low ones too; the value of UltraFace's predictor."""


@dataclass(frozen=True, slots=True)
class WiderPhotographs:
    """What is looked at; `rescaled` of them are copies of another size than listed."""

    root: Path
    files: tuple[WiderFile, ...]
    rescaled: int


@dataclass(frozen=True, slots=True)
class WiderResult:
    """wider.json's content, and the scores of each pass, with their curves."""

    content: Mapping[str, object]
    passes: Mapping[str, WiderScores]


def wider_folder(given: Path | None) -> Path:
    """The folder of WIDER FACE: as given, else data/widerface, else the mirror's.

    Raises:
        AssetError: it is in none of these places.
    """
    mirror = open_workspace().mirror
    places = [given] if given is not None else [Path("data/widerface"), *([mirror / "widerface"] if mirror else [])]
    for place in places:
        if place.is_dir():
            return place
    raise AssetError(
        f"{' and '.join(map(str, places))}: no such folder, expected WIDER FACE.",
        "put WIDER_val/images and ground_truth/*.mat there (http://shuoyang1213.me/WIDERFACE/), or --data FOLDER.",
    )


def wider_truth(data: Path) -> WiderTruth:
    """The ground truth below the folder of WIDER FACE.

    Raises:
        DataError: it is not there, or has another form.
    """
    places = (data / "ground_truth", data / "eval_tools" / "ground_truth", data)
    return read_truth(next((place for place in places if (place / FACES_FILE).is_file()), places[0]))


def wider_settings(
    detector: str,
    threshold: float = THRESHOLD,
    nms: Literal["hard", "soft", "blending"] = "hard",
    overlap: float | None = None,
    resample: Resample = "smooth",
    weights: Path | None = None,
) -> SingleShotSettings | None:
    """A detector's settings for a curve; None for a cascade, which has its own.

    Suppression is hard unless asked otherwise, also for BlazeFace: blending averages every box in, and at the low
    threshold that a curve needs most of them are no faces.

    Args:
        overlap: IoU above which two boxes are one face; None: the detector's own.
        weights: the folder of models, for one's own.

    Raises:
        DataError: a number is out of bounds, or something is asked of a cascade.
    """
    settings = default_settings(detector, weights)
    if not isinstance(settings, SingleShotSettings):
        if (threshold, nms, overlap) != (THRESHOLD, "hard", None):
            raise DataError(f"wider: {detector} is a cascade; --nms, --overlap and --threshold are not for it.")
        return None
    if not 0 <= threshold < 1:
        raise DataError(f"wider: threshold is {threshold}, expected 0 up to, but not including, 1.")
    if overlap is not None and not 0 < overlap <= 1:
        raise DataError(f"wider: overlap is {overlap}, expected more than 0, at most 1.")
    if not detector_models(detector, weights)[0].input.dims[2].is_fixed:  # the protocol tells the sizes
        settings = replace(settings, canvas=None)
    within = settings.suppression.overlap if overlap is None else overlap
    suppression = replace(settings.suppression, method=nms, overlap=within)
    return replace(settings, threshold=threshold, suppression=suppression, resample=resample)


def detector_options(options: RuntimeOptions) -> RuntimeOptions:
    """The options with which a detector computes in the precision that was asked for: else it is the recogniser's."""
    named = options.precision.removesuffix("-all")
    return options if named == "f32" else replace(options, precision=f"{named}-all")


def wider_photographs(
    data: Path, truth: WiderTruth, images: Path | None = None, *, whole: bool = False
) -> WiderPhotographs:
    """The photographs of the validation set below `data` or in `images`, by event or flat.

    Args:
        whole: refuse fewer than all.

    Raises:
        AssetError: there is no folder of them.
        DataError: a photograph cannot be read or is not listed; or some are absent, with `whole`.
    """
    choices = [data / "WIDER_val" / "images", data / "val416", data / "images"]
    root = images or next((folder for folder in choices if folder.is_dir()), None)
    if root is None:
        raise AssetError(
            f"{data}: none of {', '.join(str(folder.relative_to(data)) for folder in choices)}, expected photographs.",
            "unpack WIDER_val.zip there, or --images FOLDER.",
        )
    found = sorted(find_photographs(root, list_keys(root), truth).items())
    if whole and len(found) < len(truth.photographs):
        raise DataError(
            f"{root}: {len(found):,} photographs, expected all {len(truth.photographs):,}.",
            "leave --whole out to score a subset.",
        )
    own = [read_size(root / path) for _, path in found]
    sizes, listing = own, data / "val_labelv2.txt"
    if listing.is_file():
        listed = read_sizes(listing)
        absent = [key for key, _ in found if key not in listed]
        if absent:
            raise DataError(f"{listing}: {len(absent)} photographs are not listed (first: {absent[0]}), expected all.")
        sizes = [listed[key] for key, _ in found]
    files = tuple(WiderFile(key, path, size) for (key, path), size in zip(found, sizes, strict=True))
    return WiderPhotographs(root, files, sum(a != b for a, b in zip(own, sizes, strict=True)))


def run_wider(
    job: WiderJob,
    photographs: WiderPhotographs,
    truth: WiderTruth,
    protocol: WiderProtocol,
    engine: Engine,
    *,
    force: bool = False,
    progress: Callable[[str], Progress] = lambda _: silent,
) -> WiderResult:
    """Detect, or resume, and score; write wider.json and predictions/ into the job's folder.

    Args:
        job: its fits and flips are the protocol's.
        progress: from a pass's name to what is told of it.

    Raises:
        StageError: the folder belongs to another job, or a worker died.
        DataError: a photograph cannot be read.
    """
    passes: dict[str, WiderScores] = {}
    models = wider_models(job)
    job = replace(job, models=models)
    with locked(job.folder):
        for name, fits in protocol.passes:
            one = replace(job, folder=job.folder / "shards" / name, fits=fits, flips=protocol.flips)
            stage = wider_stage(one, photographs.files, models)
            run_pass(one, photographs.files, stage, engine, force=force, progress=progress(name))
            predictions = job.folder / "predictions" / name
            write_predictions(stage, predictions)
            passes[name] = score_predictions(read_predictions(predictions, truth), truth)
    settings = None if job.settings is None else {k: v for k, v in asdict(job.settings).items() if k != "fit"}
    details: dict[str, object] = {
        "detector": job.detector,
        "settings": settings,
        "backend": job.backend,
        "precision": job.options.precision.removesuffix("-all"),
        "batch": job.batch,
        "photographs": {"root": str(photographs.root), "rescaled_copies": photographs.rescaled},
        **told_of(models),
        "weights": {file.model: file.weights_sha256 for file in models},
        "versions": versions(),
    }
    return _written(job.folder, passes, truth, protocol.label, details)


def score_prediction_files(files: Path, truth: WiderTruth, folder: Path, *, whole: bool = False) -> WiderResult:
    """Score files of any tool in the official layout; write wider.json into `folder`.

    Raises:
        DataError: there are none, one has another form, or some are absent, with `whole`.
    """
    claim(folder, "--run with another folder.")
    passes = {"files": score_predictions(read_predictions(files, truth, whole=whole), truth)}
    details: dict[str, object] = {"predictions": str(files), "versions": versions()}
    return _written(folder, passes, truth, "prediction files as they are", details)


def _written(
    folder: Path, passes: Mapping[str, WiderScores], truth: WiderTruth, protocol: str, details: Mapping[str, object]
) -> WiderResult:
    content = wider_content(passes, truth, protocol, details)
    write_json(folder / WIDER_FILE, content)
    return WiderResult(content, passes)
