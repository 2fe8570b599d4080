# SPDX-License-Identifier: Apache-2.0
"""`facepipe train-data` as its user runs it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.cli import main
from facepipe.train.data import open_set


@pytest.fixture
def people(tmp_path: Path) -> Path:
    for name, count in {"Ann": 2, "Bob": 1}.items():
        (tmp_path / "people" / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.fromarray(np.full((112, 112, 3), 60 * number + len(name), np.uint8))
            picture.save(tmp_path / "people" / name / f"{number}.png")
    return tmp_path / "people"


def test_list_tells_of_a_set_and_of_people_with_one_photograph(people: Path, capsys) -> None:
    assert main(["train-data", "list", str(people), "--json"]) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert (record["faces"], record["people"], record["side"]) == (3, 2, 112)
    assert len(record["notes"]) == 1 and record["notes"][0] in told.err


def test_pack_names_what_it_leaves_out(people: Path, tmp_path: Path, capsys) -> None:
    content = io.BytesIO()
    Image.fromarray(np.zeros((112, 112, 3), np.uint8)).save(content, "JPEG")
    (people / "Ann" / "2.jpg").write_bytes(content.getvalue()[:-100])
    out = tmp_path / "people.faces"
    assert main(["train-data", "pack", str(people), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{out}: 3 faces of 2 people, 1 damaged left out\n"
    assert f"{people}: Ann/2.jpg: left out, " in told.err
    assert len(open_set(out)) == 3
    assert main(["train-data", "list", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 3 faces of 2 people, 112x112\n"


def test_pack_writes_over_nothing_of_its_users(people: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "people.faces"
    out.write_bytes(b"mine")
    assert main(["train-data", "pack", str(people), "--out", str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err and out.read_bytes() == b"mine"
    assert main(["train-data", "pack", str(people), "--out", str(out), "--overwrite"]) == 0


def test_a_set_that_is_none_is_told_in_one_line(tmp_path: Path, capsys) -> None:
    assert main(["train-data", "list", str(tmp_path / "nothing")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
