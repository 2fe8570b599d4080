# SPDX-License-Identifier: Apache-2.0
"""ICC profiles of RGB spaces, written from the published primaries, and what their colours are in sRGB by formula.

Sources: IEC 61966-2-1 (sRGB), SMPTE EG 432-1 and Apple's Display P3 (P3's primaries, D65, sRGB's curve), Adobe RGB
(1998) 4.3 (its primaries, gamma 563/256), ICC.1:2001-04 (the file), Bradford's matrix to D50 (ICC.1:2010, annex E).
"""

from __future__ import annotations

import struct

import numpy as np

D65, D50 = np.array([0.95047, 1.0, 1.08883]), np.array([0.9642, 1.0, 0.8249])
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA = 563 / 256
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Linear RGB to XYZ under D65: float64 [3, 3]."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    return columns * np.linalg.solve(columns, D65)


def linear(values: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """Encoded 0..1 to light; `gamma` None: sRGB's curve."""
    if gamma is not None:
        return values**gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(colours: np.ndarray, primaries: tuple[tuple[float, float], ...], gamma: float | None = None) -> np.ndarray:
    """uint8 [..., 3] of a space as sRGB, by formula: float64, in 0..255, not rounded."""
    light = linear(colours / 255.0, gamma) @ to_xyz(primaries).T @ np.linalg.inv(to_xyz(SRGB)).T
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def profile(primaries: tuple[tuple[float, float], ...], gamma: float | None = None, name: str = "a space") -> bytes:
    """The ICC profile, version 2.1, of a display."""
    cones = _BRADFORD @ D50 / (_BRADFORD @ D65)
    to_d50 = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    columns = (to_d50 @ to_xyz(primaries)).T
    steps = np.rint(65535 * linear(np.linspace(0, 1, 1024), gamma)).astype(">u2").tobytes()
    curve = b"curv\0\0\0\0" + struct.pack(">I", 1024) + steps
    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(D50),
        **{name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", at + len(body), len(content))
        body += content
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head = (head + bytes(28))[:68] + _xyz(D50)[8:] + bytes(48)
    return head[:128] + struct.pack(">I", len(tags)) + table + body


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values.tolist()))
