# SPDX-License-Identifier: Apache-2.0
"""JSON objects that carry their own digest, so that no bit of them changes without being found out.

The field `seal` is the sha256 of the object without it, as JSON with sorted keys and without spaces. What reads an
object compares the seal before it uses a field. What JSON's own readers let pass in silence is refused too: a key that
stands there twice (the last one would count), NaN and infinity, numbers too large for a float, and half a surrogate
pair, which is no text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

SEAL = "seal"
_TOO_DEEP = "brackets in brackets, deeper than can be followed"


def sealed(body: Mapping[str, object]) -> dict[str, Any]:
    """The object with its seal, as its last field; tuples become lists, as they will be when read back.

    Raises:
        ValueError: a field is called `seal`, or a value has no JSON.

    Example:
        >>> sealed({"rows": 3})["seal"][:8]
        '2aa33f03'
    """
    if SEAL in body:
        raise ValueError(f"a field is called '{SEAL}', which is kept for the digest")
    plain = json.loads(json.dumps(dict(body), allow_nan=False))
    return {**plain, SEAL: _digest(plain)}


def unsealed(content: bytes) -> dict[str, Any]:
    """The object that `content` holds, without its seal, which was compared.

    Raises:
        ValueError: it is no JSON object, has no seal, or is not what was sealed; in words that follow a colon.
    """
    value = strict_json(content)
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__}, expected an object")
    if type(value.get(SEAL)) is not str:
        raise ValueError(f"it has no '{SEAL}', expected the digest of its own content")
    seal = value.pop(SEAL)
    try:
        is_right = _digest(value) == seal
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if not is_right:
        raise ValueError(f"its content is not what its '{SEAL}' was made of; the file is damaged or was edited")
    return value


def strict_json(content: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ValueError: it is no JSON, or one of the things that the head of this file lists; in words.
    """
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError as error:  # a million brackets
        raise ValueError(_TOO_DEEP) from error
    if b"\\u" in content:  # the only way to half a pair: UTF-8 itself has none
        _require_text(value)
    return value


def _digest(body: Mapping[str, object]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, entry in pairs:
        if name in value:
            raise ValueError(f"the key {name!a:.80} stands there twice")
        value[name] = entry
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name}, which JSON has not")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text:.40}, too large for a float")
    return value


def _require_text(value: object) -> None:
    """Raise ValueError where a string within is half a surrogate pair."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and any("\ud800" <= letter <= "\udfff" for letter in item):
            raise ValueError(f"the text {item!a:.80} holds half a surrogate pair")
        if isinstance(item, list):
            waiting += item
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
