# SPDX-License-Identifier: Apache-2.0
"""CFP's photographs are found where a copy of the data set keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cfp_protocol import write_cfp_protocol

from facepipe.datasets.cfp import cfp_protocol, read_cfp_pairs
from facepipe.datasets.lfw import Pair, read_verification_set
from facepipe.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The protocol alone, of eleven people."""
    write_cfp_protocol(tmp_path / "cfp")
    return tmp_path / "cfp"


def lay(root: Path, below: str, people: range) -> None:
    for person in people:
        for kind in ("frontal", "profile"):
            folder = root / "Data/Images" / below / f"{person:03d}" / kind
            folder.mkdir(parents=True)
            (folder / "01.jpg").write_bytes(b"x")


def test_photographs_lie_where_the_lists_say_or_a_folder_deeper(root: Path) -> None:
    lay(root, "", range(1, 4))
    lay(root, "train", range(4, 8))
    lay(root, "test", range(8, 11))
    pairs = read_cfp_pairs(root, "FP").pairs
    assert all((root / key).is_file() for pair in pairs[:-1] for key in (pair.first, pair.second))
    assert pairs[5] == Pair("Data/Images/003/frontal/01.jpg", "Data/Images/train/004/profile/01.jpg", False, 2)
    # Nobody has the eleventh: it stays in the set, as the lists call it.
    assert pairs[-1] == Pair("Data/Images/test/010/frontal/01.jpg", "Data/Images/011/profile/01.jpg", False, 9)


def test_two_photographs_that_may_be_meant_are_named(root: Path) -> None:
    lay(root, "train", range(1, 12))
    lay(root, "test", range(5, 6))
    with pytest.raises(DataError, match=r"Pair_list_F.txt: 'Data/Images/005/frontal/01.jpg' is not there, and "):
        read_cfp_pairs(root, "FF")
    lay(root, "", range(5, 6))  # where the lists say: nothing to choose
    assert read_cfp_pairs(root, "FF").pairs[8].first == "Data/Images/005/frontal/01.jpg"


def test_the_set_names_the_files_of_its_protocol_and_the_place_of_each_pair(root: Path) -> None:
    found = read_verification_set(cfp_protocol(root, "FF"), root)
    names = [path.relative_to(root).as_posix() for path, _ in found.files]
    assert len(names) == 21 and names[0] == "Protocol/Pair_list_F.txt" and names[1] == "Protocol/Split/FF/01/diff.txt"
    assert found.rule == "folds of CFP's protocol"
    assert found.places[3] == f"{root}/Protocol/Split/FF/02/diff.txt, line 1"
    assert len(read_verification_set(cfp_protocol(root, "FP"), root).files) == 22


def test_another_folder_is_no_protocol(root: Path) -> None:
    with pytest.raises(DataError, match=r"expected CFP's root, the one that has Protocol/"):
        cfp_protocol(root.parent, "FF")
    with pytest.raises(DataError, match="is a folder, expected a pairs file, or CFP's Protocol/Split/FF or FP"):
        read_verification_set(root / "Protocol", root)
