# SPDX-License-Identifier: Apache-2.0
"""From a photograph and a face to the square that a recogniser was trained on. Resampling is Pillow's."""

from __future__ import annotations

import numpy as np
from PIL import Image

from facepipe.errors import DataError
from facepipe.results import Face
from facepipe.specs import Alignment, FivePoint, MarginCrop

FALLBACK_MARGIN = 24 / 112
"""Share of the crop that is margin where landmarks are missing: the best of 0, 10, 20, 30, 40 of 112 pixels, between
20 and 30, on 1,200 pairs of LFW with UltraFace's boxes and mobilefacenet.ms1m (accuracy .85, .87, .88, .88, .87)."""


def alignment_for(alignment: Alignment, landmark_count: int) -> Alignment:
    """What is done with a detector that gives so many landmarks: the recogniser's own alignment where that is possible
    (5, or BlazeFace's 6), else a margin crop of the same size, with which a five-point recogniser is much worse."""
    if isinstance(alignment, MarginCrop) or landmark_count in (5, 6):
        return alignment
    return MarginCrop(size=alignment.size, margin=round(alignment.size * FALLBACK_MARGIN))


def align(image: np.ndarray, face: Face, alignment: Alignment) -> np.ndarray:
    """The face as the recogniser wants it: uint8 [S, S, 3] from uint8 [H, W, 3] RGB.

    Raises:
        DataError: the alignment needs landmarks and the detector gave none that fit, or the face has no size.
    """
    if isinstance(alignment, MarginCrop):
        return crop_with_margin(image, face.box, alignment)
    if len(face.landmarks) not in (5, 6):
        raise DataError(
            f"alignment: the face has {len(face.landmarks)} landmarks, expected 5 for a five-point alignment (or "
            "BlazeFace's 6).",
            "a detector with landmarks (mtcnn), or an embedder that takes a margin crop (facenet.*).",
        )
    return warp_five_point(image, face.landmarks, alignment)


def crop_scale(face: Face, alignment: Alignment) -> float:
    """Pixels of the crop for each of the photograph's, along a side: below 1 the face is larger than its crop.

    Of a face from which no crop can be cut, 0: it needs no pixels.
    """
    if isinstance(alignment, MarginCrop):
        side = float(min(face.box[2:] - face.box[:2]))
        return (alignment.size - alignment.margin) / side if side > 0 else 0.0
    try:
        linear = _onto_template(face.landmarks, alignment)[:, :2]
    except DataError:  # said when it is cut
        return 0.0
    return float(np.sqrt(abs(np.linalg.det(linear))))


def surroundings(image: np.ndarray, face: Face, alignment: Alignment) -> tuple[np.ndarray, Face]:
    """The part of a photograph that the face's crop shows, and the face in its pixels: to be aligned in place of all of
    it, which costs a copy of the photograph for each face. Moved by whole pixels, so crops differ by rounding alone.

    Raises:
        DataError: the landmarks are all in one place.
    """
    if isinstance(alignment, MarginCrop):
        return image, face  # it is cut out first as it is
    matrix = _onto_template(face.landmarks, alignment)
    side = alignment.size
    corners = np.array([[0, 0], [0, side], [side, 0], [side, side]]) - matrix[:, 2]
    shown = corners @ np.linalg.inv(matrix[:, :2]).T
    ends = np.clip([shown.min(axis=0) - 2, shown.max(axis=0) + 3], 0, image.shape[1::-1]).astype(int)
    (left, top), (right, bottom) = ends.tolist()
    shift = np.array([left, top], np.float32)
    part = image[top:bottom, left:right]
    if 0 in part.shape:
        return image, face
    return part, Face(face.box - np.tile(shift, 2), face.score, face.landmarks - shift)


def crop_with_margin(image: np.ndarray, box: np.ndarray, crop: MarginCrop) -> np.ndarray:
    """The box with its margin, stretched to a square; the aspect is not kept.

    The margin is stated in output pixels, so in the photograph it grows with the box; half goes to each side, and what
    would leave the photograph is cut.

    Args:
        image: uint8 [H, W, 3], RGB.
        box: float32 [4].

    Returns:
        uint8 [size, size, 3].

    Raises:
        DataError: nothing of the box lies in the photograph.

    Source:
        facenet-pytorch `extract_face`, with which the published LFW accuracy was measured; bilinear by Pillow.
    """
    height, width = image.shape[:2]
    low, high = box[:2].astype(np.float32), box[2:].astype(np.float32)
    # float32 throughout, as in the reference: a corner is truncated to a whole pixel next.
    half = np.float32(crop.margin) * (high - low) / np.float32(crop.size - crop.margin) / np.float32(2)
    left, top = (int(value) for value in np.maximum(low - half, np.float32(0)))
    right, bottom = (int(value) for value in np.minimum(high + half, np.array([width, height], np.float32)))
    if right <= left or bottom <= top:
        raise DataError(f"crop: the box {box.tolist()} covers no pixel of a {height} x {width} photograph.")
    cut = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    return np.asarray(cut.resize((crop.size, crop.size), Image.Resampling.BILINEAR))


def warp_five_point(image: np.ndarray, landmarks: np.ndarray, alignment: FivePoint) -> np.ndarray:
    """The photograph turned, scaled and moved so that five landmarks come closest to the template.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [5, 2] in pixels, in the template's order; or BlazeFace's [6, 2], of which the eyes, the nose
            and the middle of the mouth count (the template's is midway between the corners).

    Returns:
        uint8 [size, size, 3], bilinear; black where the photograph ends.

    Raises:
        DataError: the landmarks are all in one place.
    """
    matrix = _onto_template(landmarks, alignment)
    linear = np.linalg.inv(matrix[:, :2])  # Pillow asks for each output pixel where it comes from
    shift = -linear @ matrix[:, 2]
    # Pillow puts a pixel's centre at +0.5, the template and the landmarks at the whole number.
    shift = shift + 0.5 - linear @ np.array([0.5, 0.5])
    coefficients = (*linear[0], shift[0], *linear[1], shift[1])
    size = (alignment.size, alignment.size)
    warped = Image.fromarray(image).transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(warped)


def _onto_template(landmarks: np.ndarray, alignment: FivePoint) -> np.ndarray:
    """From the photograph's pixels to the crop's: float64 [2, 3]."""
    template, points = np.array(alignment.template, np.float64), np.asarray(landmarks, np.float64)
    if len(points) == 6:
        template, points = np.vstack([template[:3], template[3:].mean(axis=0)]), points[:4]
    return similarity(points, template)


def sharpness(crop: np.ndarray) -> float:
    """How sharp the face in a crop uint8 [S, S, 3] is: the variance of the Laplacian, as a float32; 0 without an edge.

    Of the crop the part from eyes to mouth counts, from 2/5 to 4/5 of its height, in the middle half of its width.
    Where the photograph ends, the crop is black, and that edge is sharp however blurred the face is. A small face,
    enlarged to fill its crop, is as blurred as a large one out of focus, and measures so. All is counted in whole
    numbers: the same on every machine.

    Source:
        Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy: a comparative study" (its LAP4 kernel
        0 1 0, 1 -4 1, 0 1 0); grey as in ITU-R BT.601.
    """
    side = len(crop)
    middle = crop[2 * side // 5 : 4 * side // 5, side // 4 : 3 * side // 4].astype(np.int32)
    red, green, blue = (middle[..., channel] for channel in range(3))
    grey = (299 * red + 587 * green + 114 * blue + 500) // 1000
    edges = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    total, squares = int(edges.sum(dtype=np.int64)), int(np.square(edges, dtype=np.int64).sum())
    return float(np.float32((edges.size * squares - total * total) / edges.size**2))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, one scale and shift that bring `source` closest to `target` in the least-squares sense.

    Args:
        source, target: float64 [N, 2].

    Returns:
        float64 [2, 3]: target is about matrix[:, :2] @ source + matrix[:, 2].

    Raises:
        DataError: all source points are the same.

    Source:
        Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns". In the plane
        a rotation with scale is multiplication by one complex number, which makes the solution one division.
    """
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    from_middle, from_goal = source - middle, target - goal
    spread = float((from_middle**2).sum())
    if spread == 0:
        raise DataError(f"alignment: all {len(source)} landmarks are at {middle.tolist()}; expected distinct points.")
    real = float((from_middle * from_goal).sum()) / spread
    imaginary = float((from_middle[:, 0] * from_goal[:, 1] - from_middle[:, 1] * from_goal[:, 0]).sum()) / spread
    linear = np.array([[real, -imaginary], [imaginary, real]])
    return np.column_stack([linear, goal - linear @ middle])
