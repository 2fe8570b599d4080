# SPDX-License-Identifier: Apache-2.0
"""What a run over photographs is asked for. The fused and the staged driver take the same job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from facepipe.backends import backend_by_name
from facepipe.backends.ascend.om import read_sidecar
from facepipe.backends.base import (
    MadeBy,
    RuntimeOptions,
    Stated,
    model_file,
    model_on_disk,
    network_precision,
    require_available,
    stated_by,
)
from facepipe.catalogue import detector_models, embedder
from facepipe.datasets.images import decoder_versions
from facepipe.detect import DetectorSettings, default_settings
from facepipe.faces.photographs import EVERYDAY, Limits
from facepipe.faces.pipeline import ARITHMETIC, DEFAULT_SELECTION
from facepipe.specs import ModelSpec
from facepipe.store.files import read_json
from facepipe.store.provenance import ModelFile, package_versions

WhichFaces = Literal["main", "all"]

ALIGN = ".align"
"""The stage of `train.align`: hidden, since beside it lie people's folders."""


@dataclass(frozen=True, slots=True)
class RunJob:
    """How a run is done, fused or staged; pickles into a few kB, so that workers anywhere can open it.

    Which photographs is no part of it: those travel by shard.

    Attributes:
        root: the folder of photographs.
        run: the run's folder.
        weights: the folder of converted models.
        batch: photographs through PNet, and crops through the recogniser, in one call.
        selection: which face of a photograph is its main one; a name of `faces.pipeline.SELECTION_NAMES`.
        faces: whether the main face of each photograph goes on, or all of them.
        shard_size: photographs of one shard.
        settings: of the detector, of its kind; None: its defaults.
        limits: a photograph of more is listed with the reason and not decoded.
        other_processor: whether to go on with what another processor began; each shard's record says which made it.
        models: what a run has found when it began, and now states: its workers load no other files. None: not yet.
    """

    root: Path
    run: Path
    weights: Path
    detector: str
    embedder: str
    backend: str
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    batch: int = 16
    selection: str = DEFAULT_SELECTION
    faces: WhichFaces = "main"
    shard_size: int = 256
    settings: DetectorSettings | None = None
    limits: Limits = EVERYDAY
    other_processor: bool = False
    models: tuple[ModelFile, ...] | None = None

    @property
    def stated(self) -> Stated:
        """The sha256 of each model file, for those that load it."""
        return stated_by(self.models)

    @property
    def detector_settings(self) -> DetectorSettings:
        """The settings, or those that its detector has by default."""
        return self.settings or default_settings(self.detector, self.weights)


def made_by(run: Path) -> MadeBy | None:
    """What a run's folder was begun with; None where nothing was begun.

    Raises:
        StageError: its record is damaged.
    """
    for name in ("fused", "pnet", ALIGN):
        begun = run / name / "begun.json"
        if begun.is_file():
            parameters = read_json(begun, "--force to start it over.").get("parameters")
            if isinstance(parameters, dict) and {"backend", "precision"} <= parameters.keys():
                return MadeBy(str(parameters["backend"]), str(parameters["precision"]))
    return None


def networks_of(job: RunJob) -> tuple[ModelSpec, ...]:
    """The records of the detector's models and of the embedder.

    Raises:
        DataError: there is no such model.
    """
    return (*detector_models(job.detector, job.weights), embedder(job.embedder, job.weights))


def models_of(job: RunJob) -> tuple[ModelFile, ...]:
    """The model files that the job states; else those that lie there, with their digests and the engine of each.

    Raises:
        BackendError: one is not there, or the back end cannot be used here.
        StageError: the record beside one is not its own.
    """
    return job.models if job.models is not None else files_of(job, networks_of(job))


def files_of(job: RunJob, specs: Iterable[ModelSpec]) -> tuple[ModelFile, ...]:
    """The files of these networks that the job would load, as they lie there.

    Raises:
        BackendError, StageError: as `models_of`.
    """
    backend = backend_by_name(job.backend, job.options)
    require_available(backend)
    return tuple(model_on_disk(backend, spec, job.weights, job.batch)[1] for spec in specs)


def model_precisions(job: RunJob) -> dict[str, str]:
    """What each network of the job computes in. A back end that would compute in another refuses to load."""
    specs = networks_of(job)
    backend = backend_by_name(job.backend, job.options)
    if backend.traits.compiled:  # compiled in; the file's own record tells
        records = {spec.name: read_sidecar(model_file(backend, spec, job.weights, job.batch)) for spec in specs}
        return {name: record.precision if record else "compiled in" for name, record in records.items()}
    return {spec.name: network_precision(spec, job.options.precision) for spec in specs}


def computed_with(backend: str) -> dict[str, str]:
    """What decides a result's bits besides settings and models, by name: versions, and facepipe's own arithmetic."""
    packages = ("numpy", *backend_by_name(backend).traits.packages)
    return {"arithmetic": str(ARITHMETIC), **decoder_versions(), **package_versions(packages)}


def detection_parameters(job: RunJob) -> dict[str, object]:
    """What the detections of a job depend on, as JSON values; kernels are not among it, they give the same bits."""
    settings = {
        name: value for name, value in asdict(job.detector_settings).items() if name not in ("kernels", "batch")
    }
    return {
        "versions": computed_with(job.backend),
        "detector": job.detector,
        "backend": job.backend,
        "precision": job.options.precision,
        "batch": job.batch,
        "max_pixels": job.limits.max_pixels,
        "size": job.limits.size,
        "settings": settings,
    }


def told_of(models: Iterable[ModelFile]) -> dict[str, object]:
    """Digest and engine of each model file by its model's name, as parameters and results tell them."""
    files = tuple(models)
    return {
        "models": {file.model: file.sha256 for file in files},
        "engines": {file.model: file.engine for file in files},
    }


def records_of(specs: Iterable[ModelSpec]) -> dict[str, object]:
    """What results depend on of the records of imported models, as a parameter; nothing for the catalogue's."""
    found = {spec.name: spec.imported.meaning for spec in specs if spec.imported is not None}
    return {"records": found} if found else {}
