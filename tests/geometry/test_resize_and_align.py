# SPDX-License-Identifier: Apache-2.0
"""Area resizing against torch, the pyramid's known sizes, crops and alignment."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facepipe.catalogue.mobilefacenet import ARCFACE_112
from facepipe.geometry.align import align, crop_with_margin, sharpness, similarity, warp_five_point
from facepipe.geometry.mtcnn_boxes import Borders, cells_above, face_probability, has_pixels, pixel_regions
from facepipe.geometry.normalise import normalise
from facepipe.geometry.pyramid import pyramid_levels
from facepipe.geometry.resize import integral, resize_regions
from facepipe.results import Face
from facepipe.specs import MarginCrop, Pixels


@pytest.mark.parametrize("sizes", [(250, 250, 151, 151), (250, 250, 14, 14), (33, 17, 24, 24), (7, 90, 48, 48)])
def test_area_resize_has_the_bits_of_torch(sizes: tuple[int, int, int, int]) -> None:
    torch = pytest.importorskip("torch")
    height, width, to_height, to_width = sizes
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, size=(to_height, to_width), mode="area")[0].permute(1, 2, 0)
    whole = np.array([[0, height, 0, width]], np.int64)
    resized = resize_regions(integral(image), whole, to_height, to_width)[0].transpose(1, 2, 0)
    assert (resized == expected.numpy()).all()


def test_integral_sums_stay_exact_where_they_wrap() -> None:
    image = np.full((3000, 6000, 3), 255, np.uint8)  # 4.6e9 in all, beyond uint32
    sums = integral(image)
    low = sums[2900, 5900]
    window = sums[3000, 6000] - sums[2900, 6000] - sums[3000, 5900] + low
    assert window.tolist() == [255 * 100 * 100] * 3


def test_lfw_has_the_eight_levels_that_ascend_is_compiled_for() -> None:
    levels = pyramid_levels(250, 250, 20, 0.709)
    assert [(level.height, level.width) for level in levels] == [
        (side, side) for side in (151, 107, 76, 54, 38, 27, 20, 14)
    ]
    assert len(pyramid_levels(1080, 1920, 20, 0.709)) == 12


@pytest.mark.parametrize("size", [(1, 1), (15, 15), (19, 400)])
def test_a_photograph_smaller_than_the_least_face_has_no_level(size: tuple[int, int]) -> None:
    assert pyramid_levels(*size, 20, 0.709) == ()


def test_cells_above_decides_by_the_probability_itself() -> None:
    logits = np.random.default_rng(1).normal(0, 2, (3, 2, 40, 31)).astype(np.float32)
    images, rows, columns, scores = cells_above(logits, 0.6)
    probability = face_probability(np.moveaxis(logits, 1, -1).reshape(-1, 2)).reshape(3, 40, 31)
    assert np.argwhere(probability >= np.float32(0.6)).tolist() == np.stack([images, rows, columns], axis=1).tolist()
    assert (scores == probability[images, rows, columns]).all()


def test_face_probability_is_finite_for_any_logits() -> None:
    assert face_probability(np.array([[1e4, -1e4], [-1e4, 1e4], [0, 0]], np.float32)).tolist() == [0, 1, 0.5]


def test_regions_are_cut_at_the_edges_or_reach_over_them_and_empty_ones_are_told() -> None:
    boxes = np.array([[-5, -5, 8.9, 9.9], [40, 3, 60, 9], [30.5, 1, 30.9, 9], [12, 12, 11, 11]], np.float32)
    regions = pixel_regions(boxes, 20, 30, "stretch")
    assert regions.tolist() == [[0, 9, 0, 8], [2, 9, 30, 30], [0, 9, 29, 30], [11, 11, 11, 11]]
    assert has_pixels(regions, 20, 30).tolist() == [True, False, True, False]
    regions = pixel_regions(boxes, 20, 30, "pad")
    assert regions.tolist() == [[-6, 9, -6, 8], [2, 9, 39, 60], [0, 9, 29, 30], [11, 11, 11, 11]]
    assert has_pixels(regions, 20, 30).tolist() == [True, False, True, False]


@pytest.mark.parametrize("borders", ["pad", "stretch"])
def test_a_mad_box_gives_a_region_no_larger_than_three_photographs(borders: Borders) -> None:
    far, inf, nan = np.float32(1e30), np.float32(np.inf), np.float32(np.nan)
    boxes = np.array(
        [[-1e9, -1e9, 1e9, 1e9], [-far, 5, far, 9], [-inf, -inf, inf, inf], [nan, nan, nan, nan], [1e9, 1, 2e9, 9]],
        np.float32,
    )
    regions = pixel_regions(boxes, 20, 30, borders)
    past = (20, 30) if borders == "pad" else (0, 0)
    whole = [-past[0], 20 + past[0], -past[1], 30 + past[1]]
    assert regions[0].tolist() == regions[2].tolist() == whole
    assert regions[1].tolist() == [4, 9, *whole[2:]]
    assert has_pixels(regions, 20, 30).tolist() == [True, True, True, False, False]
    crops = resize_regions(integral(np.full((20, 30, 3), 90, np.uint8)), regions[:3], 24, 24)
    assert crops[0].max() == 90 and crops[0].mean() == pytest.approx(10 if borders == "pad" else 90)


def test_crop_margin_is_in_output_pixels() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[40:160, 40:160] = 255
    crop = crop_with_margin(image, np.array([40, 40, 160, 160], np.float32), MarginCrop(size=160, margin=14))
    assert crop.shape == (160, 160, 3)
    assert crop[80, 80, 0] == 255
    assert crop[80, 2, 0] == 0 and crop[80, 157, 0] == 0  # 7 output pixels of margin on each side
    assert crop[80, 12, 0] == 255


def test_a_box_outside_the_photograph_is_an_error_that_names_it() -> None:
    with pytest.raises(Exception, match="covers no pixel of a 10 x 10 photograph"):
        crop_with_margin(np.zeros((10, 10, 3), np.uint8), np.array([20, 20, 30, 30], np.float32), MarginCrop(160, 14))


def test_similarity_finds_the_transform_that_was_applied() -> None:
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 100, (5, 2))
    angle, scale, shift = 0.4, 1.7, np.array([12.0, -3.0])
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(points, points @ rotation.T + shift)
    np.testing.assert_allclose(matrix[:, :2], rotation, atol=1e-9)
    np.testing.assert_allclose(matrix[:, 2], shift, atol=1e-9)
    with pytest.raises(Exception, match="expected distinct points"):
        similarity(np.ones((5, 2)), points)


def test_landmarks_on_the_template_leave_the_picture_alone() -> None:
    image = np.random.default_rng(3).integers(0, 256, (112, 112, 3), np.uint8)
    landmarks = np.array(ARCFACE_112.template, np.float32)
    warped = warp_five_point(image, landmarks, ARCFACE_112).astype(int)
    assert np.abs(warped - image)[1:-1, 1:-1].max() <= 1


@pytest.mark.parametrize(("scale", "degrees"), [(1.7, 0), (0.6, 0), (2.3, 20), (1.2, -35)])
def test_a_five_point_crop_is_the_bilinear_one_of_first_principles(scale: float, degrees: float) -> None:
    """Pixel (x, y) of the crop shows the photograph at the point that the template's transform brings there, where a
    pixel's number is its centre: the landmarks' and the template's convention. Between four centres weights are linear.
    """
    image = np.random.default_rng(4).integers(0, 256, (300, 320, 3), np.uint8)
    turn = scale * np.exp(1j * np.deg2rad(degrees))
    rotation = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    shift = np.array([160.0, 150.0]) - rotation @ np.array([56.0, 56.0])
    landmarks = (np.array(ARCFACE_112.template) @ rotation.T + shift).astype(np.float32)
    rows, columns = np.mgrid[0:112, 0:112]
    x, y = np.moveaxis(np.stack([columns, rows], axis=-1) @ rotation.T + shift, -1, 0)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (left >= 0) & (top >= 0) & (left < 319) & (top < 299)
    left, top, across, down = left[inside], top[inside], (x - left)[inside, None], (y - top)[inside, None]
    expected = (1 - down) * ((1 - across) * image[top, left] + across * image[top, left + 1]) + down * (
        (1 - across) * image[top + 1, left] + across * image[top + 1, left + 1]
    )
    assert inside.mean() > 0.9
    crop = warp_five_point(image, landmarks, ARCFACE_112)[inside]
    assert np.abs(crop - expected).max() < 1.01


@pytest.mark.parametrize(
    ("box", "margin", "region"),
    [
        ([20.9, 30.6, 80.4, 90.9], 0, (30, 90, 20, 80)),
        ([50, 60, 96, 106], 14, (57, 108, 47, 98)),  # 14 * 46 / (160 - 14) / 2 = 2.205 to each side
        ([-3.7, 5.8, 60.2, 250.6], 0, (5, 150, 0, 60)),
    ],
)
def test_corners_of_a_margin_crop_are_truncated_not_rounded(
    box: list[float], margin: int, region: tuple[int, int, int, int]
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (150, 120, 3), np.uint8)
    top, bottom, left, right = region
    cut = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    expected = np.asarray(cut.resize((160, 160), Image.Resampling.BILINEAR))
    crop = crop_with_margin(image, np.array(box, np.float32), MarginCrop(size=160, margin=margin))
    assert (crop == expected).all()


def test_five_point_alignment_without_landmarks_is_an_error() -> None:
    face = Face(np.zeros(4, np.float32), 1.0, np.zeros((0, 2), np.float32))
    with pytest.raises(Exception, match="0 landmarks, expected 5"):
        align(np.zeros((50, 50, 3), np.uint8), face, ARCFACE_112)


def test_normalise_orders_and_scales_channels() -> None:
    image = np.array([[[[10, 20, 30]]]], np.uint8)
    out = normalise(image, Pixels("BGR", (1.0, 2.0, 3.0), (1.0, 0.5, 0.1)))
    assert out.dtype == np.float32 and out.flags.c_contiguous
    np.testing.assert_allclose(out[0, :, 0, 0], [29, 9, 0.7], rtol=1e-6)


def test_sharpness_is_the_variance_of_the_laplacian_between_eyes_and_mouth() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is the oracle")
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    grey = np.floor(crop[44:89, 28:84].astype(float) @ [0.299, 0.587, 0.114] + 0.5)
    expected = ndimage.laplace(grey)[1:-1, 1:-1].var()
    assert sharpness(crop) == pytest.approx(expected, rel=1e-3)
    crop[:44] = 0  # beyond the photograph's edge
    assert sharpness(crop) == pytest.approx(expected, rel=1e-3)


def test_a_blurred_face_and_an_enlarged_one_are_less_sharp_and_one_colour_not_at_all() -> None:
    crop = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    image = Image.fromarray(crop)
    softer = np.asarray(image.filter(ImageFilter.GaussianBlur(2)))
    enlarged = np.asarray(image.resize((16, 16)).resize((112, 112), Image.Resampling.BILINEAR))
    assert sharpness(crop) > 10 * sharpness(softer)
    assert sharpness(crop) > 10 * sharpness(enlarged)
    assert sharpness(np.full((160, 160, 3), 90, np.uint8)) == 0
