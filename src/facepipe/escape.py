# SPDX-License-Identifier: Apache-2.0
"""Text of others (names, keys, paths) as it may be shown: in a terminal, in JSON, on a page.

A file or a person can be called anything. On its way out a name must not move the cursor, colour a line, ring a bell,
begin another line, turn the direction of writing, or stand there unseen. What would is written as an escape sequence
of Python's, which looks like what it is: a line feed as \\n, ESC as \\x1b, a right-to-left override as \\u202e.
"""

from __future__ import annotations

import html
import json
import os
import re
import unicodedata

UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159")
"""Letters, marks and symbols that show nothing although their category says that they do: the grapheme joiner, the
Hangul and Khmer fillers, the empty Braille cell, the empty note head."""

# Control, format (which is bidirectional and zero-width ones too), half a pair, unassigned, private, line, paragraph.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"))
_PLAIN = re.compile(r"[\x20-\x7e]*")


def is_hidden(letter: str) -> bool:
    """Whether one code point steers the display or shows nothing; a space is none of these."""
    return letter in UNSEEN or unicodedata.category(letter) in _HIDDEN


def for_terminal(text: str) -> str:
    """`text` on one line, every hidden code point as its escape sequence; what can be seen stays.

    Example:
        >>> for_terminal("Ana\\x1b[2J")
        'Ana\\\\x1b[2J'
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(_escaped(letter) if is_hidden(letter) else letter for letter in text)


def for_html(text: str) -> str:
    """`text` for an element or a quoted attribute of a page: without markup of its own, and nothing hidden."""
    return html.escape(for_terminal(text))


def for_json(value: object, *, indent: int | None = None) -> str:
    """A value as JSON that a terminal can show: letters as they are, hidden code points by JSON's own escapes, so that
    a reader gets back the very text. Paths are told as they are written.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=os.fspath)
    if _PLAIN.fullmatch(text):
        return text
    # Outside of strings JSON has ASCII alone; within them it has escaped line feeds already.
    return "".join(json.dumps(c)[1:-1] if c != "\n" and is_hidden(c) else c for c in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
