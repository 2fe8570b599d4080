# SPDX-License-Identifier: Apache-2.0
"""Sets in insightface's form: written, read, built from LFW's and CFP's pairs, refused when they are something else."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from cfp_protocol import write_cfp_protocol
from PIL import Image

from facepipe.datasets.cfp import read_cfp_pairs
from facepipe.datasets.face_sets import folder_pairs
from facepipe.datasets.lfw import Pair, VerificationSet, read_pairs
from facepipe.datasets.verification_bin import (
    decode_face,
    pack_folder,
    read_verification_bin,
    verification_bin,
)
from facepipe.errors import DataError


def _png(seed: int, size: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def test_a_set_comes_back_as_it_was_written(tmp_path: Path) -> None:
    images, same = [_png(i) for i in range(40)], [i % 2 == 0 for i in range(20)]
    (tmp_path / "mine.bin").write_bytes(verification_bin(images, same))
    packed = read_verification_bin(tmp_path / "mine.bin")
    assert packed.name == "mine"
    assert list(packed.images) == images
    assert packed.same.tolist() == same
    assert pickle.loads((tmp_path / "mine.bin").read_bytes(), encoding="bytes") == (images, same), "as others read it"


@pytest.mark.parametrize("protocol", range(5))
def test_sets_that_others_wrote_are_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([_png(1), _png(2)], [True]), protocol))
    assert read_verification_bin(tmp_path / "lfw.bin").same.tolist() == [True]


def test_a_picture_in_several_pairs_has_one_key_and_the_folds_are_runs_of_pairs() -> None:
    from facepipe.datasets.verification_bin import PackedSet

    images = [_png(place % 7) for place in range(2 * 23)]
    pairs = PackedSet("x", tuple(images), np.arange(23) % 3 == 0).verification_set()
    assert pairs.keys() == tuple(f"{i:06d}" for i in range(7))
    assert [sum(pair.fold == fold for pair in pairs.pairs) for fold in range(10)] == [3, 3, 3, *[2] * 7]
    assert [pair.fold for pair in pairs.pairs] == sorted(pair.fold for pair in pairs.pairs)
    assert pairs.pairs[4].first == "000001"  # place 8 holds the bytes of place 1


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("text", "of kind 'str'"),
        ([b"a", b"b"], "it holds another value"),
        (([b"a", 1], [True]), "its lists hold other values"),
        (([b"a", b"b"], [2]), "its lists hold other values"),
        (([b"a", b"b", b"c"], [True]), "3 pictures for 1 pairs"),
        (([], []), "0 pictures for 0 pairs"),
        (([b"a", b"b"], {0: True}), "of kind 'dict'"),
    ],
)
def test_other_content_is_named(tmp_path: Path, value: object, said: str) -> None:
    (tmp_path / "odd.bin").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=said):
        read_verification_bin(tmp_path / "odd.bin")


def test_a_set_that_would_run_code_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "odd.bin").write_bytes(pickle.dumps(([b"a", _Touch(tmp_path / "made")], [True])))
    with pytest.raises(DataError, match=r"odd.bin: it names '\w+.mkdir'"):
        read_verification_bin(tmp_path / "odd.bin")
    assert not (tmp_path / "made").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"agedb_30.bin: cannot be opened"):
        read_verification_bin(tmp_path / "agedb_30.bin")


def test_faces_of_another_size_are_stretched() -> None:
    assert decode_face(_png(0, 112), "x", 112).shape == (112, 112, 3)
    assert decode_face(_png(0, 96), "x", 112).shape == (112, 112, 3)
    with pytest.raises(DataError, match=r"picture 7 of x.bin: is no picture"):
        decode_face(b"nothing", "picture 7 of x.bin", 112)


def _lfw_like(root: Path) -> Path:
    """Ten folds of one same and one different pair, with pictures."""
    lines = ["10\t1"]
    for fold in range(10):
        lines += [f"P{fold}\t1\t2", f"P{fold}\t1\tQ{fold}\t1"]
        for name, count in ((f"P{fold}", 2), (f"Q{fold}", 1)):
            (root / name).mkdir(parents=True)
            for i in range(count):
                (root / name / f"{name}_{i + 1:04d}.jpg").write_bytes(_png(fold * 10 + i + ord(name[0])))
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root / "pairs.txt"


def test_lfws_pairs_are_packed_byte_for_byte_and_keep_their_folds(tmp_path: Path) -> None:
    pairs = read_pairs(_lfw_like(tmp_path))
    (tmp_path / "lfw.bin").write_bytes(pack_folder(tmp_path, pairs))
    packed = read_verification_bin(tmp_path / "lfw.bin")
    assert packed.images[2] == (tmp_path / "P0/P0_0001.jpg").read_bytes()
    assert packed.images[3] == (tmp_path / "Q0/Q0_0001.jpg").read_bytes()
    back = packed.verification_set()
    assert [(pair.same, pair.fold) for pair in back.pairs] == [(pair.same, pair.fold) for pair in pairs.pairs]


def test_pairs_that_the_form_cannot_hold_are_refused(tmp_path: Path) -> None:
    pairs = read_pairs(_lfw_like(tmp_path))
    turned = VerificationSet("turned", pairs.pairs[::-1], 10)
    with pytest.raises(DataError, match=r"turned: 10 folds of .* in order: a .bin holds no folds"):
        pack_folder(tmp_path, turned)
    lost = VerificationSet("lost", (Pair("No/No_0001.jpg", "P0/P0_0001.jpg", False, 0), *pairs.pairs[1:]), 10)
    with pytest.raises(DataError, match=r"No_0001.jpg: cannot be opened"):
        pack_folder(tmp_path, lost)


def test_cfps_root_without_a_protocol_is_told_from_a_folder_without_pairs(tmp_path: Path) -> None:
    write_cfp_protocol(tmp_path, "\r\n")
    with pytest.raises(DataError, match=r"it looks like CFP's root.*--cfp FP"):
        folder_pairs(tmp_path, None, None)


def test_cfps_pairs_are_frontal_against_profile_or_frontal_against_frontal(tmp_path: Path) -> None:
    write_cfp_protocol(tmp_path, "\r\n")
    crossed = read_cfp_pairs(tmp_path, "FP")
    assert crossed.name == "cfp_fp"
    assert len(crossed.pairs) == 20
    assert crossed.pairs[5] == Pair("Data/Images/003/frontal/01.jpg", "Data/Images/004/profile/01.jpg", False, 2)
    frontal = read_cfp_pairs(tmp_path, "FF")
    assert frontal.pairs[5] == Pair("Data/Images/003/frontal/01.jpg", "Data/Images/004/frontal/01.jpg", False, 2)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("Split/FP/04/diff.txt", "1;2\n", r"diff.txt, line 1: '1;2', expected 'i,j'"),
        ("Split/FP/04/diff.txt", "1,99\n", r"diff.txt, line 1: '1,99'"),
        ("Split/FP/04/diff.txt", "", "diff.txt: it is empty"),
        ("Pair_list_P.txt", "1 ../../etc/passwd\n", r"Pair_list_P.txt, line 1: .* below the data set's root"),
        ("Pair_list_P.txt", "nothing\n", "expected 'number path'"),
    ],
)
def test_a_protocol_of_another_form_is_shown(tmp_path: Path, file: str, text: str, said: str) -> None:
    write_cfp_protocol(tmp_path, "\r\n")
    (tmp_path / "Protocol" / file).write_text(text)
    with pytest.raises(DataError, match=said):
        read_cfp_pairs(tmp_path, "FP")


def test_a_missing_protocol_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Pair_list_F.txt: cannot be read"):
        read_cfp_pairs(tmp_path, "FP")
