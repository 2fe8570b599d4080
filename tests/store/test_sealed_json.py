# SPDX-License-Identifier: Apache-2.0
"""Sealed JSON: what was written comes back; any other bit, and what JSON lets pass in silence, is refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facepipe.errors import StageError
from facepipe.store.files import read_json, write_json
from facepipe.store.sealed_json import sealed, strict_json, unsealed

BODY = {"format": 3, "rows": [0.1, 1e-300, 12, True, None], "keys": {"瑞秋": "é", "a": ""}, "threshold": 0.41}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    # Half a pair is no text.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def test_what_was_written_comes_back_and_its_seal_is_that_of_the_described_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", BODY)
    assert read_json(tmp_path / "a.json") == BODY
    content = json.loads((tmp_path / "a.json").read_bytes())
    assert list(content)[-1] == "seal"
    assert sealed({"rows": 3})["seal"] == "2bafd4629cc04e701c66d3854982e073924fa77d4fdc31b2803184ff5a42cecc"


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("xyz", min_size=1, max_size=3), VALUES, max_size=4))
def test_any_object_comes_back_whatever_its_order_and_spaces(body: dict[str, object]) -> None:
    whole = sealed(body)
    turned = dict(reversed(whole.items()))
    for text in (json.dumps(whole), json.dumps(turned, indent=3, ensure_ascii=False)):
        assert repr(unsealed(text.encode())) == repr(unsealed(json.dumps(whole).encode())) or unsealed(
            text.encode()
        ) == unsealed(json.dumps(whole).encode())


def test_no_bit_changes_without_being_found(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, BODY)
    content = path.read_bytes()
    refused = 0
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            back = read_json(path)
        except StageError as error:
            assert str(error).startswith(f"{path}: cannot be used (") and "Try: " in str(error)
            refused += 1
        else:  # e-300 and E-300
            assert repr(back) == repr(BODY)
    assert refused >= 8 * len(content) - 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' stands there twice"),
        (b'{"a": {"b": 1, "b": 1}}', "the key 'b' stands there twice"),
        (b'{"a": NaN}', "NaN, which JSON has not"),
        (b'{"a": -Infinity}', "-Infinity, which JSON has not"),
        (b'{"a": 1e999}', "the number 1e999, too large for a float"),
        (rb'{"a": ["\ud800"]}', "holds half a surrogate pair"),
        (rb'{"\udfff": 1}', "holds half a surrogate pair"),
        (b'{"a": "\xff"}', "utf-8"),
        (b"[" * 100_000, "brackets in brackets"),
        (b'{"a": 1} {', "Extra data"),
    ],
)
def test_what_json_lets_pass_in_silence_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strict_json(text)


def test_a_whole_pair_is_text_and_true_is_not_one() -> None:
    assert strict_json(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}
    whole = sealed({"format": 1})
    for other in (True, 1.0):
        with pytest.raises(ValueError, match="not what its 'seal' was made of"):
            unsealed(json.dumps({**whole, "format": other}).encode())


def test_what_is_no_sealed_object_is_refused(tmp_path: Path) -> None:
    for text, said in (
        (b"[1]", "list, expected an object"),
        (b'{"a": 1}', "has no 'seal'"),
        (b'{"seal": 1}', "has no"),
    ):
        with pytest.raises(ValueError, match=said):
            unsealed(text)
    with pytest.raises(ValueError, match="a field is called 'seal'"):
        sealed({"seal": ""})
    with pytest.raises(ValueError, match="JSON compliant"):
        sealed({"a": float("nan")})
    with pytest.raises(StageError, match=r"cannot be used .*\. Try: call again\."):
        read_json(tmp_path / "absent.json", "call again.")
