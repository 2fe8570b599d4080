# SPDX-License-Identifier: Apache-2.0
"""Sizes and protocols of WIDER FACE, as a command line asks for them."""

from __future__ import annotations

import pytest

from facepipe.errors import DataError
from facepipe.geometry.fit import Fit, Inside, Original, ShortSide, Stretch
from facepipe.runs.wider import THRESHOLD, wider_settings
from facepipe.runs.wider_protocol import wider_protocol


@pytest.mark.parametrize(
    ("detector", "size", "aspect", "fit"),
    [
        ("ultraface.slim-320", "320", "default", Stretch(240, 320)),
        ("ultraface.rfb-640", "default", "default", Stretch(480, 640)),
        ("ultraface.rfb-640", "640", "keep", Inside(640, 640, grow=True)),
        ("ultraface.rfb-640", "500x300", "default", Stretch(300, 500)),
        ("retinaface.mobilenet0.25", "320", "default", Inside(320, 320, grow=True)),
        ("retinaface.mobilenet0.25", "320", "stretch", Stretch(240, 320)),
        ("retinaface.mobilenet0.25", "original", "default", Original()),
        ("retinaface.mobilenet0.25", "short:1600", "default", ShortSide(1600, 2150)),
        ("retinaface.mobilenet0.25", "333", "default", Inside(333, 333, grow=True)),  # filled up to 352
        ("blazeface.back", "default", "default", Inside(256, 256, grow=True)),
        ("blazeface.front", "128", "stretch", Stretch(128, 128)),
        ("mtcnn", "default", "default", Original()),
    ],
)
def test_a_single_size(detector: str, size: str, aspect: str, fit: Fit) -> None:
    protocol = wider_protocol(detector, "single", size, aspect)
    assert protocol.passes == (("single", (fit,)),)
    assert not protocol.flips


def test_the_five_size_mean_says_that_it_merges_nothing() -> None:
    protocol = wider_protocol("retinaface.mobilenet0.25", "five-size-mean", "default", "default")
    assert [name for name, _ in protocol.passes] == ["500", "800", "1100", "1400", "1700"]
    assert protocol.passes[0][1] == (ShortSide(500, 2150),)
    assert protocol.label.startswith("arithmetic mean of the APs of five single-scale runs")
    assert "no boxes are merged" in protocol.label


def test_multi_scale_is_one_pass_with_flips_and_says_so() -> None:
    protocol = wider_protocol("retinaface.mobilenet0.25", "multi-scale", "default", "default")
    assert len(protocol.passes) == 1
    assert len(protocol.passes[0][1]) == 5
    assert protocol.flips
    assert "mirror images, merged by box voting" in protocol.label


@pytest.mark.parametrize(
    ("detector", "kind", "size", "aspect", "message"),
    [
        ("ultraface.slim-320", "single", "0", "default", "size is '0', expected PIXELS"),
        ("ultraface.slim-320", "single", "big", "default", "size is 'big', expected PIXELS, WIDTHxHEIGHT"),
        ("ultraface.slim-320", "single", "8", "default", "size is 8x6, expected sides of 16 to 8192"),
        ("ultraface.slim-320", "single", "320", "squash", "aspect is 'squash'"),
        ("blazeface.front", "single", "320", "default", "takes 128x128 alone, and size 320"),
        ("blazeface.back", "multi-scale", "default", "default", "cannot be run at several sizes"),
        ("mtcnn", "single", "320", "default", "mtcnn builds its own pyramid"),
        ("mtcnn", "five-size-mean", "default", "default", "cannot be run at several sizes"),
        ("ultraface.slim-320", "double", "default", "default", "protocol 'double' is not known"),
        ("ultraface.slim", "single", "320", "default", "detector 'ultraface.slim' is not known"),
    ],
)
def test_what_cannot_be_is_refused_in_words(detector: str, kind: str, size: str, aspect: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wider_protocol(detector, kind, size, aspect)


def test_a_curves_settings_are_the_same_for_a_program_and_a_command() -> None:
    settings = wider_settings("blazeface.back")
    assert settings is not None
    assert (settings.threshold, settings.suppression.method) == (THRESHOLD, "hard")
    assert wider_settings("mtcnn") is None
    for asked in ({"threshold": 0.5}, {"nms": "soft"}, {"overlap": 0.4}):
        with pytest.raises(DataError, match="mtcnn is a cascade"):  # the API passed over a threshold
            wider_settings("mtcnn", **asked)
