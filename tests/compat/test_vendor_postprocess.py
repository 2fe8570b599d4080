# SPDX-License-Identifier: Apache-2.0
"""The vendor's second half: rows joined by key, and every way in which they could be joined wrongly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.cli import main
from facepipe.compat.vendor_postprocess import score_rows, split_batches
from facepipe.errors import StageError
from facepipe.store.bins import BinTensor, batches_of, write_bins
from facepipe.store.files import read_json, write_json

PEOPLE, PHOTOGRAPHS, FOLDS = 6, 2, 2
ALL = [f"P{person}/P{person}_{number:04d}.jpg" for person in range(PEOPLE) for number in (1, 2)]
NO_FACE = "P1/P1_0001.jpg"
KEYS = [key for key in ALL if key != NO_FACE]


def embedding(key: str) -> np.ndarray:
    """Two photographs of a person lie close together, two persons far apart."""
    person = np.random.default_rng(int(key[1])).normal(size=512)
    return (person + 0.01 * np.random.default_rng(ALL.index(key)).normal(size=512)).astype(np.float32)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as it is after the runner: crops, onet.json, the packed index, outputs of batch 4."""
    monkeypatch.chdir(tmp_path)
    for key in KEYS:
        path = Path("data/crops") / key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
    Path("data/output/split").mkdir(parents=True)
    Path("data/output/split/onet.json").write_text(json.dumps([f"./data/crops/{key}" for key in ALL]))
    lines = [f"{FOLDS}\t3"]
    for fold in range(FOLDS):
        people = range(3 * fold, 3 * fold + 3)
        lines += [f"P{person}\t1\t2" for person in people]
        lines += [f"P{person}\t1\tP{(person + 2) % PEOPLE}\t2" for person in people]
    Path("data/pairs.txt").write_text("\n".join(lines) + "\n")

    def load(keys: Sequence[str]) -> np.ndarray:
        return np.zeros((len(keys), 1), np.float32)

    packed = Path("data/input/Facenet_4")
    tensor = BinTensor("image", "float32", "NCHW", (4, 1))
    write_bins(packed, batches_of(KEYS, 4), load, tensor, {}, bins="xb_results", digits=1)
    Path("data/output/Facenet_4").mkdir()
    for number, keys in enumerate(batches_of(KEYS, 4)):
        rows = np.zeros((4, 512), np.float32)
        rows[: len(keys)] = [embedding(key) for key in keys]
        Path(f"data/output/Facenet_4/{number}_output_0.bin").write_bytes(rows.tobytes())
    return tmp_path


def split() -> int:
    return split_batches(Path("data/input/Facenet_4"), Path("data/output/Facenet_4"), Path("data/output/rows"), 4)


def score(rows: str = "data/output/rows", crops: str = "data/crops"):  # type: ignore[no-untyped-def]
    return score_rows(Path("data/pairs.txt"), Path(crops), Path(rows), Path("data/output/split/onet.json"))


def test_padding_is_dropped_by_the_index(work: Path) -> None:
    assert split() == len(KEYS) == 11
    rows = [np.fromfile(f"data/output/rows/{number}_output_0.bin", np.float32) for number in range(11)]
    assert np.array_equal(rows, [embedding(key) for key in KEYS])
    assert len(list(Path("data/output/rows").iterdir())) == 11, "nothing but the vendor's files lies there"
    split()
    assert len(list(Path("data/output").iterdir())) == 5, "a second run leaves nothing behind"


def test_only_what_an_earlier_call_left_is_replaced(work: Path) -> None:
    split()
    rows = Path("data/output/rows")
    whole = {path.name: path.read_bytes() for path in rows.iterdir()}
    for name, said in (("thesis.txt", "holds other files"), ("11_output_0.bin", "holds other files")):
        (rows / name).write_bytes(b"mine")
        with pytest.raises(StageError, match=rf"{said} than embeddings \(first: {name}\)"):
            split()
        assert {path.name: path.read_bytes() for path in rows.iterdir()} == whole | {name: b"mine"}
        (rows / name).unlink()
    (rows / "3_output_0.bin").write_bytes(bytes(4 * 512))
    with pytest.raises(StageError, match=r"its files are not those of rows\.index\.json"):
        split()
    assert (rows / "3_output_0.bin").read_bytes() == bytes(4 * 512)
    (rows / "3_output_0.bin").write_bytes(whole["3_output_0.bin"])
    split()
    Path("data/output/rows.index.json").unlink()
    with pytest.raises(StageError, match=r"holds other files than embeddings \(first: 0_output_0\.bin\)"):
        split()
    assert {path.name: path.read_bytes() for path in rows.iterdir()} == whole


def test_a_photograph_without_a_face_shifts_nothing(work: Path) -> None:
    split()
    found = score()
    assert found.by_index and (found.pairs, found.missing) == (12, 2)
    # The two pairs with P1_0001: the same person, called different (wrong); two persons, called different (right).
    assert found.accuracy.per_fold.tolist() == [5 / 6, 1.0]


def test_rows_are_joined_by_key_whatever_their_order(work: Path) -> None:
    split()
    order = np.random.default_rng(0).permutation(11)
    rows = [Path(f"data/output/rows/{number}_output_0.bin").read_bytes() for number in order]
    for number, content in enumerate(rows):
        Path(f"data/output/rows/{number}_output_0.bin").write_bytes(content)
    index = Path("data/output/rows.index.json")
    write_json(index, read_json(index) | {"keys": [KEYS[number] for number in order]})
    assert score().accuracy.per_fold.tolist() == [5 / 6, 1.0]


def test_rows_of_the_vendors_own_script_are_joined_to_the_crops_that_exist(work: Path) -> None:
    split()
    Path("data/output/rows.index.json").unlink()
    found = score()
    assert not found.by_index and found.accuracy.per_fold.tolist() == [5 / 6, 1.0]
    for number in range(11):
        Path(f"data/output/rows/{number}_output_0.bin").rename(f"data/output/rows/{number}_1.bin")
    assert score().accuracy.per_fold.tolist() == [5 / 6, 1.0]
    Path("data/crops", KEYS[3]).unlink()
    with pytest.raises(StageError, match=r"11 embeddings, and 10 of the 12 crops in onet\.json exist"):
        score()


def test_absolute_and_relative_crop_paths_name_the_same_crops(work: Path) -> None:
    split()
    Path("data/output/split/onet.json").write_text(json.dumps([f"{work}/data/../data/crops/{key}" for key in ALL]))
    assert score().missing == 2
    assert score(crops=str(work / "data/crops/")).missing == 2
    Path("data/output/split/onet.json").write_text(json.dumps(["./data/other/a.jpg"]))
    with pytest.raises(StageError, match=r"'\./data/other/a\.jpg' does not lie in data/crops"):
        score()
    Path("data/output/split/onet.json").write_text(json.dumps({"0": []}))
    with pytest.raises(StageError, match="is no list of crop paths"):
        score()


def test_a_list_without_a_photograph_of_the_pairs_is_refused(work: Path) -> None:
    split()
    listed = [f"./data/crops/{key}" for key in ALL if key not in (NO_FACE, "P2/P2_0001.jpg")]
    Path("data/output/split/onet.json").write_text(json.dumps(listed))
    with pytest.raises(StageError, match=r"'P2/P2_0001\.jpg' is not in onet\.json"):
        score()
    Path("data/output/rows.index.json").unlink()
    Path("data/crops/P2/P2_0001.jpg").unlink()
    Path("data/output/rows/10_output_0.bin").unlink()
    with pytest.raises(StageError, match=r"lacks 2 photographs that .*pairs\.txt names \(first: P1/P1_0001\.jpg\)"):
        score()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("11_output_0.bin", b"\0" * 2048, r"rows\.index\.json: does not fit the 12 files"),
        ("12_output_0.bin", b"\0" * 2048, "no file for image 11"),
        ("3_1.bin", b"\0" * 2048, r"there is also 3_1\.bin"),
        ("3_output_0.bin", b"\0" * 4096, r"4096 bytes, expected 2048 \(float32 \[512\]\)"),
        ("notes.txt", b"", "expected nothing else here"),
    ],
)
def test_rows_that_do_not_fit_are_refused(work: Path, name: str, content: bytes, message: str) -> None:
    split()
    Path("data/output/rows", name).write_bytes(content)
    with pytest.raises(StageError, match=message):
        score()


def test_splitting_refuses_another_batch_another_index_and_a_folder_of_other_files(work: Path) -> None:
    packed, outputs, rows = Path("data/input/Facenet_4"), Path("data/output/Facenet_4"), Path("data/output/rows")
    with pytest.raises(StageError, match="packed with batch 4, and --batch_size says 16"):
        split_batches(packed, outputs, rows, 16)
    with pytest.raises(StageError, match=r"data/input/Facenet_1 is not complete \(no index\.json\)"):
        split_batches(Path("data/input/Facenet_1"), outputs, rows, 1)
    Path("data/output/Facenet_4/1_output_0.bin").write_bytes(b"\0" * 4 * 4 * 511)
    with pytest.raises(StageError, match=r"1_output_0\.bin: 8176 bytes of float32, expected 8192 \(4 x 512\)"):
        split()
    assert not rows.exists()
    Path("data/output/Facenet_4/1_output_0.bin").write_bytes(b"\0" * 4 * 4 * 512)
    with pytest.raises(StageError, match="holds other files than embeddings"):
        split_batches(packed, outputs, Path("data/crops"), 4)


def test_the_commands_print_the_vendors_two_lines_and_what_is_missing(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = ["--data_root_path", "data/output/Facenet_4", "--save_root_path", "data/output/rows"]
    assert main(["vendor", "batch-utils", "--batch_size", "4", *roots]) == 0
    capsys.readouterr()
    where = ["--crop_dir", "data/crops", "--test_dir", "data/output/rows"]
    command = ["vendor", "facenet-postprocess", *where, "--ONet_output_dir", "data/output/split/onet.json"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "accuracy: [0.83333333 1.        ]"
    assert printed.out.splitlines()[1].startswith("mean accuracy: 0.9166")
    assert printed.err.strip() == "2 of 12 pairs lack an embedding and are called different"
    assert main([*command, "--pair_path", "absent.txt"]) == 1
    assert "absent.txt: cannot be opened" in capsys.readouterr().err
