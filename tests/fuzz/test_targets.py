# SPDX-License-Identifier: Apache-2.0
"""Every parser takes good files and refuses thousands of mutated ones in words; `make fuzz` goes on for longer."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
from targets import CORPUS, TARGETS, Target, corpus, survives

from facepipe.errors import FacepipeError

TRIES = 150
WORDS = (b"\0", b"\xff" * 8, b"-1", b"../", b"9" * 30, b"\n", b'"', b"nan", b"[" * 50)


def mutated(source: random.Random, content: bytes) -> bytes:
    """One of five small changes, or several after each other."""
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 1, 2, 5))):
        at = source.randrange(len(changed) + 1)
        match source.randrange(5):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << source.randrange(8)
            case 1:
                changed[at:at] = source.choice(WORDS)
            case 2:
                del changed[at:]
            case 3:
                del changed[at : at + source.randrange(1, 9)]
            case _:
                changed[at : at + 4] = source.randbytes(4)
    return bytes(changed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_takes_good_files_and_refuses_mutated_ones_in_words(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds = target.seeds(tmp_path)
    assert all(survives(target, seed, tmp_path) for seed in seeds)
    source = random.Random(name)
    refused = sum(not survives(target, mutated(source, source.choice(seeds)), tmp_path) for _ in range(TRIES))
    assert refused > 0, "nothing was refused: the target looks at nothing"


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_found_is_taken_or_refused_in_words(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    target.seeds(tmp_path)
    for content in corpus(name):
        survives(target, content, tmp_path)


def test_every_folder_of_the_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"file"', b'"fil"'),
        (b'"rnet.onnx"', b"3"),
        (b'"sources": {}', b'"sources": {"pairs": {"sha256": "x"}}'),
        (b'"results": {', b'"results": {"x": null, '),
    ],
)
def test_a_record_that_lacks_a_name_is_refused_in_words(good: bytes, bad: bytes, tmp_path: Path) -> None:
    target = TARGETS["run_record"]
    (seed,) = target.seeds(tmp_path)
    content = seed.replace(b"pnet.onnx", b"rnet.onnx").replace(good, bad)
    assert content != seed and not survives(target, content, tmp_path)


def test_a_file_name_that_no_file_can_have_is_one_that_is_gone(tmp_path: Path) -> None:
    target = TARGETS["run_record"]
    (seed,) = target.seeds(tmp_path)
    for name in (b"x" * 5000, b"a\\u0000b"):
        states = target.parse(seed.replace(b"pnet.onnx", name), tmp_path)
        assert [entry.state for entry in states if entry.kind == "model"] == ["gone"]


def test_a_crash_of_a_parser_is_seen(tmp_path: Path) -> None:
    broken = Target(lambda content, _: 1 // (len(content) - 3), lambda _: [b"a"])
    with pytest.raises(ZeroDivisionError):
        survives(broken, b"abc", tmp_path)


@pytest.mark.parametrize("name", ["pickle", "verification_bin", "port_index", "image_record", "embeddings", "shard"])
@pytest.mark.parametrize("protocol", range(5))
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(name: str, protocol: int, tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (open, (str(tmp_path / "it ran"), "w"))

    for value in (Program(), [Program()], {"label": [Program()], "feature": []}, ([b"x", b"y"], [Program()])):
        content = pickle.dumps(value, protocol=protocol)
        if name == "image_record":
            content = b"\x01\0\0\0a" + len(content).to_bytes(4, "little") + content
        with pytest.raises(FacepipeError):
            TARGETS[name].parse(content, tmp_path)
    assert not (tmp_path / "it ran").exists()
