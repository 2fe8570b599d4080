# SPDX-License-Identifier: Apache-2.0
"""A small verification set that is made on the spot: invented people from one public-domain portrait.

scikit-image ships NASA's portrait of the astronaut Eileen Collins (`skimage.data.astronaut`, public domain), so a
machine that reaches nothing but the package index has a face. What makes a "person" here is a smooth warp of that
face: eyes, brows, nose, mouth, jaw, hair moved or enlarged, each trait spread evenly over the people. What makes a
photograph is pose, light, colour, expression and noise, drawn for each photograph from the same distributions whoever
is in it: colour and light say nothing about the person. Some photographs show no face.

The sample lets the whole pipeline run and be checked. An accuracy on it says nothing about a recogniser: the people do
not exist, and all look like one woman.
"""

from __future__ import annotations

import importlib
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facepipe.errors import DataError
from facepipe.store.files import write_bytes, write_text

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """How much is made. Equal settings give equal pixels."""

    people: int = 12
    photographs: int = 8  # of each person
    faceless: int = 3  # of all photographs: those show no face
    folds: int = 10
    pairs_per_kind: int = 15  # in each fold: as many of the same person as of two persons
    seed: int = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """What was made: `images` holds `<Name>/<Name>_%04d.jpg`, `pairs` is in LFW's form."""

    images: Path
    pairs: Path
    keys: tuple[str, ...]
    faceless: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pull:
    """A smooth tug at the portrait around `centre`, fading with `radius`: `shift` pixels, `zoom` pixels per pixel."""

    centre: Point
    radius: float
    shift: Point = (0.0, 0.0)
    zoom: Point = (0.0, 0.0)


SIDE = 250  # pixels, as LFW's photographs
_JPEG_QUALITY = 95

# Where the face is in the 512 x 512 portrait, in pixels (x, y).
_LEFT_EYE, _RIGHT_EYE = (204.0, 101.0), (248.0, 103.0)
_LEFT_FRINGE, _FRINGE, _RIGHT_FRINGE = (195.0, 78.0), (225.0, 76.0), (255.0, 78.0)
_NOSE, _MOUTH, _CHIN = (224.0, 122.0), (223.0, 146.0), (222.0, 178.0)
_LEFT_CORNER, _RIGHT_CORNER = (206.0, 142.0), (242.0, 144.0)
_FACE = (223.0, 125.0)
_SUIT = (333.0, 385.0)  # a shoulder and the background: no face anywhere near

# Each trait at its most; a person has -1 to 1 times that. The extents are as large as they can be without the traits
# of one person folding the picture over itself (a test looks): with less, networks of random weights see no people.
_TRAITS: dict[str, tuple[_Pull, ...]] = {
    "eyes apart": (_Pull(_LEFT_EYE, 16, (-7, 0)), _Pull(_RIGHT_EYE, 16, (7, 0))),
    "eyes low": (_Pull(_LEFT_EYE, 19, (0, 6)), _Pull(_RIGHT_EYE, 19, (0, 6))),
    "eyes large": (_Pull(_LEFT_EYE, 12, zoom=(0.33, 0.33)), _Pull(_RIGHT_EYE, 12, zoom=(0.33, 0.33))),
    "nose long": (_Pull(_NOSE, 14, (0, 6)),),
    "nose wide": (_Pull(_NOSE, 12, zoom=(0.4, 0)),),
    "mouth wide": (_Pull(_LEFT_CORNER, 15, (-7, 0)), _Pull(_RIGHT_CORNER, 15, (7, 0))),
    "mouth low": (_Pull(_MOUTH, 20, (0, 7)),),
    "lips full": (_Pull(_MOUTH, 13, zoom=(0, 0.4)),),
    "chin long": (_Pull(_CHIN, 25, (0, 12)),),
    "jaw wide": (_Pull((188.0, 158.0), 22, (-9, 0)), _Pull((259.0, 158.0), 22, (9, 0))),
    "cheeks wide": (_Pull((182.0, 122.0), 24, (-9, 0)), _Pull((265.0, 124.0), 24, (9, 0))),
    "fringe low": (_Pull(_FRINGE, 26, (0, 14)),),
    "hair wide": (_Pull((160.0, 100.0), 30, (-14, 0)), _Pull((298.0, 100.0), 30, (14, 0))),
    "face narrow": (_Pull(_FACE, 70, zoom=(-0.13, 0.13)),),
    "hair high": (_Pull((225.0, 25.0), 32, (0, -12)),),
    "fringe slanted": (_Pull(_LEFT_FRINGE, 22, (0, 12)), _Pull(_RIGHT_FRINGE, 22, (0, -12))),
    "temples narrow": (_Pull((178.0, 98.0), 18, (8, 0)), _Pull((268.0, 100.0), 18, (-8, 0))),
    "chin broad": (_Pull((200.0, 176.0), 20, (-9, 0)), _Pull((246.0, 178.0), 20, (9, 0))),
}
# Of a trait's extent, the deviation from photograph to photograph.
_EXPRESSION = 0.05

# The portrait is a bright studio picture. Photographs are developed harder and darker than it, in which the shape of
# a face weighs more against its light.
_MIDDLE, _CONTRAST, _EXPOSURE = 128.0, 1.4, 0.7


def make_sample(
    out: Path, settings: SampleSettings | None = None, progress: Callable[[int], None] | None = None
) -> Sample:
    """Make the sample below `out`: `images/<Name>/<Name>_%04d.jpg` of 250 x 250 pixels, and `pairs.txt`.

    Files of the same names are replaced. `progress(1)` is called after each photograph. Unlike in LFW, one person may
    be in several folds: there are too few people to part them.

    Raises:
        DataError: scikit-image is not installed, or the settings ask for what cannot be.
    """
    settings = settings or SampleSettings()
    pairs = pairs_text(settings)
    source = portrait()
    without_face = _faceless(settings)
    keys, faceless = [], []
    for person, number in itertools.product(range(settings.people), range(settings.photographs)):
        key = f"{name_of(person)}/{name_of(person)}_{number + 1:04d}.jpg"
        shows_face = (person, number) not in without_face
        pixels = photograph(source, settings, person, number, shows_face)
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG", quality=_JPEG_QUALITY)
        write_bytes(out / "images" / key, encoded.getvalue())
        keys.append(key)
        if not shows_face:
            faceless.append(key)
        if progress is not None:
            progress(1)
    write_text(out / "pairs.txt", pairs)
    return Sample(out / "images", out / "pairs.txt", tuple(keys), tuple(faceless))


def portrait() -> np.ndarray:
    """The portrait that everything is made of: uint8 [512, 512, 3] RGB, out of scikit-image's own files.

    Raises:
        DataError: scikit-image is not installed, or ships another portrait.
    """
    try:
        data = importlib.import_module("skimage.data")
    except ImportError as error:
        raise DataError(
            f"sample: scikit-image is not installed ({error}), expected it for the portrait that it ships.",
            "pip install 'facepipe[demo]'",
        ) from error
    pixels = np.asarray(data.astronaut())
    if pixels.shape != (512, 512, 3) or pixels.dtype != np.uint8:
        raise DataError(f"sample: the portrait is {pixels.dtype} {list(pixels.shape)}, expected uint8 [512, 512, 3].")
    return pixels


def name_of(person: int) -> str:
    """The name of the person, counted from 0."""
    return f"Person_{person + 1:02d}"


def photograph(
    source: np.ndarray, settings: SampleSettings, person: int, number: int, shows_face: bool = True
) -> np.ndarray:
    """One photograph of one person: uint8 [250, 250, 3] RGB.

    Args:
        source: uint8 [512, 512, 3], the portrait.
        settings: `people` and `seed` decide what the persons look like.
        person, number: counted from 0.
        shows_face: whether it is taken of the face, or of what is beside it.
    """
    rng = np.random.default_rng([settings.seed, person, number])
    x, y = _pose(rng, _FACE if shows_face else _SUIT)
    shares = traits(settings)[person] + rng.normal(0, _EXPRESSION, len(_TRAITS))
    dx, dy = displacement(x, y, shares)
    return _develop(_bilinear(source, x - dx, y - dy), rng)


def traits(settings: SampleSettings) -> np.ndarray:
    """Each person's share of each trait: float64 [people, traits], in -1..1, spread evenly over the people."""
    rng = np.random.default_rng(settings.seed)
    levels = np.linspace(-1, 1, settings.people)
    return np.stack([rng.permutation(levels) for _ in _TRAITS], axis=1)


def displacement(x: np.ndarray, y: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far what is seen at (x, y) was moved there, for a person with these shares of the traits.

    Args:
        x, y: float64 of one shape, pixels of the portrait.
        shares: float64 [traits].

    Returns:
        dx and dy in pixels: the person's picture at (x, y) is the portrait's at (x - dx, y - dy).
    """
    dx, dy = np.zeros_like(x), np.zeros_like(y)
    for share, pulls in zip(shares, _TRAITS.values(), strict=True):
        for pull in pulls:
            from_x, from_y = x - pull.centre[0], y - pull.centre[1]
            fade = share * np.exp(-(from_x**2 + from_y**2) / (2 * pull.radius**2))
            dx += fade * (pull.shift[0] + pull.zoom[0] * from_x)
            dy += fade * (pull.shift[1] + pull.zoom[1] * from_y)
    return dx, dy


def pairs_text(settings: SampleSettings) -> str:
    """Pairs in LFW's form: "folds N", then for each fold N lines "name i j" and N lines "name i other j".

    No pair appears twice. Photographs without a face are paired like the others.

    Raises:
        DataError: the settings allow fewer pairs than they ask for.
    """
    numbers = range(1, settings.photographs + 1)
    same = [
        (name_of(person), str(i), str(j))
        for person in range(settings.people)
        for i, j in itertools.combinations(numbers, 2)
    ]
    different = [
        (name_of(person), str(i), name_of(other), str(j))
        for person, other in itertools.combinations(range(settings.people), 2)
        for i, j in itertools.product(numbers, repeat=2)
    ]
    wanted = settings.folds * settings.pairs_per_kind
    for kind, pairs in (("one person", same), ("two persons", different)):
        if not 0 < wanted <= len(pairs):
            raise DataError(
                f"sample: {settings.people} people with {settings.photographs} photographs make {len(pairs)} pairs of "
                f"{kind}, expected {wanted}, which must be above 0."
            )
    rng = np.random.default_rng([settings.seed, 1])
    chosen = [[pairs[i] for i in rng.permutation(len(pairs))[:wanted]] for pairs in (same, different)]
    lines = [f"{settings.folds}\t{settings.pairs_per_kind}"]
    for start in range(0, wanted, settings.pairs_per_kind):
        for pairs in chosen:
            lines += ["\t".join(pair) for pair in sorted(pairs[start : start + settings.pairs_per_kind])]
    return "\n".join(lines) + "\n"


def _faceless(settings: SampleSettings) -> set[tuple[int, int]]:
    """(person, number) of the photographs without a face: the last ones of people who are spread evenly."""
    if not 0 <= settings.faceless <= settings.people:
        raise DataError(f"sample: faceless is {settings.faceless}, expected 0 to {settings.people}, the people.")
    people = np.arange(settings.faceless) * settings.people // max(settings.faceless, 1)
    return {(int(person), settings.photographs - 1) for person in people}


def _pose(rng: np.random.Generator, centre: Point) -> tuple[np.ndarray, np.ndarray]:
    """Portrait coordinates float64 (250, 250) of each pixel: `centre` in the middle, somewhat turned, near, moved."""
    angle, scale = np.deg2rad(rng.uniform(-4, 4)), rng.uniform(0.96, 1.08)
    shift_x, shift_y = rng.uniform(-8, 8, 2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    x = (np.cos(angle) * columns - np.sin(angle) * rows) / scale + centre[0] + shift_x
    y = (np.sin(angle) * columns + np.cos(angle) * rows) / scale + centre[1] + shift_y
    return x, y


def _bilinear(source: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64 [H, W, 3] of `source` at (x, y); what lies outside repeats its edge."""
    height, width = source.shape[:2]
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, height - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right_share, bottom_share = (x - left)[..., None], (y - top)[..., None]
    pixels = source.astype(np.float64)
    upper = pixels[top, left] * (1 - right_share) + pixels[top, left + 1] * right_share
    lower = pixels[top + 1, left] * (1 - right_share) + pixels[top + 1, left + 1] * right_share
    return np.asarray(upper * (1 - bottom_share) + lower * bottom_share)


def _develop(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, colour, noise, the same distributions for everybody: uint8 [H, W, 3] from float64 in 0..255."""
    exposure = _EXPOSURE * np.exp(rng.uniform(-0.05, 0.05))
    cast = np.exp(rng.uniform(-0.09, 0.09, 3))
    gamma = np.exp(rng.uniform(-0.1, 0.1))
    saturation = 1 + rng.uniform(-0.35, 0.25)
    direction, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25)
    rows, columns = (np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2) / (SIDE / 2)  # -1..1
    side_light = 1 + strength * (np.cos(direction) * columns + np.sin(direction) * rows)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + saturation * (pixels - grey)
    pixels = np.clip(_MIDDLE + _CONTRAST * (pixels - _MIDDLE), 0, 255)
    pixels = 255 * (pixels / 255) ** gamma
    # A cast changes colours, not the exposure.
    pixels = pixels * exposure * cast / cast.mean() * side_light[..., None] + rng.normal(0, 2, pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
