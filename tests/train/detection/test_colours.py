# SPDX-License-Identifier: Apache-2.0
"""Colours in both orders, against the steps in OpenCV's own words; and what every draw may give."""

from __future__ import annotations

import sys

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="training of detectors needs the extra [train]")

from facepipe.errors import BackendError  # noqa: E402
from facepipe.train.detection.colours import (  # noqa: E402
    COLOUR_DRAWS,
    Colours,
    changed_bytes,
    changed_floats,
    of_retinaface,
    of_ultraface,
)
from facepipe.train.detection.opencv import one_thread, resized  # noqa: E402

PICTURE = np.random.default_rng(3).integers(0, 256, (37, 53, 3), np.uint8)


def cut(samples: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(samples, 0), 255).astype(np.uint8)


@pytest.mark.parametrize("hue", [-18, 0, 18])
@pytest.mark.parametrize("first", [True, False])
def test_bytes_are_cut_after_every_step_as_in_pytorch_retinaface(first: bool, hue: int) -> None:
    """Step by step in BGR, where the published program works."""
    bgr = cut(PICTURE[:, :, ::-1] + 20.5)
    bgr = cut(bgr * 1.3) if first else bgr
    hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
    hsv[:, :, 1] = cut(hsv[:, :, 1] * 0.7)
    hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + hue) % 180
    bgr = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    bgr = bgr if first else cut(bgr * 1.3)
    ours = changed_bytes(PICTURE, Colours(first, 20.5, 1.3, 0.7, hue))
    np.testing.assert_array_equal(ours, bgr[:, :, ::-1])


@pytest.mark.parametrize("hue", [-18.0, 18.0])
@pytest.mark.parametrize("first", [True, False])
def test_floats_are_never_cut_as_in_ultraface(first: bool, hue: float) -> None:
    rgb = PICTURE.astype(np.float32) + np.float32(-31)
    rgb = rgb * np.float32(1.4) if first else rgb
    h, s, v = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    h = h + np.float32(hue)
    h = np.where(h > 360, h - 360, h)
    h = np.where(h < 0, h + 360, h)
    rgb = cv2.cvtColor(cv2.merge([h, s * np.float32(1.45), v]), cv2.COLOR_HSV2RGB)
    rgb = rgb if first else rgb * np.float32(1.4)
    ours = changed_floats(PICTURE, Colours(first, -31, 1.4, 1.45, hue, (2, 0, 1)))
    np.testing.assert_array_equal(ours, rgb[:, :, [2, 0, 1]])
    assert ours.min() < 0 and ours.max() > 255


def test_the_given_picture_stays() -> None:
    before = PICTURE.copy()
    changed_bytes(PICTURE, Colours(True, 9, 1.2, 1.2, 5))
    changed_floats(PICTURE, Colours(True, 9, 1.2, 1.2, 5))
    assert (before == PICTURE).all()


def test_every_change_is_drawn_for_half_of_all_within_its_amounts() -> None:
    draws = np.random.default_rng(1).random((4000, COLOUR_DRAWS))
    for of in (of_retinaface, of_ultraface):
        drawn = [of(u) for u in draws]
        for name, low, high in (
            ("brightness", -32, 32),
            ("contrast", 0.5, 1.5),
            ("saturation", 0.5, 1.5),
            ("hue", -18, 18),
        ):
            amounts = [value for one in drawn if (value := getattr(one, name)) is not None]
            assert 0.47 < len(amounts) / 4000 < 0.53
            assert (
                low <= min(amounts) <= low + 0.05 * (high - low) and high - 0.05 * (high - low) <= max(amounts) <= high
            )
        assert 0.47 < np.mean([one.contrast_first for one in drawn]) < 0.53
    shuffled = [one.channels for one in map(of_ultraface, draws)]
    assert len(set(shuffled)) == 6 and 0.53 < np.mean([one == (0, 1, 2) for one in shuffled]) < 0.63  # 1/2 + 1/12
    hues = {one.hue for one in map(of_retinaface, draws)} - {None}
    assert hues == set(range(-18, 19)), "OpenCV's hue in bytes is whole"


def test_without_opencv_it_is_named_and_nothing_stands_in_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    for use in (lambda: resized(PICTURE, 9, 9), lambda: changed_bytes(PICTURE, Colours(True)), one_thread().__enter__):
        with pytest.raises(BackendError, match="needs the module 'cv2'") as told:
            use()
        assert told.value.attempt == "pip install 'facepipe[train]'."
