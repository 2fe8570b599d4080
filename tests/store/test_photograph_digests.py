# SPDX-License-Identifier: Apache-2.0
"""photographs.sha256: any name comes back, `sha256sum` reads the same, and a line of another form is named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facepipe.errors import DataError
from facepipe.store.files import sha256_of_file
from facepipe.store.photograph_digests import read_digests, write_digests

A, B = "0a" * 32, "b1" * 32


def test_digests_of_odd_names_are_those_that_sha256sum_reads(tmp_path: Path) -> None:
    names = ["a b.jpg", "back\\slash.jpg", "back\\new.jpg", "line\nbreak.jpg", "-rf.jpg", "ü.jpg"]
    for name in names:
        (tmp_path / name).write_text(name)
    digests = [(name, sha256_of_file(tmp_path / name)) for name in names]
    write_digests(tmp_path / "photographs.sha256", digests)
    assert list(read_digests(tmp_path / "photographs.sha256")) == digests
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", "photographs.sha256"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_lines_are_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "p"
    write_digests(path, [("a  b.jpg", A), ("gone.jpg", ""), ("x\\y\nz\r.jpg", B)])
    assert path.read_bytes() == f"{A}  a  b.jpg\n-  gone.jpg\n\\{B}  x\\\\y\\nz\\r.jpg\n".encode()
    assert list(read_digests(path)) == [("a  b.jpg", A), ("gone.jpg", ""), ("x\\y\nz\r.jpg", B)]


LETTERS = st.one_of(st.sampled_from("\\nr\n\r \t-\u2028\x85"), st.characters(exclude_categories=["Cs"]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(LETTERS, min_size=1, max_size=12), st.sampled_from(["", A, B])), max_size=5))
def test_any_name_comes_back(tmp_path_factory: pytest.TempPathFactory, digests: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.sha256"
    path.unlink(missing_ok=True)
    write_digests(path, digests)
    assert list(read_digests(path)) == digests


@pytest.mark.parametrize(
    "line", ["", A, f"{A} a.jpg", f"{A}  ", f"{A[:-1]}  a.jpg", f"{A.upper()}  a.jpg", "\\", "a.jpg", f" {A}  a.jpg"]
)
def test_a_line_of_another_form_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "p"
    path.write_text(f"{A}  a.jpg\n{line}\n{B}  c.jpg\n")
    with pytest.raises(DataError, match=r"p, line 2: '.*\\n', expected a sha256, two spaces and a key\."):
        list(read_digests(path))


def test_what_is_cut_off_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text(f"{A}  a.jpg")  # without the end of the line, so that nobody knows whether the name is whole
    with pytest.raises(DataError, match="line 1: "):
        list(read_digests(path))
    path.write_bytes(b"\xff\n")
    for there in (path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"cannot be read \(.*expected the photographs of a run"):
            list(read_digests(there))
