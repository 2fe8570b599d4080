# SPDX-License-Identifier: Apache-2.0
"""Names on their way to a terminal, to JSON and to a page: nothing hidden, nothing that steers, nothing lost."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facepipe.escape import for_html, for_json, for_terminal, is_hidden

ANY = st.text(st.characters(), max_size=12) | st.text(
    st.sampled_from("\x1b[\n\r\x07\x9b\u202e\u200b\u3164\ud800é'<&\\")
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ana 瑞秋 José É", "Ana 瑞秋 José É"),
        ("\x1b[2J\x1b]0;t\x07", r"\x1b[2J\x1b]0;t\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m\x85\x7f", r"\x9b31m\x85\x7f"),
        ("\u202eabc\u2066\u200f", r"\u202eabc\u2066\u200f"),
        ("a\u200bb\ufeff\u00ad\u2060", r"a\u200bb\ufeff\xad\u2060"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u3164\u2800\u034f", r"\u3164\u2800\u034f"),
        ("\udce9\U000e0041", r"\udce9\U000e0041"),
    ],
)
def test_what_is_hidden_is_shown_and_what_is_seen_stays(text: str, shown: str) -> None:
    assert for_terminal(text) == shown


@settings(max_examples=500, deadline=None)
@given(ANY)
def test_nothing_hidden_gets_out_and_every_reader_gets_it_back(text: str) -> None:
    for shown in (for_terminal(text), for_html(text), for_json(text), for_json({"a": [text]})):
        assert not any(map(is_hidden, shown))
        assert shown.splitlines() in ([shown], [])
        shown.encode()  # half a pair is printed nowhere
    assert json.loads(for_json({text: text})) == {text: text}
    assert not re.search(r"[<>\"']", for_html(text))


def test_lines_of_indented_json_stay_lines() -> None:
    assert for_json({"a": "\n\u202e"}, indent=2) == '{\n  "a": "\\n\\u202e"\n}'
    with pytest.raises(ValueError, match="JSON compliant"):
        for_json(float("nan"))
