# SPDX-License-Identifier: Apache-2.0
"""Which text can be a person's name, and that it is one text whatever its form."""

from __future__ import annotations

import unicodedata

import pytest

from facepipe.errors import DataError
from facepipe.gallery.person_name import looks_like_unknown, person_name


@pytest.mark.parametrize(
    "text",
    ["Ana", "瑞秋", "José", "O'Brien", "山田 太郎", "Жанна", "Νίκος", "Anna-Lena", "7", "Unk", "unknown soldier"],
)
def test_a_name_is_one_text_in_all_its_forms(text: str) -> None:
    assert person_name(text) == unicodedata.normalize("NFC", text)
    assert person_name(unicodedata.normalize("NFD", text)) == person_name(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\u3000", " Ana", "Ana\n", "a\x00b", "a\x1b[2Jb", "\u202eanA", "A\u200bna", "\u2800", "\u3164",
     "An\u3164", "\u034f", "\u0301", "\u00a0", "\ud800", "\ufeffAna", "\u115f"],
)  # fmt: skip
def test_what_is_not_seen_is_no_name(text: str) -> None:
    with pytest.raises(DataError, match="cannot be a person's name, expected text that can be seen") as refused:
        person_name(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text",
    ["unknown", "UNKNOWN", "Unknown", "ｕｎｋｎｏｗｎ", "ＵＮＫＮＯＷＮ", "unkn\u043ewn", "un\u043anown",
     "\u03c5nknown", "U\u039dK\u039d\u039fWN", "unkno\u051dn", "unkn0wn", "𝓾𝓷𝓴𝓷𝓸𝔀𝓷", "ünknōwn", "ᴜɴᴋɴᴏᴡɴ", "unknovvn",
     "u\u0578known"],
)  # fmt: skip
def test_what_looks_like_the_answer_unknown_is_no_name(text: str) -> None:
    assert looks_like_unknown(text)
    with pytest.raises(DataError, match="it looks like 'unknown'"):
        person_name(text)
