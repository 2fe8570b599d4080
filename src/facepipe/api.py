# SPDX-License-Identifier: Apache-2.0
"""facepipe for programs: open models once and ask them about photographs, or do a whole run with one call.

    import facepipe
    faces = facepipe.load()
    print(faces.verify("one.jpg", "other.jpg").same)

docs/api.md shows all of it. What a command prints, these functions return; nothing here parses or prints.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from facepipe.assets.workspace import open_workspace, trained_embedder, weights_folder
from facepipe.backends import AUTO, resolve_backend, takes_compiled
from facepipe.backends.base import Backend, MadeBy, RuntimeOptions
from facepipe.convert.onnx import models as conversion
from facepipe.convert.onnx.report import ConversionReport
from facepipe.datasets.images import list_keys
from facepipe.datasets.video import is_film
from facepipe.detect import EVERYDAY_DETECTOR, DetectorSettings, asked_settings, everyday_settings, looked_at
from facepipe.engine.local import Local
from facepipe.errors import BackendError, DataError
from facepipe.faces.given import Form, PhotographLike, checked_form, is_one, many
from facepipe.faces.photographs import Limits, limits_for, photographs_of, read_given
from facepipe.faces.pipeline import (
    DEFAULT_SELECTION,
    FacePipeline,
    Image,
    PictureCrops,
    open_pipeline,
    require_alignment,
)
from facepipe.faces.verdict import Verdict, verdict
from facepipe.gallery import enrol as enrolment
from facepipe.gallery.faces import Recogniser, open_recogniser, recogniser_of
from facepipe.gallery.file import (
    Gallery,
    Threshold,
    least_similarity,
    read_gallery,
    require_model,
    require_writable,
    write_gallery,
)
from facepipe.gallery.naming import NamedPhotograph, Namer
from facepipe.gallery.recognise import Recognised, recognise_film, recognise_photographs, recognition
from facepipe.gallery.search import Index, Rule, build_index
from facepipe.geometry.mtcnn_boxes import Borders
from facepipe.geometry.pyramid import CELL
from facepipe.metrics.verification import squared_distances
from facepipe.results import Detections, EmbeddedFace, NoFace, PictureFaces, Unread
from facepipe.runs import lfw, wider
from facepipe.runs.faces_run import FacesRun, embed_photographs
from facepipe.runs.job import RunJob, WhichFaces, made_by
from facepipe.runs.score import Policies
from facepipe.runs.wider_protocol import wider_protocol
from facepipe.runs.wider_run import WiderJob

Progress = Callable[[int], None]


def _silent(count: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Models:
    """Which models are run, and how; what `load` and every run take.

    Attributes:
        detector, embedder: names of the catalogue, or of models imported into `weights`; `facepipe models` lists them.
            Embedder "auto": the first that is converted here.
        backend: what executes them; `facepipe backends` lists what can run here.
        weights: the folder that `convert_models` (or `facepipe om`) wrote; None: where weights lie when a run begins,
            as `assets.workspace.weights_folder` says.
        batch: the most photographs or crops in one call of a network.
        threads: of each network.
        precision: what the back end computes in.
        selection: which of several faces is a photograph's main one; a name of `faces.pipeline.SELECTION_NAMES`.
        max_pixels: of the largest photograph that is looked at, as it is decoded: a JPEG shrinks in that. None: as
            many as take 400 MB.
        size: pixels of the longer side of the copy in which faces are looked for; None: the detector's everyday size;
            0: all pixels. Answers are in pixels of the photograph.
        allow_margin_crop: a detector without landmarks may serve an embedder that wants them, much less accurately.
        min_face: pixels of the longer side of the least face that is looked for, 12 or more; None: the detector's own.
        least_score: faces score above this, in [0, 1); None: the detector's own.
        borders: what MTCNN sees of a face beyond the photograph: "pad", black (None is that), or "stretch", the rest
            stretched, as facenet-pytorch.
        device: number of the device, where the back end has several.
        any_chip: run a file that was compiled for another Ascend chip than the one that is here.

    Raises:
        DataError: a number is out of bounds; it is named.
    """

    detector: str | None = EVERYDAY_DETECTOR
    embedder: str | None = AUTO
    backend: str = AUTO
    weights: Path | str | None = None
    batch: int = 16
    threads: int = 1
    precision: str = "f32"
    selection: str = DEFAULT_SELECTION
    max_pixels: int | None = None
    size: int | None = None
    allow_margin_crop: bool = False
    min_face: int | None = None
    least_score: float | None = None
    borders: Borders | None = None
    device: int = 0
    any_chip: bool = False

    def __post_init__(self) -> None:
        bounds = {"batch": 1, "threads": 1, "device": 0, "max_pixels": 1, "size": 0, "min_face": CELL}
        for name, least in bounds.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"{name}: is {value}, expected {least} or more.")
        if self.least_score is not None and not 0 <= self.least_score < 1:
            raise DataError(f"least_score: is {self.least_score}, expected 0 up to, but not including, 1.")
        asked = [name for name in ("size", "min_face", "least_score", "borders") if getattr(self, name) is not None]
        if self.detector is None and asked:
            raise DataError(f"{asked[0]}: was given, and there is no detector, expected one.", "detector='mtcnn'.")
        if self.borders not in (None, "pad", "stretch"):
            raise DataError(f"borders: are '{self.borders}', expected pad or stretch.")

    @property
    def folder(self) -> Path:
        """The folder of models."""
        return weights_folder(self.weights)

    def chosen(self) -> Models:
        """These with what is to be found out: the folder, and an embedder's name in place of "auto".

        Raises:
            BackendError: none is converted.
        """
        found = replace(self, weights=self.folder)
        if found.embedder != AUTO:
            return found
        return replace(found, embedder=trained_embedder(replace(open_workspace(), weights=found.folder)).name)

    def options(self) -> RuntimeOptions:
        """What a session is told; compiled models are kept below the weights, if they can be written."""
        cache = self.folder / "cache" if os.access(self.folder, os.W_OK) else None
        return RuntimeOptions(self.threads, self.device, self.precision, cache, any_chip=self.any_chip)

    def limits(self) -> Limits:
        """What is decoded of photographs, and the largest one that is looked at."""
        settings = self.settings()
        size = 0 if settings is None or self.size == 0 else looked_at(settings)
        return limits_for(size, self.max_pixels)

    def settings(self) -> DetectorSettings | None:
        """Of the detector, with its working size; None without a detector."""
        if self.detector is None:
            return None
        compiled = takes_compiled(self.backend)
        settings = everyday_settings(self.detector, self.size, compiled=compiled, weights=self.folder)
        return asked_settings(
            settings,
            batch=self.batch,
            min_face_px=self.min_face,
            least_score=self.least_score,
            borders=self.borders,
        )

    def require_alignment(self) -> None:
        """Raise DataError where the detector gives no landmarks and the embedder wants them, unless that is allowed."""
        if self.embedder is not None:
            require_alignment(
                self.detector, self.embedder, self.allow_margin_crop, "allow_margin_crop=True", self.folder
            )


EVERYDAY_MODELS = Models()
LFW_MODELS = Models(detector="mtcnn", size=0)
"""What LFW's accuracy is published with."""


class Faces:
    """Open models. `load` makes one; `close` ends it, and so does leaving a `with` block.

    A photograph is a path, the bytes of a file, a PIL image, or an array uint8 [H, W, 3] in RGB. One gives one answer;
    a list of them, or anything that brings them one by one, gives a list of answers. One that cannot be read, or has
    no face, never loses the others: it has that answer in its place. What is no photograph at all (an array of floats,
    say) is a DataError that names its place.

    Several threads may ask at once, and get the bits that one would get. `close` is called when none asks any more.
    """

    def __init__(self, pipeline: FacePipeline, models: Models, stack: ExitStack) -> None:
        self._pipeline: FacePipeline | None = pipeline
        self._models = models
        self._limits = models.limits()
        self._stack = stack
        self._lock = threading.Lock()
        self._searched: tuple[Gallery, Index] | None = None

    def __enter__(self) -> Faces:
        self._opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the models back. Closing again does nothing; to ask afterwards is a BackendError."""
        self._pipeline = self._searched = None
        self._stack.close()

    @property
    def pipeline(self) -> FacePipeline:
        """What answers, step by step, for arrays."""
        return self._opened()

    def _opened(self) -> FacePipeline:
        """The models.

        Raises:
            BackendError: they were closed.
        """
        if self._pipeline is None:
            raise BackendError(
                "these models were closed, expected them open.", "facepipe.load(...) again, or ask before .close()."
            )
        return self._pipeline

    @property
    def note(self) -> str | None:
        """What a user has to know of this pair of models; None when there is nothing."""
        return self.pipeline.note

    @overload
    def detect(self, photographs: PhotographLike) -> Detections | Unread: ...  # type: ignore[overload-overlap]

    @overload
    def detect(self, photographs: Iterable[PhotographLike]) -> list[Detections | Unread]: ...

    def detect(self, photographs: PhotographLike | Iterable[PhotographLike]) -> Any:
        """Every face of each photograph, best score first."""
        return self._answers(photographs, self.pipeline.detect)

    @overload
    def embed(self, photographs: PhotographLike) -> EmbeddedFace | NoFace | Unread: ...  # type: ignore[overload-overlap]

    @overload
    def embed(self, photographs: Iterable[PhotographLike]) -> list[EmbeddedFace | NoFace | Unread]: ...

    def embed(self, photographs: PhotographLike | Iterable[PhotographLike]) -> Any:
        """The main face of each photograph with its embedding, or why there is none, or why it cannot be read."""
        return self._answers(photographs, self._embedding().main_faces)

    @overload
    def embed_all(self, photographs: PhotographLike) -> PictureFaces | Unread: ...  # type: ignore[overload-overlap]

    @overload
    def embed_all(self, photographs: Iterable[PhotographLike]) -> list[PictureFaces | Unread]: ...

    def embed_all(self, photographs: PhotographLike | Iterable[PhotographLike]) -> Any:
        """All faces of each photograph with their embeddings, and why some could not be cut out."""
        return self._answers(photographs, self._embedding().all_faces)

    @overload
    def crops(self, photographs: PhotographLike) -> PictureCrops | Unread: ...  # type: ignore[overload-overlap]

    @overload
    def crops(self, photographs: Iterable[PhotographLike]) -> list[PictureCrops | Unread]: ...

    def crops(self, photographs: PhotographLike | Iterable[PhotographLike]) -> Any:
        """All faces of each photograph, cut out and aligned as the embedder wants them: uint8 [S, S, 3] in RGB.

        `faces.pipeline.embed` makes embeddings of crops.
        """
        return self._answers(photographs, self._embedding().all_crops)

    @overload
    def identify(  # type: ignore[overload-overlap]
        self,
        photographs: PhotographLike,
        gallery: Gallery | Path | str,
        *,
        threshold: float | None = None,
        candidates: int = 5,
        rule: Rule = "best",
    ) -> NamedPhotograph | Unread: ...

    @overload
    def identify(
        self,
        photographs: Iterable[PhotographLike],
        gallery: Gallery | Path | str,
        *,
        threshold: float | None = None,
        candidates: int = 5,
        rule: Rule = "best",
    ) -> list[NamedPhotograph | Unread]: ...

    def identify(
        self,
        photographs: PhotographLike | Iterable[PhotographLike],
        gallery: Gallery | Path | str,
        *,
        threshold: float | None = None,
        candidates: int = 5,
        rule: Rule = "best",
    ) -> Any:
        """All faces of each photograph with the names that a gallery gives them, as `facepipe recognise`.

        Args:
            gallery: read once by `read_gallery` for many calls: what searches it is kept for the next one. A path is
                read in every call.
            threshold: least cosine for a name; None: the gallery's.
            candidates: how many neighbours are looked at and listed.
            rule: "best" or "majority"; see `gallery.search.identify`.

        Raises:
            DataError: the gallery is of another model, or neither it nor `threshold` tells who is unknown.
            StageError: nothing tells the weights of the embedder.
        """
        pipeline = self._embedding()
        known, where = (gallery, "gallery") if isinstance(gallery, Gallery) else (read_gallery(gallery), str(gallery))
        least = least_similarity(known, threshold, where, "identify(threshold=...), or `facepipe gallery calibrate`.")
        recogniser = recogniser_of(pipeline, self._models.folder)
        require_model(known, recogniser.model, recogniser.weights_sha256, where)
        namer = Namer(pipeline, known, self._index(known), least, candidates, rule)
        return self._answers(photographs, namer)

    def _index(self, gallery: Gallery) -> Index:
        """What searches a gallery; the last one's is kept."""
        with self._lock:
            if self._searched is None or self._searched[0] is not gallery:
                self._searched = (gallery, build_index(gallery.embeddings))
            return self._searched[1]

    def distance(self, one: PhotographLike, other: PhotographLike) -> float:
        """The squared Euclidean distance of the two main faces' embeddings, in [0, 4]: small means the same person.

        Raises:
            DataError: one of the photographs cannot be read or has no face.
        """
        first, second = self._two(one, other)
        return float(squared_distances(first[None], second[None])[0])

    def verify(self, one: PhotographLike, other: PhotographLike, *, threshold: float | None = None) -> Verdict:
        """Whether the two main faces are one person's: by the catalogue's threshold, or by a cosine that is given.

        Raises:
            DataError: one of the photographs cannot be read or has no face, or `threshold` is no cosine.
        """
        first, second = self._two(one, other)
        assert self.pipeline.embedder is not None, "it embedded"
        return verdict(first, second, self.pipeline.embedder.spec, self.note, threshold)

    def _two(self, one: PhotographLike, other: PhotographLike) -> list[np.ndarray]:
        """The embeddings of the main faces of two photographs.

        Raises:
            DataError: one of them cannot be read or has no face.
        """
        given = ((one, "first photograph"), (other, "second photograph"))
        answers = self._in_order((checked_form(*photograph) for photograph in given), self._embedding().main_faces)
        rows = []
        for (photograph, where), answer in zip(given, answers, strict=True):
            if not isinstance(answer, EmbeddedFace):
                name = photograph if isinstance(photograph, str | Path) else where
                raise DataError(f"{name}: {answer.reason}, expected a photograph with a face.")
            rows.append(answer.embedding)
        return rows

    def _embedding(self) -> FacePipeline:
        if self.pipeline.embedder is None:
            raise DataError("load: no embedder was named, expected one to embed with.", "load(embedder=...)")
        return self.pipeline

    def _answers(
        self, given: PhotographLike | Iterable[PhotographLike], ask: Callable[[Sequence[Image]], Sequence[Any]]
    ) -> Any:
        """One answer for one photograph, a list for many."""
        if is_one(given):
            return self._in_order([checked_form(given)], ask)[0]  # type: ignore[arg-type]
        return self._in_order(many(given), ask)  # type: ignore[arg-type]

    def _in_order(self, photographs: Iterable[Form], ask: Callable[[Sequence[Image]], Sequence[Any]]) -> list[Any]:
        """What `ask` says of each photograph that can be read, Unread in the others' places."""
        answers: list[Any] = []
        for group in read_given(photographs, self._models.batch, self._limits):
            images = [one.decoded for one in group]
            read = iter(ask([one for one in images if not isinstance(one, Unread)]))
            answers += [one if isinstance(one, Unread) else next(read) for one in images]
        return answers


def load(
    detector: str | None = EVERYDAY_DETECTOR,
    embedder: str | None = AUTO,
    *,
    backend: str = AUTO,
    weights: Path | str | None = None,
    batch: int = 16,
    threads: int = 1,
    precision: str = "f32",
    selection: str = DEFAULT_SELECTION,
    max_pixels: int | None = None,
    size: int | None = None,
    allow_margin_crop: bool = False,
    min_face: int | None = None,
    least_score: float | None = None,
    borders: Borders | None = None,
    device: int = 0,
    any_chip: bool = False,
) -> Faces:
    """A detector and an embedder, loaded from converted models; arguments as `Models`' attributes, which are the
    options of the commands.

    Args:
        detector: None: photographs are faces that are cut out and aligned already.
        embedder: None: nothing is embedded.

    Raises:
        DataError: a name is not in the catalogue, a number is out of bounds, or the two do not go together.
        BackendError: the back end is unavailable here, or a model was not converted yet.
    """
    models = Models(
        detector=detector,
        embedder=embedder,
        backend=backend,
        weights=weights,
        batch=batch,
        threads=threads,
        precision=precision,
        selection=selection,
        max_pixels=max_pixels,
        size=size,
        allow_margin_crop=allow_margin_crop,
        min_face=min_face,
        least_score=least_score,
        borders=borders,
        device=device,
        any_chip=any_chip,
    ).chosen()
    models.require_alignment()
    opened = open_pipeline(
        detector,
        models.embedder,
        resolve_backend(backend, models.options()),
        models.folder,
        batch,
        settings=models.settings(),
        selection=selection,
    )
    with ExitStack() as stack:
        pipeline = stack.enter_context(opened)
        return Faces(pipeline, models, stack.pop_all())


def embed_folder(
    folder: Path | str,
    out: Path | str,
    models: Models = EVERYDAY_MODELS,
    *,
    faces: WhichFaces = "main",
    workers: int = 1,
    shard: int = 64,
    force: bool = False,
    progress: Progress = _silent,
) -> FacesRun:
    """One embedding for each photograph of a folder, or for each face, as `facepipe embed`: written into `out`, resumed
    where it was, refused where `out` was begun otherwise.

    Args:
        faces: "main": of each photograph the one that `models.selection` prefers; "all".
        workers: processes; with more than one the calling script needs its `if __name__ == "__main__":`.
        shard: photographs that are finished together.
        force: start over what was begun with other parameters.
        progress: told how many photographs were finished.

    Raises:
        DataError: there is no photograph in the folder.
        BackendError: the back end is unavailable, or a model was not converted yet.
        StageError: `out` belongs to another run, or a worker died.
    """
    job = replace(_run_job(Path(folder), Path(out), models, shard, force=force), faces=faces)
    return embed_photographs(job, list_keys(Path(folder)), Local(workers), force=force, progress=progress)


def run_lfw(
    run: Path | str,
    models: Models = LFW_MODELS,
    *,
    data: Path | str | None = None,
    pairs: Path | str | None = None,
    cfp: str | None = None,
    missing: str = "different",
    unread: str = "error",
    staged: bool = False,
    workers: int = 1,
    shard: int = 64,
    force: bool = False,
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Photographs to verification accuracy by ten folds, as `facepipe lfw`: the content of `run`/accuracy.json.

    Args:
        data: the folder of photographs; None: a table's own folder, or data/lfw, else the mirror's.
        pairs: LFW's pairs file or a table (`.csv`); None: pairs.txt in `data`.
        cfp: "FF" or "FP": `data` is CFP's root, and this the protocol.
        missing, unread: what becomes of pairs that lack a face, and of those with a photograph that cannot be read.
        staged: stage by stage through files.
        workers, shard, force, progress: as `embed_folder`'s.

    Raises:
        AssetError: LFW is not here.
        DataError: a file has another form, or a pair cannot be judged and its policy allows none.
        BackendError, StageError: as `embed_folder`.
    """
    root, pairs_file = lfw.lfw_folders(_path(data), _path(pairs), cfp)
    keys, named = lfw.lfw_keys(root, pairs_file, unread=unread)
    job = _run_job(root, Path(run), models, shard, force=force)
    asked = lfw.LfwJob(job, keys, named, Policies(missing, unread))
    return lfw.run_lfw(asked, Local(workers), staged=staged, force=force, progress=lambda _: progress)


def run_wider(
    run: Path | str,
    models: Models,
    *,
    size: str = "default",
    aspect: str = "default",
    protocol: str = "single",
    data: Path | str | None = None,
    images: Path | str | None = None,
    threshold: float = wider.THRESHOLD,
    workers: int = 1,
    force: bool = False,
    progress: Progress = _silent,
) -> Mapping[str, object]:
    """A detector on WIDER FACE's validation set, as `facepipe wider`: the content of `run`/wider.json.

    Args:
        models: its detector, and how it runs; no embedder is asked.
        size, aspect, protocol: see `runs.wider_protocol`.
        data, images: the folder of WIDER FACE, and the photographs where they lie elsewhere.
        threshold: least score; curves need the low ones too.
        workers, force, progress: as `embed_folder`'s.

    Raises:
        AssetError: WIDER FACE is not here.
        DataError: no such detector or size; models name another one, or which faces are found; or a photograph cannot
            be read.
        BackendError, StageError: as `embed_folder`.
    """
    detector = _named(models.detector, "detector")
    for option in ("size", "min_face", "least_score", "borders"):
        if (value := getattr(models, option)) not in (None, 0):
            raise DataError(
                f"run_wider: models name {option}={value!r}, expected none: the protocol has its sizes, a curve "
                "needs every face.",
                "run_wider(size=..., threshold=...).",
            )
    folder = wider.wider_folder(_path(data))
    truth = wider.wider_truth(folder)
    photographs = wider.wider_photographs(folder, truth, _path(images))
    job = WiderJob(
        root=photographs.root,
        folder=Path(run),
        weights=models.folder,
        detector=detector,
        backend=resolve_backend(models.backend, models.options()).name,
        settings=wider.wider_settings(detector, threshold, weights=models.folder),
        options=wider.detector_options(models.options()),
        batch=models.batch,
        limits=replace(models, size=0).limits(),
    )
    chosen = wider_protocol(detector, protocol, size, aspect, models.folder)
    done = wider.run_wider(job, photographs, truth, chosen, Local(workers), force=force, progress=lambda _: progress)
    return done.content


def convert_models(*names: str, weights: Path | str | None = None) -> dict[str, ConversionReport]:
    """Published weights in a folder to ONNX files beside them, parity with PyTorch held after every step; what is up
    to date stays. Each model's report by name.

    Args:
        names: models, or detectors of several.

    Raises:
        AssetError: a weight file is not here.
        WeightsError, ConversionError: they are not this model's, or a step moved the outputs.
    """
    ws = replace(open_workspace(), weights=weights_folder(weights))
    converted = conversion.convert_models(names, ws)
    return {one.spec.name: one.report for one in converted if one.report is not None}


def enrol(
    photographs: Path | str,
    out: Path | str,
    models: Models = EVERYDAY_MODELS,
    *,
    labels: Path | str | None = None,
    threshold: float | None = None,
    overwrite: bool = False,
    progress: Progress = _silent,
) -> Gallery:
    """A gallery of the people in a folder, as `facepipe gallery build`, written to `out`.

    Args:
        photographs: `<person>/<photograph>`, or any folder with `labels`.
        labels: lines "path<TAB>name".
        threshold: least cosine for a name; None: the catalogue's, where it holds one.
        overwrite: a gallery that is at `out` may be replaced.

    Raises:
        DataError: a photograph has no name; or a file that is no gallery is at `out`.
        BackendError: the back end is unavailable, or a model was not converted yet.
        StageError: nothing tells the weights of the embedder.
    """
    require_writable(Path(out), overwrite=overwrite)
    models = models.chosen()
    names = enrolment.named_photographs(Path(photographs), _path(labels))
    backend = resolve_backend(models.backend, models.options())
    with _recogniser(models, backend) as recogniser:
        found = enrolment.enrol(
            Path(photographs), names, recogniser, batch=models.batch, limits=models.limits(), progress=progress
        )
        least = None if threshold is None else Threshold(threshold, None, "given by hand")
        least = least or enrolment.known_threshold(recogniser.spec, recogniser.pipeline.note)
        gallery = enrolment.new_gallery(recogniser, found, least, MadeBy(backend.name, models.precision))
    write_gallery(Path(out), gallery, overwrite=overwrite)
    return gallery


def recognise(
    photographs: Path | str,
    gallery: Path | str,
    out: Path | str,
    models: Models = EVERYDAY_MODELS,
    *,
    threshold: float | None = None,
    progress: Progress = _silent,
) -> Recognised:
    """Names on the faces of a photograph, a folder of them or a film, as `facepipe recognise`: drawings and their
    JSON files in `out`.

    Args:
        threshold: least cosine for a name; None: the gallery's.

    Raises:
        DataError: neither the gallery nor `threshold` tells who is unknown; or there is no photograph.
        BackendError: the back end is unavailable, or a model was not converted yet.
        StageError: the gallery is of other weights.
    """
    given, known = Path(photographs), read_gallery(Path(gallery))
    if models.embedder == AUTO:
        models = replace(models, embedder=known.model)
    attempt = "recognise(threshold=...), or `facepipe gallery calibrate`."
    least = least_similarity(known, threshold, str(gallery), attempt)
    backend = resolve_backend(models.backend, models.options(), known.made_by, Path(gallery))
    with _recogniser(models, backend) as recogniser:
        require_model(known, recogniser.model, recogniser.weights_sha256, str(gallery))
        told = {"gallery": str(gallery), "detector": models.detector}
        asked = recognition(recogniser, known, least, told, batch=models.batch, limits=models.limits())
        if given.is_file() and is_film(given):
            return recognise_film(asked, given, Path(out) / f"{given.stem}.mp4", progress=progress)
        if given.is_file():
            return recognise_photographs(asked, given.parent, [given.name], Path(out), progress=progress)
        return recognise_photographs(asked, given, photographs_of(given, Path(out)), Path(out), progress=progress)


def _recogniser(models: Models, backend: Backend) -> AbstractContextManager[Recogniser]:
    models.require_alignment()
    return open_recogniser(
        models.detector,
        _named(models.embedder, "embedder"),
        backend,
        models.folder,
        models.batch,
        settings=models.settings(),
        selection=models.selection,
    )


def _run_job(root: Path, run: Path, models: Models, shard: int, *, force: bool) -> RunJob:
    detector, models = _named(models.detector, "detector"), models.chosen()
    models.require_alignment()
    return RunJob(
        root=root,
        run=run,
        weights=models.folder,
        detector=detector,
        embedder=_named(models.embedder, "embedder"),
        backend=resolve_backend(models.backend, models.options(), None if force else made_by(run), run).name,
        options=models.options(),
        batch=models.batch,
        selection=models.selection,
        shard_size=shard,
        settings=models.settings(),
        limits=models.limits(),
    )


def _named(name: str | None, what: str) -> str:
    if name is None:
        raise DataError(f"models: no {what} was named, expected one.", f"Models({what}=...)")
    return name


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)
