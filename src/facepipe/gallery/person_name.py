# SPDX-License-Identifier: Apache-2.0
"""What a person can be called: text that is seen, in one form, and that nobody takes for the answer "unknown"."""

from __future__ import annotations

import unicodedata

from facepipe.errors import DataError
from facepipe.escape import for_terminal, is_hidden

UNKNOWN = "unknown"
"""What an answer says when nobody is near enough; no person may be called so, or so that it looks like it."""

# Source: Unicode's confusables.txt (UTS #39), the rows of these five letters and of their capitals that compatibility
# forms (NFKC) do not bring together; small letters beside capitals that are listed, and five more that look alike in
# common fonts.
_LOOKS_LIKE = {
    "u": "ʋυսᴜꞟꭎꭒ𐓶𑣘ՍሀᑌU∪⋃ꓴ𐓎𑢸𖽂ʊ",
    "n": "ոռΝⲚꓠ𐔓ɴⲛпη",
    "k": "ΚКᏦᛕⲔꓗ𐔘κкᴋĸⲕꮶ",
    "o": "0οσоօ۵०੦૦௦ంం౦ಂ೦ംഠ൦ං๐໐ဝ၀ჿᴏᴑסה٥ھہەⲟꬽ𐐬𐓪𑣈𑣗ΟОՕ০ଠ୦ዐ߀Ⲟⵔ〇ꓳ𐊒𐊫𐐄𐓂𐔖𑓐𑢵𑣠🯰",
    "w": "ɯѡԝաᴡꮃ𑜊𑜎𑜏ԜᎳᏔꓪ𑣦𑣯ωш",
}
_LETTER = {ord(other): letter for letter, others in _LOOKS_LIKE.items() for other in others}


def person_name(text: str) -> str:
    """The name in Unicode's composed form (NFC), in which equal names are equal text.

    Raises:
        DataError: it cannot be a person's name: nothing of it would be seen, a part of it would not, it begins or ends
            with a space, or it looks like "unknown".

    Example:
        >>> person_name("Jose\\u0301") == "Jos\\u00e9"
        True
    """
    name = unicodedata.normalize("NFC", text)
    told = f"gallery: '{for_terminal(text[:80])}' cannot be a person's name"
    if not name or name != name.strip() or any(map(is_hidden, name)) or not name.isprintable() or not _is_seen(name):
        raise DataError(
            f"{told}, expected text that can be seen, without a space around it or a sign that is hidden.",
            "another name.",
        )
    if looks_like_unknown(name):
        raise DataError(
            f"{told}, it looks like '{UNKNOWN}', which is the answer for a face that nobody is near to.",
            "another name.",
        )
    return name


def looks_like_unknown(name: str) -> bool:
    """Whether a reader could take the name for the answer "unknown": in any width, case, accent or alphabet."""
    wide = unicodedata.normalize("NFKC", name).translate(_LETTER)  # before case goes: a Greek capital Nu is like N,
    small = wide.casefold().translate(_LETTER)  # the small one like v
    letters = (c for c in unicodedata.normalize("NFD", small) if unicodedata.category(c) != "Mn")
    return "".join(letters).replace("vv", "w") == UNKNOWN


def _is_seen(name: str) -> bool:
    """Whether something stands there that is no space and no mark without a letter."""
    return any(unicodedata.category(letter)[0] not in "ZM" for letter in name)
