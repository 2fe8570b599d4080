# SPDX-License-Identifier: Apache-2.0
"""What changes when the networks compute as an .om of a precision mode does, on the same photographs.

Two views. Whole runs, from their files: the faces that were chosen, and the embeddings end to end. A sample, in
memory: every box of every photograph, every network's outputs on the inputs that it really meets, and the recogniser
on the same crops, so that its own error is told apart from the detector's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.backends.base import Backend, Run, model_file, open_session
from facepipe.catalogue import detector_models
from facepipe.catalogue import embedder as embedder_spec
from facepipe.detect.mtcnn import Mtcnn, MtcnnSettings
from facepipe.embed import open_embedder
from facepipe.engine import Engine
from facepipe.errors import DataError
from facepipe.faces.photographs import EVERYDAY, Limits, read_photographs
from facepipe.faces.pipeline import CutFace, FacePipeline, alignment_of
from facepipe.geometry.boxes import iou_matrix
from facepipe.metrics.layer_figures import LayerFigures, layer_figures
from facepipe.results import Detections, Face, Unread
from facepipe.runs.faces_run import Progress, run_faces, silent
from facepipe.runs.lfw import LfwJob, score_lfw
from facepipe.specs import ModelSpec
from facepipe.store.files import write_json
from facepipe.store.provenance import versions
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, read_embeddings, read_main_faces
from facepipe.store.run_record import read_run
from facepipe.store.stage import locked

SAME_BOX = 0.5
"""IoU from which two boxes are the same face."""

_KEPT = 24  # inputs of one network that are kept for its own comparison


@dataclass(frozen=True, slots=True)
class Cosines:
    """Cosines of N embeddings with their references: the least, the lowest hundredth, the mean."""

    count: int
    least: float
    hundredth: float
    mean: float


@dataclass(frozen=True, slots=True)
class RunComparison:
    """The chosen faces of two runs over the same photographs.

    Attributes:
        photographs, faces: in both; faces: with a face in both.
        gained, lost: keys with a face in the rehearsal alone, and in the reference alone.
        another_face: keys where the two chose boxes that overlap by less than SAME_BOX.
        box_shift: greatest and mean shift of a corner in pixels, over the same faces.
        landmark_shift: greatest and mean shift of a landmark in pixels.
        cosines: of the embeddings, end to end.
        centred: the same after the reference's mean embedding is taken from both: what is left tells people apart.
    """

    photographs: int
    faces: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    another_face: tuple[str, ...]
    box_shift: tuple[float, float]
    landmark_shift: tuple[float, float]
    cosines: Cosines
    centred: Cosines


@dataclass(frozen=True, slots=True)
class SampleComparison:
    """A sample of photographs in both precisions.

    Attributes:
        photographs: how many.
        boxes: of the reference, and of the rehearsal.
        gained, lost: boxes without a counterpart of IoU at least SAME_BOX.
        least_iou, mean_iou: of the counterparts.
        score_shift: the greatest change of a score.
        outputs: (network, output) with the figures over the inputs that the network met.
        cosines, centred: of the recogniser on the same crops.
    """

    photographs: int
    boxes: tuple[int, int]
    gained: int
    lost: int
    least_iou: float
    mean_iou: float
    score_shift: float
    outputs: tuple[tuple[str, str, LayerFigures], ...]
    cosines: Cosines
    centred: Cosines


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """accuracy.json of both runs ("f32" and the precision), and the two views of what changes."""

    precision: str
    accuracies: Mapping[str, dict[str, Any]]
    whole: RunComparison
    sample: SampleComparison


def rehearse(
    asked: LfwJob,
    out: Path,
    engine: Engine,
    *,
    precision: str = "fp16",
    sample: int = 400,
    force: bool = False,
    progress: Callable[[str], Progress] = lambda _: silent,
) -> Rehearsal:
    """The run as it is and rounded as an .om of a precision mode rounds; writes `out`/rehearsal.json.

    Args:
        asked: MTCNN on onnxruntime; the runs go below `out`.
        precision: one of `convert.ascend.rehearsal.PRECISIONS`.
        sample: photographs whose every box is compared.
        progress: from the name of a run, or "sample", to what is told of it.

    Raises:
        DataError: another detector or back end; or no face in the sample.
        StageError: the folder belongs to another job, or a worker died.
    """
    job = asked.job
    settings = job.detector_settings
    if job.detector != "mtcnn" or job.backend != "onnxruntime" or not isinstance(settings, MtcnnSettings):
        raise DataError(
            f"rehearse: {job.detector} on {job.backend} cannot be rehearsed, expected mtcnn on onnxruntime."
        )
    from facepipe.convert.ascend.rehearsal import write_rehearsed

    spec = embedder_spec(job.embedder, job.weights)
    with locked(out, "--out"):
        for one in (*detector_models(job.detector, job.weights), spec):
            write_rehearsed(one, job.weights, out / "models", precision)
        accuracies: dict[str, dict[str, Any]] = {}
        for name, folder in (("f32", job.weights), (precision, out / "models")):
            own = replace(asked, job=replace(job, run=out / name, weights=folder))
            models = run_faces(own.job, own.keys, engine, force=force, progress=progress(name)).models
            accuracies[name] = score_lfw(own, models)
        whole = compare_runs(out / "f32", out / precision)
        keys = asked.keys[:: max(1, len(asked.keys) // max(1, sample))][:sample]
        backend, folders = backend_by_name("onnxruntime", job.options), (job.weights, out / "models")
        compared = compare_sample(job.root, keys, spec, backend, folders, settings, job.limits, progress("sample"))
        write_json(
            out / "rehearsal.json",
            {
                "embedder": spec.name,
                "precision": precision,
                "accuracy": accuracies,
                "run": asdict(whole),
                "sample": asdict(compared),
                "versions": versions(),
            },
        )
    return Rehearsal(precision, accuracies, whole, compared)


def compare_runs(reference: Path, rehearsed: Path) -> RunComparison:
    """The files of two finished runs.

    Raises:
        DataError: they are of different photographs, or unreadable.
    """
    for run in (reference, rehearsed):
        read_run(run)
    ours, theirs = (list(read_main_faces(run / FACES_FILE)) for run in (reference, rehearsed))
    if [line.key for line in ours] != [line.key for line in theirs]:
        raise DataError(f"{rehearsed}: its photographs are not those of {reference}.", "run both on the same pairs.")
    pairs = list(zip(ours, theirs, strict=True))
    both = [(a, b) for a, b in pairs if isinstance(a.outcome, Face) and isinstance(b.outcome, Face)]
    same: list[tuple[Face, Face]] = []
    another = []
    for a, b in both:
        assert isinstance(a.outcome, Face) and isinstance(b.outcome, Face)
        if iou_matrix(a.outcome.box[None], b.outcome.box[None])[0, 0] >= SAME_BOX:
            same.append((a.outcome, b.outcome))
        else:
            another.append(a.key)
    rows = [(a.row, b.row) for a, b in both if a.row is not None and b.row is not None]
    embeddings = [
        read_embeddings(run / EMBEDDINGS_FILE)[[pair[side] for pair in rows]]
        for side, run in enumerate((reference, rehearsed))
    ]
    return RunComparison(
        photographs=len(pairs),
        faces=len(both),
        gained=tuple(a.key for a, b in pairs if not isinstance(a.outcome, Face) and isinstance(b.outcome, Face)),
        lost=tuple(a.key for a, b in pairs if isinstance(a.outcome, Face) and not isinstance(b.outcome, Face)),
        another_face=tuple(another),
        box_shift=_shift([(a.box, b.box) for a, b in same]),
        landmark_shift=_shift([(a.landmarks, b.landmarks) for a, b in same]),
        cosines=cosines(*embeddings),
        centred=cosines(*(rows_ - embeddings[0].mean(axis=0) for rows_ in embeddings)),
    )


def compare_sample(
    root: Path,
    keys: Sequence[str],
    embedder: ModelSpec,
    backend: Backend,
    folders: tuple[Path, Path],
    settings: MtcnnSettings,
    limits: Limits = EVERYDAY,
    progress: Callable[[int], None] = lambda _: None,
) -> SampleComparison:
    """MTCNN and a recogniser over a few photographs, with the models of two folders.

    Args:
        root: folder of photographs.
        keys: which of them.
        embedder: the recogniser.
        backend: what runs both.
        folders: of the reference's models, and of the rehearsal's.
        settings: of the cascade.
        progress: called with the number of photographs done.

    Raises:
        BackendError: a model is not there.
    """
    found: list[tuple[Detections, Detections]] = []
    crops = []
    with ExitStack() as stack:
        sides = [stack.enter_context(_cascade(backend, folder, settings)) for folder in folders]
        pipeline = FacePipeline(sides[0].detector, None, alignment_of("mtcnn", embedder.name, folders[0]))
        for (member,) in read_photographs(root, keys, 1, limits):
            if isinstance(member.pixels, Unread):
                continue
            ours, theirs = (side.detector.detect([member.pixels])[0] for side in sides)
            found.append((ours, theirs))
            cut = pipeline.cut(member.pixels, ours)
            if isinstance(cut, CutFace):
                crops.append(cut.crop)
            progress(1)
        outputs = [
            (spec.name, tensor.name, figures)
            for spec, ours_of, theirs_of in zip(
                detector_models("mtcnn"), sides[0].recorders, sides[1].recorders, strict=True
            )
            for tensor, figures in zip(spec.outputs, _output_figures(ours_of, theirs_of.run), strict=True)
        ]
    if not crops:
        raise DataError(f"{root}: no face in the sample of {len(keys)} photographs.", "a larger sample.")
    embeddings = []
    for folder in folders:
        with open_embedder(embedder_spec(embedder.name, folder), backend, folder, settings.batch) as recogniser:
            embeddings.append(recogniser.embed(np.stack(crops)))
    outputs.append((embedder.name, embedder.outputs[0].name, layer_figures(embeddings[0], embeddings[1])))
    matches = [match(ours, theirs) for ours, theirs in found]
    ious = np.concatenate([iou for _, _, iou in matches])
    shifts = [
        np.abs(a.scores[rows] - b.scores[columns]) for (a, b), (rows, columns, _) in zip(found, matches, strict=True)
    ]
    boxes = sum(len(a) for a, _ in found), sum(len(b) for _, b in found)
    return SampleComparison(
        photographs=len(found),
        boxes=boxes,
        gained=boxes[1] - len(ious),
        lost=boxes[0] - len(ious),
        least_iou=float(ious.min(initial=1.0)),
        mean_iou=float(ious.mean()) if len(ious) else 1.0,
        score_shift=float(np.concatenate(shifts).max(initial=0.0)),
        outputs=tuple(outputs),
        cosines=cosines(*embeddings),
        centred=cosines(*(rows - embeddings[0].mean(axis=0) for rows in embeddings)),
    )


def match(ours: Detections, theirs: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counterparts: rows of `ours`, rows of `theirs`, their IoU; each row once, the best overlap first."""
    overlap = iou_matrix(ours.boxes, theirs.boxes)
    pairs = []
    while overlap.size and overlap.max() >= SAME_BOX:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((row, column, overlap[row, column]))
        overlap[row], overlap[:, column] = -1, -1
    rows, columns, ious = zip(*pairs, strict=True) if pairs else ((), (), ())
    return np.array(rows, np.intp), np.array(columns, np.intp), np.array(ious, np.float32)


def cosines(reference: np.ndarray, other: np.ndarray) -> Cosines:
    """Row by row, float32 [N, D] each; NaN figures where N is 0."""
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(other, axis=1)
    values = (reference.astype(np.float64) * other).sum(axis=1) / lengths
    if not len(values):
        return Cosines(0, float("nan"), float("nan"), float("nan"))
    return Cosines(len(values), float(values.min()), float(np.quantile(values, 0.01)), float(values.mean()))


@dataclass(slots=True)
class _Recorder:
    """A network's run that keeps some of the inputs it met, with what it answered."""

    inner: Run
    kept: list[tuple[np.ndarray, tuple[np.ndarray, ...]]] = field(default_factory=list)

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        outputs = self.inner(image)
        if len(self.kept) < _KEPT:
            self.kept.append((image.copy(), outputs))
        return outputs


@dataclass(frozen=True, slots=True)
class _Side:
    detector: Mtcnn
    recorders: tuple[_Recorder, ...]


@contextmanager
def _cascade(backend: Backend, folder: Path, settings: MtcnnSettings) -> Iterator[_Side]:
    with ExitStack() as stack:
        recorders = tuple(
            _Recorder(
                stack.enter_context(open_session(backend, spec, model_file(backend, spec, folder, settings.batch))).run
            )
            for spec in detector_models("mtcnn")
        )
        pnet, rnet, onet = (recorder.run for recorder in recorders)
        yield _Side(Mtcnn(pnet, rnet, onet, replace(settings)), recorders)


def _output_figures(reference: _Recorder, run: Run) -> list[LayerFigures]:
    """Each output over all inputs that were kept, as one vector."""
    answers = [(wanted, run(image)) for image, wanted in reference.kept]
    count = len(answers[0][0])
    return [
        layer_figures(
            np.concatenate([wanted[index].reshape(-1) for wanted, _ in answers]),
            np.concatenate([found[index].reshape(-1) for _, found in answers]),
        )
        for index in range(count)
    ]


def _shift(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Greatest and mean distance of corresponding numbers; 0 where there are none."""
    if not pairs or pairs[0][0].size == 0:
        return 0.0, 0.0
    distances = np.abs(np.stack([a for a, _ in pairs]) - np.stack([b for _, b in pairs]))
    return float(distances.max()), float(distances.mean())
