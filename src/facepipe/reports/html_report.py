# SPDX-License-Identifier: Apache-2.0
"""A scored run as one HTML page that a person can read without a network: pictures are inside, scripts are not there.

What the page shows: the accuracy with its protocol, ROC and distances, the worst false accepts and rejects as pictures
side by side, photographs without a face, time by step, and every artefact with its sha256.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facepipe.catalogue import find
from facepipe.datasets.images import Decoded
from facepipe.datasets.lfw import VerificationSet
from facepipe.errors import DataError
from facepipe.escape import for_html
from facepipe.faces.photographs import EVERYDAY, Limits, decoded_or_error
from facepipe.faces.pipeline import crop_of
from facepipe.reports.drawings import draw_face
from facepipe.reports.html_page import cards, details, table, whole_page
from facepipe.reports.report_plots import count_of, report_pngs
from facepipe.results import Face, NoFace, Outcome, Unread
from facepipe.runs.score import JoinedPairs, join
from facepipe.specs import ModelSpec
from facepipe.store.files import read_json, sha256_of_file, write_text
from facepipe.store.lock import LOCK
from facepipe.store.owned import RECORD
from facepipe.store.run_faces import FACES_FILE, read_main_faces
from facepipe.store.run_record import ACCURACY_FILE, RUN_FILE, adding, read_run

REPORT_FILE = "report.html"

_SHOWN_PAIRS, _SHOWN_FACELESS = 12, 24
_CROP_PX, _PHOTOGRAPH_PX = 112, 150
_FILES_LISTED = 300


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A pair that its fold's threshold judged wrongly."""

    first: str
    second: str
    distance: float
    threshold: float
    fold: int


@dataclass(frozen=True, slots=True)
class WrongPairs:
    """All wrong answers of a run: different people called the same, nearest first; and the same, furthest first.

    Pairs without a face are in neither: there is nothing to look at.
    """

    false_accepts: tuple[JudgedPair, ...]
    false_rejects: tuple[JudgedPair, ...]


def write_html_report(run: Path, pairs: VerificationSet, root: Path) -> Path:
    """Write `run`/report.html, whole; return its path.

    Args:
        run: the folder of a scored run.
        pairs: the set it was scored on.
        root: the photographs; one that is gone leaves a blank in the page.

    Raises:
        DataError: the run was not scored, or its files do not fit each other or the pairs.
        BackendError: matplotlib is not installed.
    """
    if not (run / ACCURACY_FILE).is_file():
        raise DataError(f"{run / ACCURACY_FILE}: no such file, expected a scored run.", "`facepipe lfw --run ...`")
    record = read_run(run, [ACCURACY_FILE])
    accuracy = read_json(run / ACCURACY_FILE)
    joined = join(run, pairs)
    wrong = wrong_pairs(joined, pairs, accuracy)
    shown = (*wrong.false_accepts[:_SHOWN_PAIRS], *wrong.false_rejects[:_SHOWN_PAIRS])
    outcomes = _outcomes(run, {key for pair in shown for key in (pair.first, pair.second)})
    begun_with = record.get("parameters", {})
    limits = Limits(begun_with.get("max_pixels", EVERYDAY.max_pixels), size=begun_with.get("size", 0))
    folder = record.get("weights_folder")  # for an imported recogniser, whose record is there
    pictures = _Pictures(root, outcomes, find(accuracy["embedder"], None if folder is None else Path(folder)), limits)
    title = f"{accuracy['detector']} + {accuracy['embedder']} on {_set_name(root)}"
    body = "\n".join(
        [
            f"<h1>{for_html(title)}</h1>",
            _headline(accuracy, pairs),
            _plots(joined, pairs, accuracy),
            _wrong("Worst false accepts", "different people, called the same", wrong.false_accepts, pictures),
            _wrong("Worst false rejects", "the same person, called different", wrong.false_rejects, pictures),
            _faceless(joined, root, _reasons(run), limits),
            _identification(run),
            _times(record),
            _settings(accuracy, record),
            _artefacts(run, record),
        ]
    )
    path = run / REPORT_FILE
    with adding(run, [REPORT_FILE]):
        write_text(path, whole_page(title, body))
    return path


def _set_name(root: Path) -> str:
    """What a set of photographs is called: its folder, above the one that is called images."""
    root = root.absolute()
    return root.parent.name if root.name == "images" and root.parent.name else root.name


def wrong_pairs(joined: JoinedPairs, pairs: VerificationSet, accuracy: Mapping[str, Any]) -> WrongPairs:
    """The pairs that the threshold of their fold judged wrongly, worst first."""
    thresholds = np.array(accuracy["accuracy"]["thresholds"])[joined.folds]
    accepted = joined.distances < thresholds

    def judged(places: np.ndarray) -> tuple[JudgedPair, ...]:
        return tuple(
            JudgedPair(
                pairs.pairs[place].first,
                pairs.pairs[place].second,
                float(joined.distances[place]),
                float(thresholds[place]),
                int(joined.folds[place]),
            )
            for place in places.tolist()
        )

    excess = joined.distances - thresholds  # by how much the fold's own threshold was missed
    accepts = np.flatnonzero(accepted & ~joined.same)
    rejects = np.flatnonzero(~accepted & joined.same & ~joined.missing & ~joined.unread)
    return WrongPairs(judged(accepts[np.argsort(excess[accepts])]), judged(rejects[np.argsort(-excess[rejects])]))


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Photographs and crops as images inside the page."""

    root: Path
    outcomes: Mapping[str, Outcome]
    recogniser: ModelSpec | None
    limits: Limits

    def figure(self, key: str) -> str:
        """A photograph with its face marked, and the crop that the recogniser saw."""
        face = self.outcomes.get(key)
        try:
            image = decoded_or_error(self.root / key, self.limits)
        except DataError as error:
            gone = f'<div class="gone">{for_html(error.what)}</div>'
            return f"<figure>{gone}<figcaption>{for_html(key)}</figcaption></figure>"
        marked, cut = _thumbnail(draw_face(image.pixels, _in_copy(face, image)), _PHOTOGRAPH_PX), ""
        if isinstance(face, Face) and self.recogniser is not None:
            crop = crop_of(image, face, self.recogniser)
            cut = (
                for_html(crop.reason)
                if isinstance(crop, NoFace)
                else _img(_thumbnail(crop, _CROP_PX), f"crop of {key}")
            )
        return f"<figure>{_img(marked, key)}{cut}<figcaption>{for_html(key)}</figcaption></figure>"


def _thumbnail(image: np.ndarray, side: int) -> bytes:
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=85)
    return target.getvalue()


def _img(content: bytes, text: str) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{for_html(text)}" src="data:image/{kind};base64,{data}">'


def _headline(accuracy: Mapping[str, Any], pairs: VerificationSet) -> str:
    measured, counted = accuracy["accuracy"], accuracy["pairs"]
    notes = []
    if not accuracy["for_accuracy"]:
        notes.append("The recogniser's weights are computed, not trained: this shows the pipeline and not the network.")
    if accuracy.get("alignment_note"):
        notes.append(str(accuracy["alignment_note"]))
    figures = [
        ("accuracy", f"{measured['mean']:.4f} ± {measured['std']:.4f}"),
        ("TAR at FAR 1e-3", f"{accuracy['tar_at_far_1e-3']:.4f}"),
        ("AUC", f"{accuracy['auc']:.5f}"),
        ("EER", f"{accuracy['eer']:.4f}"),
    ]
    folds = [
        (str(number), f"{share:.4f}", f"{threshold:.2f}")
        for number, (share, threshold) in enumerate(
            zip(measured["per_fold"], measured["thresholds"], strict=True), start=1
        )
    ]
    protocol = (
        f"{count_of(counted['total'], 'pair')} in {count_of(len(folds), 'fold')}, as the list '{pairs.name}' has them; "
        f"{counted['missing']:,} of them without a face (policy: {counted['missing_policy']}), {counted['unread']:,} "
        f"with a photograph that cannot be read (policy: {counted['unread_policy']}). "
        f"Protocol: {accuracy['protocol']}."
    )
    warnings = "".join(f'<p class="warning">{for_html(note)}</p>' for note in notes)
    listed = table(("fold", "accuracy", "threshold of the others"), folds)
    folded = details("Accuracy of each fold", listed)
    return f"{warnings}{cards(figures)}<p>{for_html(protocol)}</p>{folded}"


def _plots(joined: JoinedPairs, pairs: VerificationSet, accuracy: Mapping[str, Any]) -> str:
    roc_png, distances_png = report_pngs(joined, pairs, accuracy)
    pictures = _img(roc_png, "ROC curve") + _img(distances_png, "histogram of distances")
    return f'<h2>ROC and distances</h2><div class="plots">{pictures}</div>'


def _wrong(title: str, meaning: str, wrong: Sequence[JudgedPair], pictures: _Pictures) -> str:
    shown = wrong[:_SHOWN_PAIRS]
    head = f"<h2>{for_html(title)}</h2><p>{count_of(len(wrong), 'pair')} of {for_html(meaning)}"
    if not shown:
        return f"{head}.</p>"
    rows = []
    for pair in shown:
        judged = f"distance {pair.distance:.3f}, threshold {pair.threshold:.2f}, fold {pair.fold + 1}"
        sides = pictures.figure(pair.first) + pictures.figure(pair.second)
        rows.append(f'<div class="pair">{sides}<p>{for_html(judged)}</p></div>')
    more = f"; the worst {len(shown)} are shown" if len(shown) < len(wrong) else ""
    return f'{head}{more}.</p><div class="pairs">{"".join(rows)}</div>'


def _in_copy(outcome: Outcome | None, image: Decoded) -> Outcome | None:
    """The outcome with its face in the pixels that were decoded."""
    return outcome.scaled(*image.scale) if isinstance(outcome, Face) else outcome


def _faceless(joined: JoinedPairs, root: Path, reasons: Mapping[str, str], limits: Limits) -> str:
    """Photographs without a face as pictures, and those that could not be read as a list: two different things."""
    keys = joined.no_face
    head = f"<h2>Photographs without a face</h2><p>{len(keys):,} of {count_of(joined.images, 'photograph')}.</p>"
    figures = []
    for key in keys[:_SHOWN_FACELESS]:
        try:
            picture = _img(_thumbnail(decoded_or_error(root / key, limits).pixels, _PHOTOGRAPH_PX), key)
        except DataError as error:
            picture = f'<div class="gone">{for_html(error.what)}</div>'
        figures.append(f"<figure>{picture}<figcaption>{for_html(key)}: {for_html(reasons[key])}</figcaption></figure>")
    rest = keys[_SHOWN_FACELESS:]
    listing = table(("photograph", "reason"), [(key, reasons[key]) for key in rest]) if rest else ""
    parts = [head, f'<div class="pairs">{"".join(figures)}</div>', details("The others", listing) if rest else ""]
    if unread := joined.unread_images:
        of = f"{len(unread):,} of {count_of(joined.images, 'photograph')}"
        parts.append(f"<h2>Photographs that cannot be read</h2><p>{of}.</p>")
        parts.append(table(("photograph", "reason"), [(key, reasons[key]) for key in unread]))
    return "".join(parts)


def _identification(run: Path) -> str:
    """The figures of `facepipe gallery evaluate`, where it has been called on the run."""
    path = run / "identification.json"
    if not path.is_file():
        return ""
    found = read_json(path)
    rows = [("rank-1", f"{found['rank_one']:.4f}", "")]
    rows += [
        (f"DIR at FPIR {100 * rate['fpir_target']:g} %", f"{rate['dir']:.4f}", f"{rate['threshold']:.4f}")
        for rate in found["open_set"]
    ]
    counts = (
        f"{found['enrolled']:,} of {found['people']:,} people in the gallery, {found['mated']:,} mated and "
        f"{found['non_mated']:,} non-mated probes. Protocol: {found['protocol']}."
    )
    return f"<h2>Identification</h2><p>{for_html(counts)}</p>{table(('rate', 'value', 'cosine above'), rows)}"


def _times(record: Mapping[str, Any]) -> str:
    timing = record.get("timing")
    if not timing:
        return "<h2>Time by step</h2><p>The run has not recorded its times.</p>"
    by_stage = "stage_seconds" in timing
    seconds = timing["stage_seconds" if by_stage else "worker_seconds"]
    whole = sum(seconds.values())
    rows = "".join(
        f'<tr><td>{for_html(step)}</td><td class="number">{value:,.1f} s</td>'
        f'<td class="bar"><i style="width:{100 * value / whole if whole else 0:.1f}%"></i></td></tr>'
        for step, value in (seconds.items() if by_stage else sorted(seconds.items(), key=lambda entry: -entry[1]))
    )
    workers = f"{count_of(timing['workers'], 'worker')} of {count_of(timing['threads'], 'thread')}"
    text = (
        f"{count_of(timing['photographs'], 'photograph')} in {timing['wall_seconds']:,.1f} s on the clock, {workers}; "
        "the run's last call alone: what was finished before costs nothing. "
        + ("Below: each stage on the clock." if by_stage else "Below: seconds of all workers together.")
    )
    return f"<h2>Time by step</h2><p>{for_html(text)}</p><table>{rows}</table>"


def _settings(accuracy: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    names = ("detector", "embedder", "backend", "precision", "batch", "selection")
    rows = [(name, str(accuracy[name])) for name in names if name in accuracy]
    if "root" in record:
        rows.append(("photographs", str(record["root"])))
    versions = [(name, str(version)) for name, version in accuracy["versions"].items()]
    return f"<h2>What ran</h2>{table(('', ''), rows)}{details('Versions', table(('package', 'version'), versions))}"


def _artefacts(run: Path, record: Mapping[str, Any]) -> str:
    models = [
        (str(entry.get("file")), str(entry.get("sha256")), str(entry.get("weights_sha256") or "not known"))
        for entry in record.get("models", [])
    ]
    sources = [(str(entry.get("path")), str(entry.get("sha256"))) for entry in record.get("sources", {}).values()]
    files = sorted(
        path
        for path in run.rglob("*")
        if path.is_file() and path.name not in (REPORT_FILE, RUN_FILE, LOCK, RECORD) and path.name[0] != "."
    )
    listed = [
        (path.relative_to(run).as_posix(), f"{path.stat().st_size:,}", sha256_of_file(path)) for path in _few(files)
    ]
    parts = [f"<h2>Artefacts</h2><p>{count_of(len(files), 'file')} in {for_html(str(run))}"]
    if len(listed) < len(files):
        parts.append(
            f"; listed are {len(listed):,}: the run's own and the manifests of its stages, which hold the digests of "
            "the others"
        )
    parts.append(f".</p>{table(('file', 'bytes', 'sha256'), listed)}")
    if models:
        parts.append(f"<h3>Models</h3>{table(('model file', 'sha256', 'sha256 of the weights behind it'), models)}")
    if sources:
        parts.append(f"<h3>Sources</h3>{table(('file', 'sha256'), sources)}")
    return "".join(parts)


def _few(files: Sequence[Path]) -> Sequence[Path]:
    """All files; of very many those that list the others."""
    if len(files) <= _FILES_LISTED:
        return files
    top = min(len(path.parts) for path in files)
    return [path for path in files if len(path.parts) == top or path.suffix == ".json"][:_FILES_LISTED]


def _outcomes(run: Path, keys: set[str]) -> dict[str, Outcome]:
    return {line.key: line.outcome for line in read_main_faces(run / FACES_FILE) if line.key in keys}


def _reasons(run: Path) -> dict[str, str]:
    lines = read_main_faces(run / FACES_FILE)
    return {line.key: line.outcome.reason for line in lines if isinstance(line.outcome, NoFace | Unread)}
