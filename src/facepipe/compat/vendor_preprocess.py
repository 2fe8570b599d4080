# SPDX-License-Identifier: Apache-2.0
"""The vendor's first half: photographs to `pnet.json`, `rnet.json`, `onet.json`, crops, and `.bin` batches.

Files, names and folders are those of the FaceNet project in Huawei's ModelZoo-PyTorch, so that its command lines keep
working; the arithmetic is this package's own. Beside every file of the vendor's lies one of ours (`*.index.json`) that
says which photograph each entry belongs to, because the vendor's own files know positions only:

    data/output/split_bs16/pnet.json         {"0": {"boxes": [[x1, y1, x2, y2, score], ...], "image_inds": [...]}, ...}
    data/output/split_bs16/pnet.index.json   the batch and the keys; the next stage refuses other photographs
    data/output/split_bs16/onet.json         [path of the crop of every photograph, those without a face too]
    data/output/split_bs16/onet.index.json   ... and which photographs have no face, with the reason
    data/lfw_split_om_cropped_16/<key>       crops of those that have one

A file without our index, made by the vendor's script, is taken when the numbers of batches and photographs agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from facepipe.backends import backend_by_name
from facepipe.backends.base import Run
from facepipe.catalogue import model
from facepipe.datasets.crops import crop_name, write_crop
from facepipe.datasets.images import list_keys, read, read_size
from facepipe.detect import fitted
from facepipe.detect.mtcnn import MtcnnSettings, Photograph, locate, photograph, propose, refine
from facepipe.errors import DataError, StageError
from facepipe.faces.photographs import Photograph as Member
from facepipe.faces.photographs import read_photographs
from facepipe.faces.pipeline import CutFace, FacePipeline, alignment_of
from facepipe.geometry.kernels import kernels_by_name
from facepipe.results import Detections, Unread, no_detections
from facepipe.runs.pack_stage import pack_crops
from facepipe.specs import ModelSpec
from facepipe.store.bins import BinIndex, batches_of
from facepipe.store.files import (
    read_foreign_json,
    read_json,
    sha256_of_file,
    sha256_of_json,
    write_bytes,
    write_json,
    write_text,
)
from facepipe.store.owned import RECORD, claim, keep_record, remove

FORMAT = "facepipe.split.1"
SPEC: ModelSpec = model("facenet.vggface2")  # size, margin and pixels; FaceNet's three sets of weights share them
SELECTION = "center_weighted_size"
PIPELINE = FacePipeline(None, None, alignment_of("mtcnn", SPEC.name), SELECTION)  # choosing and cutting

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class SplitJob:
    """One of the three MTCNN commands.

    Attributes:
        data_dir: the folder of photographs, as the user wrote it: crop paths in onet.json begin with it.
        batch: photographs of one entry of the JSON files.
        output: the folder `split_bs<batch>` lies in.
        backend: what runs the network.
    """

    data_dir: str
    batch: int
    output: Path = Path("data/output")
    backend: str = "onnxruntime"

    @property
    def settings(self) -> MtcnnSettings:
        """The vendor's chain cuts boxes at the photograph's edges, and its results are compared with it."""
        return fitted(MtcnnSettings(borders="stretch"), backend_by_name(self.backend).traits, self.batch)

    @property
    def split(self) -> Path:
        return self.output / f"split_bs{self.batch}"

    @property
    def crop_dir(self) -> str:
        return f"{self.data_dir.rstrip('/')}_split_om_cropped_{self.batch}"


@dataclass(frozen=True, slots=True)
class Split:
    """What a stage did."""

    written: Path
    photographs: int
    found: int  # boxes, or crops
    no_face: dict[str, str]  # key to reason


def run_pnet(job: SplitJob, run: Run, progress: Progress) -> Split:
    """PNet over every photograph, into pnet.json.

    Raises:
        DataError: there are no photographs.
        TensorError: the model's outputs are not PNet's.
    """
    settings = job.settings
    return _run_boxes(job, "pnet", lambda group, _: propose(group, run, settings), None, progress)


def run_rnet(job: SplitJob, run: Run, progress: Progress) -> Split:
    """RNet over pnet.json, into rnet.json.

    Raises:
        StageError: pnet.json is missing or belongs to other photographs or another batch.
        DataError, TensorError: as `run_pnet`.
    """
    settings = job.settings
    return _run_boxes(job, "rnet", lambda group, before: refine(group, before, run, settings), "pnet", progress)


def run_onet(job: SplitJob, run: Run, progress: Progress) -> Split:
    """ONet over rnet.json; one crop for each photograph with a face; onet.json lists the crop path of every one.

    Raises:
        StageError: as `run_rnet`; or the crop folder holds other files.
        DataError, TensorError: as `run_pnet`.
    """
    keys = image_folder_keys(job.data_dir)
    before = _read_split(job, "rnet", keys)
    names = [crop_name(key) for key in keys]
    if len(set(names)) < len(names):
        raise DataError(f"{job.data_dir}: two photographs would have one crop's name, expected 'a.bmp' or 'a.bmp.png'.")
    claim(Path(job.crop_dir), "move the folder away.")
    _refuse_other_crops(Path(job.crop_dir), set(names))
    settings, no_face = job.settings, dict[str, str]()
    for members, entries in _with_entries(job, keys, before):
        found = _per_photograph(members, entries, lambda group, rows: locate(group, rows, run, settings), 5)
        for member, detections in zip(members, found, strict=True):
            path = Path(job.crop_dir) / crop_name(member.key)
            image = member.pixels
            cut = image if isinstance(image, Unread) else PIPELINE.cut(image, detections)
            if isinstance(cut, CutFace):
                write_crop(path, cut.crop)
            else:
                no_face[member.key] = cut.reason
                remove(path)  # of an earlier run
        progress(len(members))
    written = job.split / "onet.json"
    keep_record(written)
    write_json(job.split / "onet.index.json", _index(job, keys) | {"no_face": no_face})
    write_text(written, json.dumps([f"{job.crop_dir}/{name}" for name in names], ensure_ascii=False))
    return Split(written, len(keys), len(keys) - len(no_face), no_face)


def pack_crop_folder(crop_dir: Path, save_dir: Path, batch: int, progress: Progress) -> BinIndex:
    """Crops to `save_dir/xb_results/0.bin`, ..., with the index beside, and class numbers in `yb_results`.

    The index is keyed by the crops' paths below `crop_dir`. Bins that an earlier call left there are replaced.
    `yb_results/0.bin` holds int64 numbers of the crops' folders, sorted, without padding; nothing reads them.

    Raises:
        DataError: there are no crops, or one cannot be read.
        TensorError: a crop is not 160 x 160.
        StageError: `xb_results` holds files of another origin.
    """
    keys = image_folder_keys(crop_dir)
    made_from = {"crops_sha256": sha256_of_json({key: sha256_of_file(crop_dir / key) for key in keys})}
    index = pack_crops(
        save_dir,
        [keys],
        lambda key: read(crop_dir / key),
        SPEC,
        batch,
        made_from,
        bins="xb_results",
        digits=1,
        force=True,
        progress=progress,
    )
    classes = {name: number for number, name in enumerate(sorted({_class_of(key) for key in keys}))}
    for number, part in enumerate(batches_of(keys, batch)):
        labels = np.array([classes[_class_of(key)] for key in part], "<i8")
        write_bytes(save_dir / "yb_results" / f"{number}.bin", labels.tobytes())
    return index


def write_bin_info(folder: Path, info: Path, width: int, height: int, *, overwrite: bool = False) -> int:
    """benchmark's list of .bin files, "number path width height", in the order of their numbers; how many.

    Raises:
        DataError: there is none, or a path holds a blank.
    """
    files = sorted(folder.glob("*.bin"), key=lambda path: (len(path.name), path.name))
    return _write_info(folder, info, [(path, width, height) for path in files], overwrite)


def write_photograph_info(folder: Path, info: Path, *, overwrite: bool = False) -> int:
    """The same for the photographs of one folder, each with its own size.

    Raises:
        DataError: there is none, a path holds a blank, or a photograph's size cannot be read.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    sizes = [read_size(path) for path in files]
    rows = [(path, width, height) for path, (height, width) in zip(files, sizes, strict=True)]
    return _write_info(folder, info, rows, overwrite)


def image_folder_keys(root: str | Path) -> list[str]:
    """The photographs below `root` in the order of torchvision's ImageFolder: by folder, then by file name.

    Raises:
        DataError: there are none.
    """
    return sorted(list_keys(Path(root)), key=lambda key: PurePosixPath(key).parts)


def _run_boxes(
    job: SplitJob,
    name: str,
    look: Callable[[list[Photograph], list[Detections]], list[Detections]],
    after: str | None,
    progress: Progress,
) -> Split:
    """One stage that ends in boxes: `look` at the photographs of every batch, write `<name>.json`."""
    keys = image_folder_keys(job.data_dir)
    before = _read_split(job, after, keys) if after else [no_detections()] * len(keys)
    entries: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    found: list[Detections] = []
    for members, of_members in _with_entries(job, keys, before):
        reasons.update({one.key: one.pixels.reason for one in members if isinstance(one.pixels, Unread)})
        found += _per_photograph(members, of_members, look, 0)
        progress(len(members))
    for number, start in enumerate(range(0, len(keys), job.batch)):
        entries[str(number)] = _entry(found[start : start + job.batch])
    written = job.split / f"{name}.json"
    keep_record(written)
    write_json(job.split / f"{name}.index.json", _index(job, keys))
    write_text(written, json.dumps(entries, allow_nan=False))
    return Split(written, len(keys), sum(map(len, found)), reasons)


def _with_entries(
    job: SplitJob, keys: Sequence[str], entries: Sequence[Detections]
) -> Iterator[tuple[list[Member], Sequence[Detections]]]:
    """The photographs, bounded in memory, with what the stage before says of each."""
    start = 0
    for members in read_photographs(Path(job.data_dir), keys, job.batch):
        yield members, entries[start : start + len(members)]
        start += len(members)


def _per_photograph(
    members: Sequence[Member],
    entries: Sequence[Detections],
    look: Callable[[list[Photograph], list[Detections]], list[Detections]],
    landmark_count: int,
) -> list[Detections]:
    """`look` at the photographs that could be read, together; the others have no faces."""
    kernels = kernels_by_name(MtcnnSettings().kernels)
    there = [row for row, member in enumerate(members) if not isinstance(member.pixels, Unread)]
    group = [photograph(member.pixels, kernels) for member in members if not isinstance(member.pixels, Unread)]
    answers = look(group, [entries[row] for row in there])
    found = [no_detections(landmark_count) for _ in members]
    for row, detections in zip(there, answers, strict=True):
        found[row] = detections
    return found


def _entry(found: Sequence[Detections]) -> dict[str, Any]:
    """One batch in the vendor's form. A float32 becomes a float64 of the same value, so reading it back is exact."""
    rows = [np.column_stack([one.boxes, one.scores]).tolist() for one in found]
    return {
        "boxes": [row for part in rows for row in part],
        "image_inds": [number for number, part in enumerate(rows) for _ in part],
    }


def _index(job: SplitJob, keys: Sequence[str]) -> dict[str, Any]:
    return {"format": FORMAT, "batch": job.batch, "keys": list(keys)}


def _read_split(job: SplitJob, name: str, keys: Sequence[str]) -> list[Detections]:
    """The boxes of every photograph from `<name>.json`.

    Raises:
        StageError: the file is missing, of another form, or of other photographs.
    """
    path = job.split / f"{name}.json"
    again = f"MTCNN_preprocess.py --model {name.capitalize()} --data_dir {job.data_dir} --batch_size {job.batch}"
    if not path.is_file():
        raise StageError(f"{path}: no such file, expected what the stage before writes.", again)
    beside = job.split / f"{name}.index.json"
    if beside.is_file() and read_json(beside) != _index(job, keys):
        raise StageError(f"{path}: was made from other photographs than {job.data_dir} holds now.", again)
    content, batches = read_foreign_json(path), batches_of(keys, job.batch)
    if not isinstance(content, dict) or set(content) != {str(number) for number in range(len(batches))}:
        raise StageError(f"{path}: has other batches than '0' to '{len(batches) - 1}', expected one for each.", again)
    found = []
    for number, part in enumerate(batches):
        found += _detections(f"{path}, batch {number}", content[str(number)], len(part))
    return found


def _detections(where: str, entry: Any, count: int) -> list[Detections]:
    """One batch's entry as detections of each of its `count` photographs, in their order.

    Raises:
        StageError: the entry has another form.
    """
    try:
        boxes = np.array(entry["boxes"], np.float32).reshape(-1, 5)
        places = np.array(entry["image_inds"], np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise StageError(f"{where}: is not boxes and image_inds ({error!r}).") from error
    if places.shape != (len(boxes),) or not np.isfinite(boxes).all():
        raise StageError(f"{where}: has {len(boxes)} boxes and {places.size} image_inds, expected as many numbers.")
    if len(places) and not (places.min() >= 0 and places.max() < count):
        raise StageError(f"{where}: image_inds go to {places.max()}, expected 0 to {count - 1}.")
    return [
        Detections(boxes[mine, :4], boxes[mine, 4], np.zeros((int(mine.sum()), 0, 2), np.float32))
        for mine in (places == number for number in range(count))
    ]


def _refuse_other_crops(crop_dir: Path, names: set[str]) -> None:
    """Crops of other photographs would be packed along with ours."""
    if not crop_dir.is_dir():
        return
    files = (path.relative_to(crop_dir).as_posix() for path in crop_dir.rglob("*") if path.is_file())
    others = sorted(
        name for name in files if name not in (*names, RECORD) and not PurePosixPath(name).name.startswith(".")
    )
    if others:
        raise StageError(
            f"{crop_dir}: holds {len(others)} files that are no crops of these photographs (first: {others[0]}).",
            "move the folder away.",
        )


def _class_of(key: str) -> str:
    return PurePosixPath(key).parts[0]


def _write_info(folder: Path, info: Path, rows: Sequence[tuple[Path, int, int]], overwrite: bool) -> int:
    if not rows:
        raise DataError(f"{folder}: holds no such file, expected some to list.")
    for path, _, _ in rows:
        if any(letter.isspace() for letter in str(path)):
            raise DataError(f"{path}: has a blank in its path, and the list's fields are apart by blanks.")
    lines = (f"{i} {path} {width} {height}\n" for i, (path, width, height) in enumerate(rows))
    write_text(info, "".join(lines), overwrite=overwrite)
    return len(rows)
