# SPDX-License-Identifier: Apache-2.0
"""Every parser that facepipe owns, as a function of bytes: it returns, or raises one of facepipe's own errors.

Anything else (another exception, a hang, memory without bound) is a defect. `run.py` lets atheris look for such bytes;
test_targets.py tries some thousand seeded mutations of good files.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dlib_file import SMALL, dlib_file, seeded
from packed_rows import read_bins

from facepipe.compat.port_index import read_port_index
from facepipe.datasets.cfp import read_cfp_pairs
from facepipe.datasets.dlib_network import read_dlib_network
from facepipe.datasets.image_records import ImageRecord, bytes_from_record, read_labels, record_from_bytes
from facepipe.datasets.images import decode
from facepipe.datasets.lfw import read_pairs
from facepipe.datasets.pairs_csv import read_pairs_csv
from facepipe.datasets.restricted_pickle import read_pickle
from facepipe.datasets.torch_file import read_torch_file
from facepipe.datasets.verification_bin import read_verification_bin, verification_bin
from facepipe.datasets.widerface import read_prediction, read_sizes, read_truth
from facepipe.errors import DataError, FacepipeError
from facepipe.gallery.file import MAGIC, empty_gallery, read_gallery, with_rows, write_gallery
from facepipe.runs.provenance_check import changes
from facepipe.runs.unpack import output_files
from facepipe.store.bins import BinTensor, write_bins
from facepipe.store.files import read_arrays, write_arrays
from facepipe.store.photograph_digests import read_digests
from facepipe.store.run_faces import read_embeddings, read_faces
from facepipe.store.sealed_json import SEAL, sealed, strict_json, unsealed
from facepipe.store.stage import require_complete

KINDS = ("list", "tuple", "dict", "bool", "int", "float", "bytes", "str", "none", "array")
DIGEST = "ab" * 32
PICTURES = Path(__file__).resolve().parents[1] / "datasets/pictures/files"


@dataclass(frozen=True)
class Target:
    """A parser: `parse(content, folder)` reads `content`, with `folder` to lay files in; `seeds` are good contents."""

    parse: Callable[[bytes, Path], object]
    seeds: Callable[[Path], list[bytes]]


def survives(target: Target, content: bytes, folder: Path) -> bool:
    """Parse; True when the content was taken, False when it was refused. Any other exception passes."""
    try:
        target.parse(content, folder)
    except FacepipeError as error:
        assert str(error).strip(), "an error without words"
        return False
    return True


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def parse(content: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(content)
        return read(path)

    return parse


def _resealed(content: bytes) -> bytes:
    """An object of JSON with a seal that fits: else the seal would be all that a changed one meets."""
    try:
        value = strict_json(content)
        return json.dumps(sealed({k: v for k, v in value.items() if k != SEAL})).encode()
    except (ValueError, AttributeError, RecursionError):
        return content


def _seed(name: str, write: Callable[[Path], object]) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        write(folder)
        return [(folder / name).read_bytes()]

    return seeds


def _bins(folder: Path) -> object:
    tensor = BinTensor("image", "float32", "NCHW", (2, 1, 2, 2))
    return write_bins(folder, [("a", "b"), ("c",)], lambda keys: np.ones((len(keys), 1, 2, 2), np.float32), tensor, {})


def _parse_index(content: bytes, folder: Path) -> object:
    if not (folder / "bins").is_dir():
        _bins(folder)
    (folder / "index.json").write_bytes(content)
    return list(read_bins(folder))


def _gallery(folder: Path) -> None:
    rows = np.eye(3, 4, dtype=np.float32)
    write_gallery(folder / "g", with_rows(empty_gallery("m", DIGEST, 4), ["A", "B", "A"], ["1", "2", "3"], rows))


def _gallery_header(content: bytes, folder: Path) -> object:
    """A header that somebody sealed: what the reader does once the seal is right."""
    body = _object(content)
    _gallery(folder)
    rows = (folder / "g").read_bytes()[-48:]
    text = json.dumps(sealed(body)).encode()
    text += b" " * (-(16 + len(text)) % 64)
    (folder / "h").write_bytes(MAGIC + struct.pack("<Q", len(text)) + text + rows)
    return read_gallery(folder / "h")


def _object(content: bytes) -> dict[str, object]:
    try:
        body = strict_json(content)
    except ValueError as error:
        raise DataError(f"x: {error}") from error
    if not isinstance(body, dict) or "seal" in body:
        raise DataError("x: no object without a seal")
    return body


def _header(folder: Path) -> list[bytes]:
    _gallery(folder)
    content = (folder / "g").read_bytes()
    header = json.loads(content[16 : 16 + struct.unpack("<Q", content[8:16])[0]])
    return [json.dumps({name: value for name, value in header.items() if name != "seal"}).encode()]


def _sealed(content: bytes, _: Path) -> object:
    try:
        return unsealed(content)
    except ValueError as error:
        raise DataError(f"x: {error}") from error


def _faces() -> bytes:
    face = {"key": "a.jpg", "face": 0, "box": [1, 2, 3.5, 4], "score": 0.9, "landmarks": [[1, 2]] * 5, "row": 0}
    return "".join(json.dumps(line) + "\n" for line in (face, {"key": "b.jpg", "reason": "is empty"})).encode()


def _parse_names(content: bytes, folder: Path) -> object:
    """Names of output files, one per line, in a folder beside the packed one."""
    outputs = folder / "outputs"
    outputs.mkdir(exist_ok=True)
    for path in outputs.iterdir():
        path.unlink()
    for line in content.decode("utf-8", "ignore").split("\n")[:8]:
        name = "".join(letter for letter in line if letter not in "/\0")[:60]
        if name not in ("", ".", ".."):
            (outputs / name).touch()
    return output_files(outputs, _bins(folder / "packed"))  # type: ignore[arg-type]


def _run(content: bytes, folder: Path) -> object:
    (folder / "run.json").write_bytes(_resealed(content))
    (folder / "photographs.sha256").write_text(f"{DIGEST}  a.jpg\n")
    return list(changes(folder))


def _pictures(*suffixes: str) -> Callable[[Path], list[bytes]]:
    """The good ones among the small pictures; the others are in the ordinary tests."""

    def seeds(_: Path) -> list[bytes]:
        contents = [path.read_bytes() for path in sorted(PICTURES.iterdir()) if path.suffix in suffixes]
        return [content for content in contents if _is_picture(content)]

    return seeds


def _is_picture(content: bytes) -> bool:
    try:
        decode(content, "x")
    except FacepipeError:
        return False
    return True


def _parse_cfp(content: bytes, folder: Path) -> object:
    """The first byte says which of the protocol's files the rest is."""
    root = folder / "cfp"
    files = {"Protocol/Pair_list_F.txt": b"1 ../Data/a.jpg\n2 ../Data/b.jpg\n"}
    files["Protocol/Pair_list_P.txt"] = files["Protocol/Pair_list_F.txt"]
    for fold in range(1, 11):
        files[f"Protocol/Split/FP/{fold:02d}/same.txt"] = b"1,2\n"
        files[f"Protocol/Split/FP/{fold:02d}/diff.txt"] = b"2,1\n"
    names = list(files)[:3]
    if content:
        files[names[content[0] % len(names)]] = content[1:]
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or name in names:
            path.write_bytes(text)
    return read_cfp_pairs(root, "FP")


def _wider_files() -> dict[str, bytes]:
    """Ground truth of one photograph with one face, as the four MATLAB files."""
    import io

    from scipy.io import savemat

    def column(*values: object) -> np.ndarray:
        cells = np.empty((len(values), 1), object)
        cells[:, 0] = values
        return cells

    def file(**variables: object) -> bytes:
        content = io.BytesIO()
        savemat(content, variables, do_compression=True)
        return content.getvalue()

    whole = file(
        event_list=column("0--Parade"),
        file_list=column(column("a")),
        face_bbx_list=column(column(np.array([[1, 2, 3, 4]], np.float64))),
    )
    part = file(gt_list=column(column(np.array([[1]], np.uint8))))
    return {"wider_face_val.mat": whole} | {f"wider_{name}_val.mat": part for name in ("easy", "medium", "hard")}


def _parse_wider(content: bytes, folder: Path) -> object:
    if not (folder / "wider_easy_val.mat").exists():
        for name, good in _wider_files().items():
            (folder / name).write_bytes(good)
    (folder / "wider_face_val.mat").write_bytes(content)
    return read_truth(folder)


def _record() -> bytes:
    models = [{"model": "pnet", "file": "pnet.onnx", "sha256": DIGEST, "weights_sha256": None}]
    record = {"results": {"faces.jsonl": DIGEST}, "models": models, "sources": {}, "root": "r", "weights_folder": "w"}
    return json.dumps(record).encode()


def _arrays(folder: Path) -> None:
    write_arrays(folder / "a.npz", {"x": np.zeros(3, np.float32), "t": np.array(["a"])})


def _torch_file() -> bytes:
    import torch

    content, state = io.BytesIO(), torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2), torch.nn.PReLU(2)).state_dict()
    torch.save(state, content, _use_new_zipfile_serialization=False)
    return content.getvalue()


PORT = pickle.dumps({"label": ["A"], "feature": [np.ones((1, 4), np.float32)]}, protocol=2)
PAIRS = b"1\t2\nA\t1\t2\nB\t1\t3\nA\t1\tB\t2\nA\t2\tB\t1\n"
ROWS = [(b"%d/1.jpg" % i, b"%d/2.jpg" % i, b"1", b"%d" % i) for i in range(4)]
ROWS += [(b"%d/1.jpg" % i, b"x/%d.jpg" % i, b"0", b"%d" % i) for i in range(4)]
TABLES = [
    b"\n".join([b"first,second,same,fold", *map(b",".join, ROWS)]),
    b"\n".join(b";".join(row[:3]) for row in ROWS),
]

TARGETS: dict[str, Target] = {
    "bins_index": Target(_parse_index, _seed("index.json", _bins)),
    "image_record": Target(
        lambda content, _: record_from_bytes(content, "x"),
        lambda _: [bytes_from_record(ImageRecord("a.jpg", b"\xff\xd8\xff"))],
    ),
    "pickle": Target(
        lambda content, _: read_pickle(content, "x", KINDS),
        lambda _: [PORT, *(pickle.dumps([1, (b"x", "y", None, True, 1.5), {"a": [2]}], protocol=p) for p in range(5))],
    ),
    "dlib_network": Target(lambda content, _: read_dlib_network(content, "x"), lambda _: [dlib_file(seeded, SMALL)]),
    "torch_file": Target(lambda content, _: read_torch_file(content, "x"), lambda _: [_torch_file()]),
    "verification_bin": Target(
        _in_file("v.bin", read_verification_bin), lambda _: [verification_bin([b"a", b"b", b"c", b"d"], [True, False])]
    ),
    "pairs": Target(_in_file("pairs.txt", read_pairs), lambda _: [PAIRS, PAIRS.replace(b"1\t2\n", b"2\n", 1)]),
    "pairs_csv": Target(
        _in_file("pairs.csv", lambda path: read_pairs_csv(path, path.parent)),
        lambda _: TABLES,
    ),
    "labels": Target(_in_file("label.txt", read_labels), lambda _: [b"a/1.jpg\t0\nb/2.jpg\t1\n", b"# x\na.jpg 3\n"]),
    "wider_sizes": Target(_in_file("list.txt", read_sizes), lambda _: [b"# 0--Parade/a.jpg 1024 768\n1 2 3 4\n"]),
    "wider_prediction": Target(
        _in_file("a.txt", lambda path: read_prediction(path, "0--Parade/a")), lambda _: [b"a\n1\n1 2 3 4 0.5\n"]
    ),
    "output_names": Target(
        _parse_names, lambda _: [b"000000_output_0.bin\n000001_output_0.bin", b"000000_0.txt\n000001_0.txt"]
    ),
    "gallery": Target(_in_file("g", read_gallery), _seed("g", _gallery)),
    "gallery_header": Target(_gallery_header, _header),
    "sealed_json": Target(
        _sealed, lambda _: [json.dumps(sealed({"a": [1, 0.5, {"b": "\u00e9"}], "c": None})).encode()]
    ),
    "port_index": Target(_in_file("index.bin", lambda path: read_port_index(path, "m", DIGEST, 4)), lambda _: [PORT]),
    "faces": Target(_in_file("faces.jsonl", lambda path: list(read_faces(path))), lambda _: [_faces()]),
    "embeddings": Target(
        _in_file("e.npy", read_embeddings),
        _seed("e.npy", lambda folder: np.save(folder / "e.npy", np.zeros((2, 3), np.float32))),
    ),
    "photographs": Target(
        _in_file("p.sha256", lambda path: list(read_digests(path))), lambda _: [f"{DIGEST}  a\n-  b\n".encode()]
    ),
    "run_record": Target(_run, lambda _: [_record()]),
    "shard": Target(
        _in_file("a.npz", lambda path: read_arrays(path, {"x": "float32", "t": "<U"})), _seed("a.npz", _arrays)
    ),
    "manifest": Target(
        lambda content, folder: _in_file("manifest.json", lambda path: require_complete(path.parent, "pnet"))(
            _resealed(content), folder
        ),
        lambda _: [b'{"shards": {}}'],
    ),
    "cfp": Target(_parse_cfp, lambda _: [b"\0" + b"1 ../Data/a.jpg\n2 ../Data/b.jpg\n", b"\2" + b"1,2\n2,1\n"]),
    "wider_truth": Target(_parse_wider, lambda _: [_wider_files()["wider_face_val.mat"]]),
    "jpeg": Target(lambda content, _: decode(content, "x"), _pictures(".jpg")),
    "tiff": Target(lambda content, _: decode(content, "x"), _pictures(".tif")),
    "png": Target(lambda content, _: decode(content, "x"), _pictures(".png")),
    "picture": Target(lambda content, _: decode(content, "x"), _pictures(".bmp", ".gif", ".webp", ".pnm")),
}
"""By name; `make fuzz` gives each its turn."""

CORPUS = Path(__file__).resolve().parent / "corpus"


def corpus(name: str) -> list[bytes]:
    """Of the inputs by which fuzzing reached something new, a dozen small ones; and those that found a defect."""
    folder = CORPUS / name
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
