# SPDX-License-Identifier: Apache-2.0
"""Plain values come back as the standard library wrote them; anything that could act is refused."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facepipe.datasets import restricted_pickle
from facepipe.datasets.restricted_pickle import read_pickle
from facepipe.errors import DataError

plain = st.recursive(
    st.booleans() | st.integers(-(2**70), 2**70) | st.binary(max_size=300),
    lambda part: st.lists(part, max_size=6),
    max_leaves=20,
)


@settings(max_examples=150)
@given(plain, st.integers(0, 5))
def test_what_pickle_writes_is_read_back_at_every_protocol(value: object, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol), "x.bin", ("list", "bool", "int", "bytes")) == value


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_noise_is_an_error_of_ours_and_nothing_else(content: bytes) -> None:
    try:
        read_pickle(content, "noise.bin")
    except DataError as error:
        assert "noise.bin" in str(error)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_pickle_is_an_error_of_ours_or_a_plain_value(data: st.DataObject) -> None:
    whole = bytearray(pickle.dumps(([b"one", b"two" * 90], [True, False]), data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_pickle(bytes(whole), "damaged.bin", ("tuple", "list", "bool", "int", "bytes"))
    except DataError as error:
        assert "damaged.bin" in str(error)


class _Touch:
    """Pickles as a call of os.mkdir."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_code_is_refused_before_anything_happens(tmp_path: Path, protocol: int) -> None:
    evil = pickle.dumps([[b"face"], _Touch(tmp_path / "made")], protocol)
    with pytest.raises(DataError, match=r"gift.bin: it names '(posix|nt|os).mkdir', expected a pickle of list"):
        read_pickle(evil, "gift.bin", ("list", "tuple", "bool", "int", "bytes", "array"))
    assert not (tmp_path / "made").exists()
    pickle.loads(evil)
    assert (tmp_path / "made").exists(), "the same bytes do act when pickle reads them, so the refusal was needed"


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it names 'os.system'"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "it names 'builtins.eval'"),
        (b"(S'true'\nios\nsystem\n.", "opcode 0x69"),  # INST
        (b"(cos\nsystem\nS'true'\no.", "it names 'os.system'"),  # OBJ
        (b"Ppersistent\n.", "opcode 0x50"),
        (b"\x80\x02\x82\x01.", "opcode 0x82"),  # EXT1
        (b"\x80\x02]\x81.", "opcode 0x81"),  # NEWOBJ
        (b"\x80\x05\x97.", "opcode 0x97"),  # NEXT_BUFFER
        (b"B\xff\xff\xff\x7fabc.", "it is cut short"),
        (b"\x8e" + struct.pack("<Q", 2**62) + b"abc.", "it is cut short"),
        # A number that makes the C unpickler ask for 64 GB.
        (b"]r\xff\xff\xff\xff.", "notes a value as number 4294967295, and only 0 before it"),
        (b"]h\x05a.", "wants value number 5, which it has not noted"),
        (b"", "it is cut short at byte 0"),
        (b"]]].", "2 values left over"),
        (b"I" + b"9" * 5000 + b"\n.", "an integer of 5000 digits"),
        (b"}.", "it holds a value of kind 'dict'"),
        (b"(I1\nI2\nd0].", "it holds a value of kind 'dict'"),
        (b"F" + b"1" * 50 + b"\n.", "a floating-point number of 50 digits"),
        (b"].]", None),  # what follows the end is not read
    ],
)
def test_opcodes_that_make_no_plain_value_are_refused(stream: bytes, said: str | None) -> None:
    if said is None:
        assert read_pickle(stream, "x.bin") == []
        return
    with pytest.raises(DataError, match=said):
        read_pickle(stream, "x.bin")


def test_a_list_that_holds_itself_ends() -> None:
    value = read_pickle(b"]q\x00h\x00a.", "loop.bin")
    assert value[0] is value


def test_a_thousand_levels_of_shared_lists_take_no_time_and_no_stack() -> None:
    stream = b"]q\x00" + b"".join(b"(h\x00h\x00lq\x00" for _ in range(5000)) + b"."
    with pytest.raises(DataError, match="left over"):
        read_pickle(stream, "laughs.bin")
    nested = b"]" + b"q\x000" + b"".join(b"(h\x00h\x00lq\x000" for _ in range(5000)) + b"h\x00."
    assert isinstance(read_pickle(nested, "laughs.bin"), list)


def test_python_2_strings_come_back_as_bytes() -> None:
    assert read_pickle(b"(lp0\nS'\\xff\\xd8it\\'s'\np1\naI01\na.", "py2.bin") == [b"\xff\xd8it's", True]
    assert read_pickle(b"\x80\x02](U\x03\xff\xd8\x00T\x02\x00\x00\x00hie.", "py2.bin") == [b"\xff\xd8\x00", b"hi"]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", ">f4"])
def test_arrays_are_read_where_they_are_admitted(protocol: int, dtype: str) -> None:
    one = np.arange(6).reshape(2, 3).astype(dtype)
    content = pickle.dumps({"label": ["Ross", "瑞秋"], "feature": [one, one.T, one]}, protocol)
    value = read_pickle(content, "index.bin", ("dict", "list", "str", "array"))
    assert value["label"] == ["Ross", "瑞秋"]
    for read, written in zip(value["feature"], [one, one.T, one], strict=True):
        assert read.dtype == written.dtype
        np.testing.assert_array_equal(read, written)
    with pytest.raises(DataError, match=r"it names 'numpy.+_reconstruct'"):
        read_pickle(content, "index.bin", ("dict", "list", "str", "bytes"))


def test_an_array_of_objects_is_refused() -> None:
    content = pickle.dumps([np.array([b"x", None], object)], 3)
    with pytest.raises(DataError, match="array of dtype 'O8'"):
        read_pickle(content, "index.bin", ("list", "array"))


def test_an_array_that_claims_more_than_it_brings_is_refused() -> None:
    content = pickle.dumps([np.zeros((2, 3), np.float32)], 3).replace(b"K\x02K\x03\x86", b"K\x09K\x09\x86")
    with pytest.raises(DataError, match="it is damaged"):
        read_pickle(content, "index.bin", ("list", "array"))


ARRAY_BEGUN = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
DTYPE = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"


def _colliding(size: int) -> bytes:
    """A dictionary whose keys are multiples of 2^61 - 1, which all have the same hash."""
    keys = (b"\x8a\x10" + (i * (2**61 - 1)).to_bytes(16, "little") + b"N" for i in range(1, size // 19))
    return b"}(" + b"".join(keys) + b"u."


def _built_again(size: int) -> bytes:
    """One array, noted many times and finished many times."""
    notes = b"".join(b"r" + struct.pack("<I", i) for i in range(size // 20))
    state = b"(I1\n(I0\nt" + DTYPE + b"I00\nS''\nt"
    return ARRAY_BEGUN + notes + b"2" * (size // 20) + (state + b"b0") * (size // 20) + b"."


HOSTILE = {
    "keys that collide": _colliding,
    "empty lists": lambda size: b"]" * size,
    "empty dictionaries": lambda size: b"}" * size,
    "lists that are noted": lambda size: b"]\x94" * (size // 2),
    "notes of one value": lambda size: b"]" + b"\x94" * size,
    "values taken off again": lambda size: b"N0" * (size // 2),
    "marks taken off again": lambda size: b"(1" * (size // 2),
    "marks": lambda size: b"(" * size,
    "nested tuples": lambda size: b")" + b"\x85" * size,
    "doubled values": lambda size: b"]" + b"2" * size,
    "lists of one list": lambda size: b"]q\x000" + b"(h\x00h\x00lq\x000" * (size // 8) + b"h\x00.",
    "one list, longer and longer": lambda size: b"]q\x00" + b"(h\x00h\x00e" * (size // 6) + b".",
    "an array finished again": _built_again,
    "copies of a long text": lambda size: (
        b"c_codecs\nencode\nq\x00X" + struct.pack("<I", size // 2) + b"x" * (size // 2) + b"q\x01X\6\0\0\0latin1q\x02"
        + b"h\x00h\x01h\x02\x86R" * (size // 16)
    ),
    "long keys that are equal": lambda size: (
        b"}" + b"".join(b"X" + struct.pack("<I", size // 4) + b"x" * (size // 4) + b"\x94" for _ in range(2))
        + b"h\x00h\x01" + b"}h\x00Nsh\x01Ns" * (size // 32)
    ),
}  # fmt: skip


def _cost(content: bytes) -> tuple[int, int]:
    """Calls made and the peak of bytes held while a stream is read, whatever becomes of it."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        read_pickle(content, "x.bin", ("list", "tuple", "dict", "bool", "int", "bytes", "str", "none", "array"))
    except DataError:
        pass
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return calls, peak


@pytest.mark.parametrize("name", HOSTILE)
def test_twice_the_bytes_cost_twice_the_work_and_no_more(name: str) -> None:
    once, twice = (_cost(HOSTILE[name](size)) for size in (20_000, 40_000))
    assert twice[0] <= 2.2 * once[0] + 100
    assert twice[1] <= 3.3 * once[1] + 10_000  # a set grows fourfold at a time
    assert twice[1] <= 200 * 40_000


def test_a_file_has_so_many_steps_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "FREE_STEPS", 100)
    assert read_pickle(b"](" + b"N" * 90 + b"e.", "x.bin", ("list", "none")) == [None] * 90
    with pytest.raises(DataError, match=r"it has more steps than a file of 20,000 bytes needs"):
        read_pickle(b"]" * 20_000, "x.bin")


def test_copies_of_a_long_text_are_counted() -> None:
    with pytest.raises(DataError, match="it repeats its texts or arrays more often than its size allows"):
        read_pickle(HOSTILE["copies of a long text"](40_000), "x.bin", ("list", "bytes", "str"))


def test_keys_of_dictionaries_are_short_texts() -> None:
    for name in ("keys that collide", "long keys that are equal"):
        with pytest.raises(DataError, match="it has a dictionary key that is no text of at most 1000 letters"):
            read_pickle(HOSTILE[name](40_000), "x.bin", ("dict", "int", "str", "none"))


@pytest.mark.process
def test_reading_imports_no_module() -> None:
    """A pickle that mentions a harmless standard module leaves it unimported."""
    code = (
        "import sys\n"
        "from facepipe.datasets.restricted_pickle import read_pickle\n"
        "from facepipe.errors import DataError\n"
        "try:\n    read_pickle(b'cantigravity\\nfly\\n.', 'x')\n"
        "except DataError:\n    print('antigravity' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
