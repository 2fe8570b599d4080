# SPDX-License-Identifier: Apache-2.0
"""JPEG files decoded so that missing and surplus data are noticed.

libjpeg fills what is missing with grey and steps over what is too much; it counts both as warnings, and Pillow does not
pass them on. What Pillow's decoder does tell is how many bytes it has taken. It is therefore fed piece by piece, each
piece ending before a marker, and is asked between pieces where it stands:

- Within a block it takes nothing from one more byte, for it refills its 64 bits at once (`jpeg_fill_bit_buffer`) and
  goes back to where the block began.
- After the last block of a scan or restart interval it looks for a marker and takes every byte that is none
  (`next_marker`, `process_restart`).

Fillers of one bits stand in for what is read ahead; all ones is no Huffman code (ITU-T T.81, K.2). So a piece with too
few blocks is told from a whole one to within FILLER bytes, and one with too many to within SLACK.

What changes no number of blocks cannot be seen: a flipped bit of a coefficient, say.

A large picture can be decoded at a half, a quarter or an eighth of its size: from the low frequencies of each block
alone (libjpeg's scaled inverse DCT), so that the pixels that are not wanted are never made.

Source: ITU-T T.81, B.1 and B.2 (markers), G.1 (progressive scans); libjpeg-turbo, jdhuff.c and jdmarker.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageFile

from facepipe.datasets.picture_checks import Unreadable

SIGNATURE = b"\xff\xd8\xff"
REDUCTIONS = (8, 4, 2, 1)
"""Denominators of the scales at which libjpeg decodes, by Pillow's `draft`."""

# libjpeg reads 57 to 64 bits ahead.
FILLER = b"\xff\0" * 8
# Some cameras leave a few bytes after a scan; libjpeg steps over them.
SLACK = 8

_SOI, _EOI, _SOS, _DRI, _DHP = 0xD8, 0xD9, 0xDA, 0xDD, 0xDE
_MARKER = re.compile(rb"\xff+[\x01-\xfe]")
# Tables, notes and profiles.
_PASSED = frozenset([0xC4, 0xDB, 0xFE, *range(0xE0, 0xF0)])
_RESTARTS = range(0xD0, 0xD8)
_READ = {0xC0: "baseline", 0xC1: "extended sequential", 0xC2: "progressive"}
_NOT_READ = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic-coded",
    0xCA: "arithmetic-coded",
    0xCB: "arithmetic-coded",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    _DHP: "hierarchical",
    0xF7: "JPEG-LS",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a JPEG file lie.

    Attributes:
        pieces: (begin, end) of each piece of data: what lies between a scan's header, its restart markers and the
            marker that follows it.
        end: the place of the end marker, or of the next marker where one scan is all.
        held: bytes of coefficients that libjpeg holds while it decodes, at whatever scale: all of them where they come
            in several scans, none where one scan brings them block by block.
    """

    pieces: tuple[tuple[int, int], ...]
    end: int
    held: int = 0


def reduction(width: int, height: int, size: int) -> int:
    """The greatest denominator at which the longer side still has `size` pixels; 1 where that is 0.

    Of a side shorter than the denominator nothing would be left: Pillow then decodes it whole.
    """
    if not size:
        return 1
    return next((by for by in REDUCTIONS if -(-max(width, height) // by) >= size and min(width, height) >= by), 1)


def layout(content: bytes) -> Layout:
    """Walk over the markers of a JPEG file; its data is not decoded.

    Raises:
        Unreadable: it is of a kind that is not read, a marker is not where it must be, or a coefficient comes in no
            scan or not in full.
    """
    pieces: list[tuple[int, int]] = []
    missing: dict[int, bytearray] = {}  # component: the bit from which each coefficient is known; 99: not at all
    header, interval = b"", 0
    scans = 0
    at = 2
    while match := _MARKER.search(content, at):
        at = match.end()
        marker = content[at - 1]
        if marker in _PASSED:
            at += int.from_bytes(content[at : at + 2], "big")
            continue
        if marker in _NOT_READ:
            raise Unreadable(f"is a JPEG that is {_NOT_READ[marker]}, which is not read")
        if marker == _EOI:
            if not pieces or any(map(any, missing.values())):
                raise Unreadable("is broken (its JPEG data ends before every scan has come)")
            return Layout(tuple(pieces), match.start(), _coefficient_bytes(header) if scans > 1 else 0)
        if marker in (0x01, _SOI) or marker in _RESTARTS:
            continue
        length = int.from_bytes(content[at : at + 2], "big")
        segment = content[at + 2 : at + length]
        if len(segment) + 2 != length:
            break
        at += length
        if marker in _READ:
            if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
                raise Unreadable("is broken (its JPEG header has another length than it says)")
            if segment[0] != 8:
                raise Unreadable(f"is a JPEG of {segment[0]} bits, and only those of 8 are read")
            header = segment
            missing = {segment[place]: bytearray([99]) * 64 for place in range(6, len(segment), 3)}
        elif marker == _DRI:
            interval = int.from_bytes(segment[:2], "big")
        elif marker == _SOS:
            scans += 1
            _note_scan(segment, missing)
            scan, at = _pieces(content, at)
            if len(scan) != (-(-_units(header, segment) // interval) if interval else 1):
                raise Unreadable("is broken (its JPEG data has fewer or more restart markers than the picture needs)")
            pieces += scan
    raise Unreadable("is broken (it has no end marker of JPEG)")


def load(image: ImageFile.ImageFile, content: bytes, parts: Layout, by: int = 1) -> None:
    """Decode the JPEG `image`, which Pillow has opened from `content` and not loaded; `parts` is its layout.

    Args:
        by: one of REDUCTIONS, that `reduction` gave: the picture's sides are divided by it, and rounded up.

    Raises:
        Unreadable: a piece of data has fewer or more blocks than the picture.
    """
    if by > 1:
        image.draft(None, (image.width // by, image.height // by))
    _, extents, _, arguments = image.tile[0]
    decoder = Image._getdecoder(image.mode, "jpeg", arguments, image.decoderconfig)
    image.load_prepare()
    decoder.setimage(image.im, extents)
    feed = _Feed(decoder)
    given = 0
    for begin, end in parts.pieces:
        near = max(begin, end - SLACK)
        feed.piece(content[given:near])
        feed.refuse_if_waiting(content[near:end])
        feed.piece(FILLER)
        feed.refuse_unless_waiting()
        given = end
    if not feed.finished:
        feed.piece(content[given : parts.end] + b"\xff\xd9")
    if not feed.finished:
        raise Unreadable("is broken (its JPEG data ends before the picture is whole)")
    image.tile = []


class _Feed:
    """Pillow's decoder, and what it has not taken of the bytes that it was given."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.left = b""
        self.finished = False

    def piece(self, content: bytes) -> None:
        if self.finished or not content:
            return
        waiting = self.left + content if self.left else content
        taken, error = self.decoder.decode(waiting)
        if taken < 0:
            if error:
                raise Unreadable(f"is broken (its JPEG data cannot be decoded, error {error} of libjpeg)")
            self.finished = True
        self.left = waiting[taken:] if taken >= 0 else b""

    def waits(self, probe: bytes) -> bool:
        """Give it one byte, and see whether it has decoded all it wants up to the next marker."""
        if self.finished:
            return True
        if self.left not in (b"", b"\xff"):
            self.piece(probe)
            return False
        self.piece(probe)
        return self.finished or not self.left

    def refuse_if_waiting(self, rest: bytes) -> None:
        """The last bytes of a piece: they must be wanted."""
        one = 2 if rest[:1] == b"\xff" else 1  # with the zero that is stuffed after it
        if self.finished or (len(rest) == SLACK and self.waits(rest[:one])):
            raise Unreadable("is broken (it has more JPEG data than the picture has blocks)")
        self.piece(rest[one:] if len(rest) == SLACK else rest)

    def refuse_unless_waiting(self) -> None:
        if not self.waits(b"\0"):
            raise Unreadable("is broken (its JPEG data ends before the picture is whole)")


def _note_scan(segment: bytes, missing: dict[int, bytearray]) -> None:
    """What a scan's header says that it brings: for its components, coefficients Ss to Se down to bit Al."""
    if not segment or not segment[0] or len(segment) != 4 + 2 * segment[0]:
        raise Unreadable("is broken (a scan's header has another length than it says)")
    first, last, bits = segment[-3:]
    for component in segment[1:-3:2]:
        if component not in missing or not first <= last <= 63:
            raise Unreadable("is broken (a scan is of a component that the header does not have)")
        missing[component][first : last + 1] = bytes([bits & 15]) * (last + 1 - first)


def _units(header: bytes, scan: bytes) -> int:
    """How many MCUs a scan has: T.81, A.1.1 and A.2; of one component it has its blocks, of more its sampling units."""
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    factors = {header[place]: divmod(header[place + 1], 16) for place in range(6, len(header), 3)}
    across, down = (max(values) for values in zip(*factors.values(), strict=True))
    if not across or not down:
        raise Unreadable("is broken (its JPEG header has a sampling factor of 0)")
    if scan[0] > 1:
        return -(-width // (8 * across)) * -(-height // (8 * down))
    own_across, own_down = factors[scan[1]]
    return -(-width * own_across // (8 * across)) * -(-height * own_down // (8 * down))


def _coefficient_bytes(header: bytes) -> int:
    """Two bytes for each of the 64 coefficients of every block, as T.81, A.1.1 and A.2 count them."""
    one_by_one = [_units(header, bytes([1, component])) for component in header[6::3]]
    return 128 * sum(one_by_one)


def _pieces(content: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    """(begin, end) of the pieces of a scan's data, which begins at `at`; and where the last one ends."""
    end = content.find(b"\xff\xd9", at)
    if end >= 0 and content.count(b"\xff", at, end) == content.count(b"\xff\0", at, end):  # by far the most
        return [(at, end)], end
    pieces = []
    begin = at
    while (place := content.find(b"\xff", at)) >= 0:
        at = place + 1
        while content[at : at + 1] == b"\xff":
            at += 1
        marker = content[at] if at < len(content) else _EOI
        at += 1
        if marker == 0:
            continue
        pieces.append((begin, place))
        if marker not in _RESTARTS:
            return pieces, place
        if marker != 0xD0 + (len(pieces) - 1) % 8:
            raise Unreadable("is broken (its restart markers are out of order)")
        begin = at
    raise Unreadable("is broken (it has no end marker of JPEG)")
