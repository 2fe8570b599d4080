# SPDX-License-Identifier: Apache-2.0
"""facepipe for programs: open models once and ask them about photographs, or do a whole run with one call.

    import facepipe
    faces = facepipe.load(detector="mtcnn", embedder="mobilefacenet.ms1m")
    print(faces.distance("one.jpg", "other.jpg"))

docs/api.md shows all of it. What a command prints, these functions return; nothing here parses or prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from facepipe.assets.workspace import open_workspace
from facepipe.backends import AUTO, resolve_backend, takes_compiled
from facepipe.backends.base import Backend, MadeBy, RuntimeOptions
from facepipe.convert.onnx import models as conversion
from facepipe.convert.onnx.report import ConversionReport
from facepipe.datasets.images import list_keys
from facepipe.datasets.video import is_film
from facepipe.detect import EVERYDAY_DETECTOR, DetectorSettings, everyday_settings, looked_at
from facepipe.engine.local import Local
from facepipe.errors import DataError
from facepipe.faces.photographs import Limits, limits_for, photographs_of, read_given
from facepipe.faces.pipeline import DEFAULT_SELECTION, FacePipeline, Image, open_pipeline, require_alignment
from facepipe.faces.verdict import Verdict, verdict
from facepipe.gallery import enrol as enrolment
from facepipe.gallery.faces import Recogniser, open_recogniser
from facepipe.gallery.file import (
    Gallery,
    Threshold,
    least_similarity,
    read_gallery,
    require_model,
    require_writable,
    write_gallery,
)
from facepipe.gallery.recognise import Recognised, recognise_film, recognise_photographs, recognition
from facepipe.metrics.verification import squared_distances
from facepipe.results import Detections, EmbeddedFace, NoFace, PictureFaces, Unread
from facepipe.runs import lfw, wider
from facepipe.runs.faces_run import FacesRun, embed_photographs
from facepipe.runs.job import RunJob, WhichFaces, made_by
from facepipe.runs.score import Policies
from facepipe.runs.wider_protocol import wider_protocol
from facepipe.runs.wider_run import WiderJob

Picture = str | Path | np.ndarray
"""A path, or uint8 [H, W, 3] in RGB."""

Progress = Callable[[int], None]


def _silent(count: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Models:
    """Which models are run, and how; what `load` and every run take.

    Attributes:
        detector, embedder: names of the catalogue; `facepipe models` lists them.
        backend: what executes them; `facepipe backends` lists what can run here.
        weights: the folder that `convert_models` (or `facepipe om`) wrote.
        batch: the most photographs or crops in one call of a network.
        threads: of each network.
        precision: what the back end computes in.
        selection: which of several faces is a photograph's main one; a name of `faces.pipeline.SELECTION_NAMES`.
        max_pixels: of the largest photograph that is looked at, as it is decoded: a JPEG shrinks in that. None: as
            many as take 400 MB.
        size: pixels of the longer side of the copy in which faces are looked for; None: the detector's everyday size;
            0: all pixels. Answers are in pixels of the photograph.
        allow_margin_crop: a detector without landmarks may serve an embedder that wants them, much less accurately.
    """

    detector: str | None = EVERYDAY_DETECTOR
    embedder: str | None = "facenet.vggface2"
    backend: str = AUTO
    weights: Path | str = "weights"
    batch: int = 16
    threads: int = 1
    precision: str = "f32"
    selection: str = DEFAULT_SELECTION
    max_pixels: int | None = None
    size: int | None = None
    allow_margin_crop: bool = False

    def options(self) -> RuntimeOptions:
        """What a session is told."""
        return RuntimeOptions(threads=self.threads, precision=self.precision)

    def limits(self) -> Limits:
        """What is decoded of photographs, and the largest one that is looked at."""
        settings = self.settings()
        size = 0 if settings is None or self.size == 0 else looked_at(settings)
        return limits_for(size, self.max_pixels)

    def settings(self) -> DetectorSettings | None:
        """Of the detector, with its working size; None without a detector."""
        if self.detector is None:
            return None
        settings = everyday_settings(self.detector, self.size, compiled=takes_compiled(self.backend))
        return replace(settings, batch=self.batch)

    def require_alignment(self) -> None:
        """Raise DataError where the detector gives no landmarks and the embedder wants them, unless that is allowed."""
        if self.embedder is not None:
            require_alignment(self.detector, self.embedder, self.allow_margin_crop, "allow_margin_crop=True")


EVERYDAY_MODELS = Models()
LFW_MODELS = Models(detector="mtcnn", size=0)
"""What LFW's accuracy is published with."""


class Faces:
    """Open models. `load` makes one; `close` ends it, and so does leaving a `with` block.

    One photograph that cannot be read, or has no face, never loses the others: it has that answer in its place.
    """

    def __init__(self, pipeline: FacePipeline, models: Models, stack: ExitStack) -> None:
        self.pipeline = pipeline
        self._models = models
        self._stack = stack

    def __enter__(self) -> Faces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the models back. Closing again does nothing; asking afterwards is an error of the back end's."""
        self._stack.close()

    @property
    def note(self) -> str | None:
        """What a user has to know of this pair of models; None when there is nothing."""
        return self.pipeline.note

    def detect(self, photographs: Sequence[Picture]) -> list[Detections | Unread]:
        """Every face of every photograph, in their order."""
        return self._answers(photographs, self.pipeline.detect)

    def embed(self, photographs: Sequence[Picture]) -> list[EmbeddedFace | NoFace | Unread]:
        """The main face of each photograph with its embedding, or why there is none, or why it cannot be read."""
        self._need_embedder()
        return self._answers(photographs, self.pipeline.main_faces)

    def embed_all(self, photographs: Sequence[Picture]) -> list[PictureFaces | Unread]:
        """All faces of each photograph with their embeddings, and why some could not be cut out."""
        self._need_embedder()
        return self._answers(photographs, self.pipeline.all_faces)

    def distance(self, one: Picture, other: Picture) -> float:
        """The squared Euclidean distance of the two main faces' embeddings, in [0, 4]: small means the same person.

        Raises:
            DataError: one of the photographs cannot be read or has no face.
        """
        first, second = self._two(one, other)
        return float(squared_distances(first[None], second[None])[0])

    def verify(self, one: Picture, other: Picture, *, threshold: float | None = None) -> Verdict:
        """Whether the two main faces are one person's: by the catalogue's threshold, or by a cosine that is given.

        Raises:
            DataError: one of the photographs cannot be read or has no face.
        """
        first, second = self._two(one, other)
        assert self.pipeline.embedder is not None, "it embedded"
        return verdict(first, second, self.pipeline.embedder.spec, self.note, threshold)

    def _two(self, one: Picture, other: Picture) -> list[np.ndarray]:
        """The embeddings of the main faces of two photographs.

        Raises:
            DataError: one of them cannot be read or has no face.
        """
        rows = []
        for photograph, answer in zip((one, other), self.embed([one, other]), strict=True):
            if not isinstance(answer, EmbeddedFace):
                name = "the array" if isinstance(photograph, np.ndarray) else photograph
                raise DataError(f"{name}: {answer.reason}, expected a photograph with a face.")
            rows.append(answer.embedding)
        return rows

    def _need_embedder(self) -> None:
        if self.pipeline.embedder is None:
            raise DataError("load: no embedder was named, expected one to embed with.", "load(embedder=...)")

    def _answers(self, photographs: Sequence[Picture], ask: Callable[[Sequence[Image]], Sequence[Any]]) -> Any:
        """What `ask` says of each photograph that can be read, Unread in the others' places."""
        answers: list[Any] = []
        for group in read_given(photographs, self._models.batch, self._models.limits()):
            images = [one.decoded for one in group]
            read = iter(ask([one for one in images if not isinstance(one, Unread)]))
            answers += [one if isinstance(one, Unread) else next(read) for one in images]
        return answers


def load(
    detector: str | None = EVERYDAY_DETECTOR,
    embedder: str | None = "facenet.vggface2",
    *,
    backend: str = AUTO,
    weights: Path | str = "weights",
    batch: int = 16,
    threads: int = 1,
    precision: str = "f32",
    selection: str = DEFAULT_SELECTION,
    max_pixels: int | None = None,
    size: int | None = None,
    allow_margin_crop: bool = False,
) -> Faces:
    """A detector and an embedder, loaded from converted models; arguments as `Models`' attributes.

    Args:
        detector: None: photographs are faces that are cut out and aligned already.
        embedder: None: nothing is embedded.

    Raises:
        DataError: a name is not in the catalogue, or the two do not go together.
        BackendError: the back end is unavailable here, or a model was not converted yet.
    """
    models = Models(
        detector, embedder, backend, weights, batch, threads, precision, selection, max_pixels, size, allow_margin_crop
    )
    models.require_alignment()
    opened = open_pipeline(
        detector,
        embedder,
        resolve_backend(backend, models.options()),
        Path(weights),
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
        models: its detector; no embedder is asked.
        size, aspect, protocol: see `runs.wider_protocol`.
        data, images: the folder of WIDER FACE, and the photographs where they lie elsewhere.
        threshold: least score; curves need the low ones too.
        workers, force, progress: as `embed_folder`'s.

    Raises:
        AssetError: WIDER FACE is not here.
        DataError: no such detector or size; or a photograph cannot be read.
        BackendError, StageError: as `embed_folder`.
    """
    detector = _named(models.detector, "detector")
    folder = wider.wider_folder(_path(data))
    truth = wider.wider_truth(folder)
    photographs = wider.wider_photographs(folder, truth, _path(images))
    job = WiderJob(
        root=photographs.root,
        folder=Path(run),
        weights=Path(models.weights),
        detector=detector,
        backend=resolve_backend(models.backend, models.options()).name,
        settings=wider.wider_settings(detector, threshold),
        options=wider.detector_options(models.options()),
        batch=models.batch,
        limits=replace(models, size=0).limits(),
    )
    chosen = wider_protocol(detector, protocol, size, aspect)
    done = wider.run_wider(job, photographs, truth, chosen, Local(workers), force=force, progress=lambda _: progress)
    return done.content


def convert_models(*names: str, weights: Path | str = "weights") -> dict[str, ConversionReport]:
    """Published weights in a folder to ONNX files beside them, parity with PyTorch held after every step; what is up
    to date stays. Each model's report by name.

    Args:
        names: models, or detectors of several.

    Raises:
        AssetError: a weight file is not here.
        WeightsError, ConversionError: they are not this model's, or a step moved the outputs.
    """
    ws = replace(open_workspace(), weights=Path(weights))
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
    names = enrolment.named_photographs(Path(photographs), _path(labels))
    backend = resolve_backend(models.backend, models.options())
    with _recogniser(models, backend) as recogniser:
        found = enrolment.enrol(
            Path(photographs), names, recogniser, batch=models.batch, limits=models.limits(), progress=progress
        )
        least = None if threshold is None else Threshold(threshold, None, "given by hand")
        least = least or enrolment.known_threshold(recogniser.model, recogniser.pipeline.note)
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
        Path(models.weights),
        models.batch,
        settings=models.settings(),
        selection=models.selection,
    )


def _run_job(root: Path, run: Path, models: Models, shard: int, *, force: bool) -> RunJob:
    detector = _named(models.detector, "detector")
    models.require_alignment()
    return RunJob(
        root=root,
        run=run,
        weights=Path(models.weights),
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
