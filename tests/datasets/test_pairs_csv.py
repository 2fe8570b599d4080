# SPDX-License-Identifier: Apache-2.0
"""Tables of pairs: every way of writing one that people have, and what is refused, with its line."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from facepipe.datasets import pairs_csv
from facepipe.datasets.lfw import Pair, read_verification_set
from facepipe.datasets.pairs_csv import read_pairs_csv
from facepipe.errors import DataError

# Two folds of one pair of each kind.
GOOD = ["ann/1.jpg,ann/2.jpg,1,1", "ann/1.jpg,bob/1.jpg,0,1", "cy/1.jpg,cy/2.jpg,1,2", "cy/1.jpg,dee/1.jpg,0,2"]
READ = (
    Pair("ann/1.jpg", "ann/2.jpg", True, 0),
    Pair("ann/1.jpg", "bob/1.jpg", False, 0),
    Pair("cy/1.jpg", "cy/2.jpg", True, 1),
    Pair("cy/1.jpg", "dee/1.jpg", False, 1),
)


def read(tmp_path: Path, content: str | bytes | list[str], name: str = "pairs.csv") -> tuple[Pair, ...]:
    path = tmp_path / name
    text = "\n".join(content) + "\n" if isinstance(content, list) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pairs_csv(path, tmp_path).pairs


def refused(tmp_path: Path, content: str | bytes | list[str], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "pairs.csv") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        "first,second,same,fold",
        "First, Second ,SAME,Fold",
        "path1,path2,label,fold",
        "a,b,c,fold",
        "img1,img2,same,fold",
    ],
)
def test_a_header_may_stand_above_or_not(tmp_path: Path, header: str) -> None:
    assert read(tmp_path, GOOD) == READ
    assert read(tmp_path, [header, *GOOD]) == READ


def test_columns_are_found_by_name_and_others_are_passed_over(tmp_path: Path) -> None:
    lines = [
        "note,fold,same,second,first",
        *(f"x,{f},{s},{b},{a}" for a, b, s, f in (line.split(",") for line in GOOD)),
    ]
    assert read(tmp_path, lines) == READ


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("true", "false"), ("True", "FALSE"), ("same", "different"), ("yes", "no"), (" 1 ", " 0")],
)
def test_the_truth_is_written_in_several_ways(tmp_path: Path, yes: str, no: str) -> None:
    lines = [line.replace(",1,", f",{yes},", 1).replace(",0,", f",{no},", 1) for line in GOOD]
    assert read(tmp_path, lines) == READ
    assert read(tmp_path, ["first,second,same,fold", *lines]) == READ


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_fields_may_be_parted_otherwise(tmp_path: Path, delimiter: str) -> None:
    assert read(tmp_path, [line.replace(",", delimiter) for line in GOOD]) == READ


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    """A byte order mark, line ends of Windows, quotes, and a comma and a quote in a path; empty lines at the end."""
    odd = 'Smith, "Jo"/1.jpg'
    path = tmp_path / "sheet.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        sheet = csv.writer(file, quoting=csv.QUOTE_ALL)
        sheet.writerow(["first", "second", "same", "fold"])
        sheet.writerows([[odd, 'Smith, "Jo"/2.jpg', "TRUE", 1], [odd, "Zoë/1 é.jpg", "FALSE", 1]])
        sheet.writerows([["a/1.jpg", "a/2.jpg", "TRUE", 2], ["a/1.jpg", odd, "FALSE", 2]])
        file.write("\r\n , \r\n")
    pairs = read_pairs_csv(path, tmp_path).pairs
    assert pairs[0] == Pair(odd, 'Smith, "Jo"/2.jpg', True, 0) and pairs[1].second == "Zoë/1 é.jpg"
    assert len(pairs) == 4


def test_paths_lie_below_the_folder_however_they_are_written(tmp_path: Path) -> None:
    root = tmp_path / "album"
    root.mkdir()
    (tmp_path / "link").symlink_to(root)
    lines = [*GOOD[1:], f"{root}/ann/1.jpg,./ann//2.jpg,1,1"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    assert read_pairs_csv(tmp_path / "pairs.csv", root).pairs[-1] == READ[0]
    assert read_pairs_csv(tmp_path / "pairs.csv", tmp_path / "link").pairs[-1] == READ[0]


@pytest.mark.parametrize("path", ["../x.jpg", "a/../../x.jpg", "/etc/passwd.jpg", "..", ".", "a/.."])
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    refused(
        tmp_path,
        [*GOOD, f"ann/1.jpg,{path},1,1"],
        r"line 5: .* does not lie below .*Try: the folder that holds them all",
    )


def test_folds_are_numbers_or_words_in_their_order(tmp_path: Path) -> None:
    numbers = [line[:-1] + {"1": "10", "2": "9"}[line[-1]] for line in GOOD]
    assert [pair.fold for pair in read(tmp_path, numbers)] == [1, 1, 0, 0]
    words = [line[:-1] + {"1": "train", "2": "test"}[line[-1]] for line in GOOD]
    assert [pair.fold for pair in read(tmp_path, words)] == [1, 1, 0, 0]


def test_without_folds_they_are_dealt_and_that_is_said(tmp_path: Path) -> None:
    lines = [f"p{i}/1.jpg,p{i}/2.jpg,1" for i in range(40)]
    lines += [f"p{i}/1.jpg,p{i + 1}/2.jpg,0" for i in range(0, 40, 2)]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    found = read_pairs_csv(path, tmp_path)
    assert found.folds == 10 and found.rule.startswith("folds dealt with seed 0, no person in two of them")
    assert found.name == "pairs" and found.places[:2] == ("line 1", "line 2")
    assert found.files == ((path, hashlib.sha256(path.read_bytes()).hexdigest()),)
    # A header with a fourth column of another name is no fold.
    path.write_text("\n".join(["a,b,same,camera", *(f"{line},x" for line in lines)]))
    assert read_pairs_csv(path, tmp_path).pairs == found.pairs


def test_a_pair_that_is_listed_again_counts_again_and_may_not_contradict_itself(tmp_path: Path) -> None:
    again = read(tmp_path, [*GOOD, "ann/2.jpg,./ann/1.jpg,same,1"])
    assert again == (*READ, Pair("ann/2.jpg", "ann/1.jpg", True, 0))
    refused(
        tmp_path,
        ["a,b,same,fold", *GOOD, "ann/2.jpg,ann/1.jpg,0,1"],
        "line 6: the pair of line 2 again, with another truth",
    )
    refused(tmp_path, [*GOOD, "ann/2.jpg,ann/1.jpg,1,2"], "line 5: the pair of line 1 again, with another fold")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ann/1.jpg,ann/3.jpg,ture,1", "line 5: 'ture' is no truth, expected 1, true, yes or same"),
        ("ann/1.jpg,ann/3.jpg,,1", "line 5: '' is no truth"),
        ("ann/1.jpg,ann/3.jpg,2,1", "line 5: '2' is no truth"),
        ("ann/1.jpg,ann/3.jpg,1", "line 5: .* has 3 fields, expected 4"),
        ("ann/1.jpg,ann/3.jpg,1,1,1", "line 5: .* has 5 fields, expected 4"),
        ("ann/1.jpg,./ann/1.jpg,1,1", "line 5: 'ann/1.jpg' is there twice"),
        (",ann/3.jpg,1,1", "line 5: '' is no path"),
        ("ann/1.jpg,ann/3.jpg,1,", "line 5: '' is no fold"),
        (f"ann/1.jpg,ann/3.jpg,1,{'9' * 41}", "line 5: '9+' is no fold"),
        (f"ann/1.jpg,{'x' * 4097}.jpg,1,1", "line 5: 'x+' is no path"),
        (f"ann/1.jpg,{'x' * 200_000}.jpg,1,1", "line 5: field larger than field limit"),
        ("ann/1.jpg,ann/3\x07.jpg,1,1", "line 5: .* is no path"),
        ('ann/1.jpg,"ann/3.jpg,1,1', "line 5: unexpected end of data"),
        ('ann/1.jpg,"ann"/3.jpg,1,1', "line 5: .*expected after"),
        ("ann/1.jpg,ann/3.jpg,1,3", "fold '3' has no pair of two people"),
    ],
)
def test_a_line_of_another_form_is_told_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    refused(tmp_path, [*GOOD, line], said)


def test_a_typing_error_in_the_first_line_does_not_make_a_header_of_it(tmp_path: Path) -> None:
    refused(tmp_path, ["ann/1.jpg,ann/2.jpg,ture,1", *GOOD[1:]], "line 1: 'ture' is no truth")


def test_a_quoted_field_over_two_lines_does_not_move_the_numbers(tmp_path: Path) -> None:
    refused(
        tmp_path,
        ['first,second,same,fold,"a\nnote"', *(f"{line},x" for line in GOOD), "a.jpg,b.jpg,?,1,x"],
        "line 7: '\\?'",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"first,second,same\n", "0 pairs of one person and 0 of two"),
        (b"ann/1.jpg ann/2.jpg 1\n", "line 1: .* has 1 fields, expected at least 3"),
        (b"\xff\xfea\x00,\x00", r"is no UTF-8 text \(byte 0\)"),
        ("\n".join(GOOD[:2]).encode(), "1 folds, expected 2 to 100"),
        (
            b"a/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n",
            "pairs.csv: folds: 1 pairs of one person and 1 of two cannot be dealt",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    refused(tmp_path, content, said)


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_csv, "MOST_PAIRS", 4)
    assert read(tmp_path, GOOD) == READ
    refused(tmp_path, [*GOOD, "ann/1.jpg,ann/3.jpg,1,1"], "line 5: more than 4 pairs")
    monkeypatch.setattr(pairs_csv, "MOST_BYTES", 20)
    refused(tmp_path, GOOD, "more than 20 bytes")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.csv: no such file, expected a table"):
        read_pairs_csv(tmp_path / "pairs.csv", tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv: is a folder, expected a pairs file, or CFP's"):
        read_verification_set(tmp_path / "folder.csv", tmp_path)


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.CSV", "pairs.tsv"])
def test_a_table_is_told_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n".join(GOOD))
    assert read_verification_set(tmp_path / name, tmp_path).pairs == READ
