# SPDX-License-Identifier: Apache-2.0
"""Pairs files in LFW's form, right and wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from facepipe.datasets.lfw import Pair, extensions_in, read_pairs
from facepipe.errors import DataError

# Two folds of one pair of each kind.
GOOD = ["2\t1", "Ann\t1\t2", "Ann\t3\tBob\t14", "Cy\t1\t12345", "Cy\t2\tDee\t1"]


def write(tmp_path: Path, lines: list[str], end: str = "\n") -> Path:
    path = tmp_path / "pairs.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def changed(index: int, line: str) -> list[str]:
    return [*GOOD[:index], line, *GOOD[index + 1 :]]


def test_pairs_keep_the_files_order_and_folds(tmp_path: Path) -> None:
    verification = read_pairs(write(tmp_path, GOOD))
    assert verification.name == "pairs"
    assert verification.folds == 2
    assert verification.pairs == (
        Pair("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True, 0),
        Pair("Ann/Ann_0003.jpg", "Bob/Bob_0014.jpg", False, 0),
        Pair("Cy/Cy_0001.jpg", "Cy/Cy_12345.jpg", True, 1),
        Pair("Cy/Cy_0002.jpg", "Dee/Dee_0001.jpg", False, 1),
    )
    assert verification.keys()[0] == "Ann/Ann_0001.jpg"
    assert list(verification.keys()) == sorted(set(verification.keys()))
    assert len(verification.keys()) == 8


def test_one_number_at_the_top_means_one_fold(tmp_path: Path) -> None:
    verification = read_pairs(write(tmp_path, ["2", "A\t1\t2", "A\t1\t3", "A\t1\tB\t1", "A\t1\tC\t1"]))
    assert verification.folds == 1
    assert [(pair.same, pair.fold) for pair in verification.pairs] == [(True, 0), (True, 0), (False, 0), (False, 0)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("extra", [[], [""], ["", "  ", ""]])
def test_line_ends_and_empty_lines_at_the_end_do_not_matter(tmp_path: Path, end: str, extra: list[str]) -> None:
    assert len(read_pairs(write(tmp_path, [*GOOD, *extra], end)).pairs) == 4


def test_a_byte_order_mark_and_spaces_for_tabs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(line.replace("\t", "  ") for line in GOOD).encode())
    assert read_pairs(path).pairs == read_pairs(write(tmp_path, GOOD)).pairs


def test_names_may_hold_spaces_and_any_letters_between_tabs(tmp_path: Path) -> None:
    pair = read_pairs(write(tmp_path, ["1", "José d'A\t1\t2", "José d'A\t1\t顔\t7"])).pairs[1]
    assert (pair.first, pair.second) == ("José d'A/José d'A_0001.jpg", "顔/顔_0007.jpg")


def test_a_pair_that_is_listed_twice_counts_twice_and_is_counted(tmp_path: Path) -> None:
    verification = read_pairs(write(tmp_path, ["2", "A\t1\t2", "A\t2\t1", "A\t1\tB\t1", "A\t1\tC\t1"]))
    assert len(verification.pairs) == 4
    assert verification.repeated() == 1


def test_the_extension_is_the_files_own_and_jpg_where_there_is_none(tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in ("Ann/Ann_0001.png", "Ann/Ann_0002.jpg", "Ann/Ann_0002.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    pairs = read_pairs(write(tmp_path, GOOD), extensions_in(root)).pairs
    assert (pairs[0].first, pairs[0].second) == ("Ann/Ann_0001.png", "Ann/Ann_0002.jpg")
    assert pairs[1].second == "Bob/Bob_0014.jpg"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"pairs\.txt, line 1: '', expected 'folds pairs' \(10 300\) or one number \(500\)"),
        (["Ann\t1\t2"], r"line 1: 'Ann\\t1\\t2', expected 'folds pairs'"),
        (["0\t1"], r"line 1: '0\\t1', expected"),
        (["-1"], r"line 1: '-1', expected"),
        (["²"], r"line 1: '²', expected"),
        (["1" * 30], r"line 1: '1+', expected"),
        (GOOD[:-1], r"3 pairs, expected 4: the first line says 2 fold\(s\) of 1 same and 1 different"),
        ([*GOOD, "Ann\t1\t2"], r"5 pairs, expected 4"),
        (["10\t300", *GOOD[1:]], r"4 pairs, expected 6,000"),
        (changed(1, ""), r"line 2: '' has 0 fields, expected a pair of the same person: 'name i j'"),
        (changed(1, GOOD[2]), r"line 2: 'Ann\\t3\\tBob\\t14' has 4 fields, expected a pair of the same person"),
        (changed(4, GOOD[1]), r"line 5: 'Ann\\t1\\t2' has 3 fields, expected a pair of two persons: 'name i other j'"),
        (changed(2, "Ann\t3\tBob\t14\tx"), r"line 3: 'Ann\\t3\\tBob\\t14\\tx' has 5 fields"),
        (changed(1, "../../etc\t1\t2"), r"line 2: '../../etc' is no name of a person"),
        (changed(1, "a/b\t1\t2"), r"line 2: 'a/b' is no name of a person"),
        (changed(1, "a\\b\t1\t2"), r"line 2: 'a\\\\b' is no name of a person"),
        (changed(1, "..\t1\t2"), r"line 2: '\.\.' is no name of a person"),
        (changed(1, "\t1\t2"), r"line 2: '' is no name of a person"),
        (changed(1, "a\0b\t1\t2"), r"line 2: 'a\\x00b' is no name of a person"),
        (changed(2, "Ann\t3\t..\t14"), r"line 3: '\.\.' is no name of a person"),
        (changed(1, "Ann\t1\ttwo"), r"line 2: 'two' is no number of a photograph"),
        (changed(1, "Ann\t0\t2"), r"line 2: '0' is no number of a photograph"),
        (changed(1, "Ann\t-1\t2"), r"line 2: '-1' is no number of a photograph"),
        (changed(1, "Ann\t1.5\t2"), r"line 2: '1\.5' is no number of a photograph"),
        (changed(2, "Ann\t3\tBob\t١"), r"line 3: '١' is no number of a photograph"),
        (changed(2, "Ann\t3\tAnn\t4"), r"line 3: .* has one person twice, expected two persons"),
        (changed(1, "Ann\t1\t01"), r"line 2: .* has one photograph twice, expected two photographs"),
    ],
)
def test_a_wrong_form_is_an_error_that_shows_the_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pairs(write(tmp_path, lines))


def test_a_file_that_is_absent_or_no_text_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be opened \(No such file or directory\), expected a pairs file"):
        read_pairs(tmp_path / "absent.txt")
    (tmp_path / "binary.txt").write_bytes(b"10\t300\n\xff\xfe")
    with pytest.raises(DataError, match=r"is no UTF-8 text \(byte 7\), expected a pairs file"):
        read_pairs(tmp_path / "binary.txt")


@pytest.mark.parametrize(
    ("name", "pairs", "folds", "keys"),
    [("pairs", 6000, 10, 7701), ("pairsDevTrain", 2200, 1, 3443), ("pairsDevTest", 1000, 1, 1549)],
)
def test_lfws_own_files_are_read(assets: Path, name: str, pairs: int, folds: int, keys: int) -> None:
    verification = read_pairs(assets / "lfw" / f"{name}.txt")
    assert (len(verification.pairs), verification.folds, len(verification.keys())) == (pairs, folds, keys)
    assert sum(pair.same for pair in verification.pairs) == pairs // 2
    assert verification.repeated() == 0
