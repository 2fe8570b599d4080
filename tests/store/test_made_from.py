# SPDX-License-Identifier: Apache-2.0
"""The record beside a file: round trip, whether the file is current, and every byte of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from facepipe.errors import StageError
from facepipe.store.files import read_json, sha256_of_file, sidecar_of, write_json
from facepipe.store.made_from import MadeFrom, is_current, read_record, verified_record, weights_behind, write_record
from facepipe.store.model_content import read_model
from facepipe.store.provenance import model_provenance

MADE = MadeFrom({"weights": "ab", "onnx": "cd"}, {"bits": 7, "operators": ("Conv", "Relu")}, {"numpy": "2.4"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pnet.om"
    path.write_bytes(b"compiled")
    write_record(path, "pnet", MADE, {"soc": "Ascend310"}, again="make om")
    return path


def test_what_is_written_is_read(file: Path) -> None:
    record = read_record(file)
    assert record is not None and record == verified_record(file, sha256_of_file(file)) == read_model(file).record
    assert (record.model, record.sha256, record.again) == ("pnet", sha256_of_file(file), "make om")
    assert record.made_from == replace(MADE, settings={"bits": 7, "operators": ["Conv", "Relu"]})
    assert record.facts == {"soc": "Ascend310"}
    assert weights_behind(file) == {"weights": "ab"}


def test_a_file_without_a_record_is_known_by_its_digest_alone(tmp_path: Path) -> None:
    alone = tmp_path / "x.onnx"
    alone.write_bytes(b"x")
    assert read_record(alone) is None and weights_behind(alone) == {} and not is_current(alone, MADE)
    told = model_provenance("x", read_model(alone), "native")
    assert (told.weights_sha256, told.sha256) == (None, sha256_of_file(alone))


def test_a_file_is_current_for_the_same_inputs_and_settings_of_any_version(file: Path) -> None:
    assert is_current(file, MADE)
    assert is_current(file, replace(MADE, versions={"numpy": "3.0"}))
    assert is_current(file, replace(MADE, inputs={"onnx": "cd"})), "an input that is not asked for is not compared"
    assert not is_current(file, replace(MADE, inputs={"onnx": "ce"}))
    assert not is_current(file, replace(MADE, inputs={"onnx": "cd", "plan": "ef"}))
    assert not is_current(file, replace(MADE, settings={"bits": 7}))
    assert not is_current(file, replace(MADE, settings={**MADE.settings, "bits": 8}))
    file.write_bytes(b"compilec")
    assert not is_current(file, MADE)
    file.unlink()
    assert not is_current(file, MADE)


def test_a_record_of_another_file_is_refused_with_the_command_that_mends_it(file: Path) -> None:
    assert model_provenance("pnet", read_model(file), "pyacl").weights_sha256 == "ab"
    was = sha256_of_file(file)
    file.write_bytes(b"another")
    with pytest.raises(StageError) as refused:
        read_model(file)
    digests = f"sha256 is {sha256_of_file(file)[:12]}..., its record says {was[:12]}...."
    assert str(refused.value) == f"{file}: {digests} Try: `make om`"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"format": 1}', b"\xff\xfe"])
def test_what_is_no_record_is_refused_by_name_and_vouches_for_nothing(file: Path, content: bytes) -> None:
    sidecar_of(file).write_bytes(content)
    with pytest.raises(StageError, match=r"pnet\.om\.json: "):
        read_record(file)
    assert not is_current(file, MADE)


def test_a_record_whose_digest_was_made_to_fit_a_form_that_it_lacks_is_refused(file: Path) -> None:
    body = read_json(sidecar_of(file))
    for name, other in (("model", None), ("sha256", 1), ("inputs", []), ("settings", "x"), ("facts", None)):
        write_json(sidecar_of(file), {**body, name: other}, overwrite=True)
        with pytest.raises(StageError, match=rf"pnet\.om\.json: lacks '{name}'"):
            read_record(file)
    write_json(sidecar_of(file), {**body, "format": "facepipe.made_from.1"}, overwrite=True)
    with pytest.raises(StageError, match=r"format is 'facepipe\.made_from\.1', expected 'facepipe\.made_from\.2'"):
        read_record(file)


def test_a_key_that_stands_there_twice_is_refused(file: Path) -> None:
    """The last one counted, and the digest was of what was left."""
    beside = sidecar_of(file)
    beside.write_text(beside.read_text().replace("{\n", '{\n  "model": "rnet",\n', 1))
    with pytest.raises(StageError, match="the key 'model' stands there twice"):
        read_record(file)


def test_every_flip_of_a_bit_is_refused_or_changes_nothing(file: Path) -> None:
    beside, whole = sidecar_of(file), read_record(file)
    content, refused = beside.read_bytes(), 0
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            beside.write_bytes(bytes(flipped))
            try:
                assert read_record(file) == whole, f"byte {place}"
            except StageError:
                refused += 1
    assert refused > 7 * len(content)


def test_every_flip_of_a_bit_of_the_file_is_found_before_it_is_used(file: Path) -> None:
    content = file.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            file.write_bytes(bytes(flipped))
            with pytest.raises(StageError, match="its record says"):
                read_model(file)
            assert not is_current(file, MADE)


def test_a_private_copy_has_the_name_and_the_bytes_that_were_read(file: Path) -> None:
    read = read_model(file)
    file.write_bytes(b"exchanged")
    with read.copied() as copy:
        assert (copy.name, copy.read_bytes()) == (file.name, b"compiled") and copy.parent != file.parent
    assert not copy.parent.exists()


def test_another_file_than_was_stated_is_refused_in_one_line(file: Path) -> None:
    found = sha256_of_file(file)
    assert read_model(file, found).content == b"compiled"
    with pytest.raises(StageError) as refused:
        read_model(file, "ef" * 32)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"{file}: sha256 is {found[:12]}..., expected {'ef' * 6}...")
