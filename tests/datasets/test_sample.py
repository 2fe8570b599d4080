# SPDX-License-Identifier: Apache-2.0
"""The made sample: the same every time, in LFW's form, people told apart by shape alone."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from facepipe.datasets.images import list_keys, read
from facepipe.datasets.lfw import read_pairs
from facepipe.datasets.sample import (
    SampleSettings,
    displacement,
    make_sample,
    name_of,
    pairs_text,
    photograph,
    portrait,
    traits,
)
from facepipe.errors import DataError

pytest.importorskip("skimage", reason="the sample is made from a portrait that scikit-image ships")

SMALL = SampleSettings(people=3, photographs=2, faceless=1, folds=1, pairs_per_kind=3)


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    return portrait()


def _bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_equal_settings_give_equal_files_and_another_seed_gives_others(tmp_path):
    steps: list[int] = []
    first = make_sample(tmp_path / "a", SMALL, steps.append)
    make_sample(tmp_path / "b", SMALL)
    make_sample(tmp_path / "b", SMALL)  # again, over its own files
    one, other = _bytes(tmp_path / "a"), _bytes(tmp_path / "b")
    assert one == other and steps == [1] * 6
    assert sorted(one) == sorted(["pairs.txt", *(f"images/{key}" for key in first.keys)])
    assert first.faceless == ("Person_01/Person_01_0002.jpg",)
    make_sample(tmp_path / "c", SampleSettings(people=3, photographs=2, faceless=1, folds=1, pairs_per_kind=3, seed=9))
    assert all(_bytes(tmp_path / "c")[name] != content for name, content in one.items() if name != "pairs.txt")


def test_the_sample_is_read_like_lfw(sample):
    pairs = read_pairs(sample / "pairs.txt")
    keys = list_keys(sample / "images")
    settings = SampleSettings()
    assert pairs.folds == 10 and len(pairs.pairs) == 300 and sum(pair.same for pair in pairs.pairs) == 150
    assert len(keys) == settings.people * settings.photographs
    assert set(pairs.keys()) <= set(keys) and pairs.repeated() == 0
    assert read(sample / "images" / keys[0]).shape == (250, 250, 3)


def test_pairs_name_photographs_without_a_face_too():
    text = pairs_text(SampleSettings())
    assert any(line.startswith("Person_01\t") and "\t8" in line for line in text.splitlines())


def test_no_person_is_folded_over_itself():
    y, x = np.mgrid[0:300, 80:380].astype(np.float64)
    for shares in traits(SampleSettings()):
        dx, dy = displacement(x, y, shares)
        (vertical_x, across_x), (vertical_y, across_y) = np.gradient(x - dx), np.gradient(y - dy)
        assert (across_x * vertical_y - vertical_x * across_y).min() > 0.1


def test_every_trait_is_spread_evenly_and_no_two_people_look_alike():
    settings = SampleSettings()
    shares = traits(settings)
    np.testing.assert_allclose(np.sort(shares, axis=0), np.linspace(-1, 1, settings.people)[:, None] + 0 * shares)
    apart = np.linalg.norm(shares[:, None] - shares[None], axis=2)[np.triu_indices(settings.people, 1)]
    assert apart.min() > 2


def test_light_and_colour_say_nothing_about_the_person(source):
    # A corner of the background: no trait reaches it. Analysis of variance: between people over within people is
    # about 1 when the person does not matter (F with 11 and 84 degrees of freedom is below 3 in 99.8 % of cases).
    settings = SampleSettings()
    corners = np.array(
        [
            [photograph(source, settings, person, number)[:20, :20].mean(axis=(0, 1)) for number in range(8)]
            for person in range(settings.people)
        ]
    )  # (people, photographs, 3)
    colours = np.concatenate([corners.mean(axis=2, keepdims=True), corners - corners.mean(axis=2, keepdims=True)], 2)
    between = 8 * colours.mean(axis=1).var(axis=0, ddof=1)
    within = colours.var(axis=1, ddof=1).mean(axis=0)
    assert (between / within < 3).all() and (corners.std(axis=1).mean() > 3)


def test_photographs_of_one_person_differ_and_leave_the_portrait_alone(source):
    before = source.copy()
    one, other = (photograph(source, SMALL, 0, number) for number in (0, 1))
    assert np.abs(one.astype(int) - other).mean() > 5
    np.testing.assert_array_equal(source, before)
    np.testing.assert_array_equal(one, photograph(source, SMALL, 0, 0))


def test_names_sort_as_people_are_counted():
    assert [name_of(person) for person in (0, 9, 11)] == ["Person_01", "Person_10", "Person_12"]


def test_settings_that_cannot_be_met_are_refused(tmp_path):
    with pytest.raises(DataError, match="2 people with 2 photographs make 2 pairs of one person, expected 150"):
        make_sample(tmp_path, SampleSettings(people=2, photographs=2))
    with pytest.raises(DataError, match="1 people with 30 photographs make 0 pairs of two persons, expected 150"):
        make_sample(tmp_path, SampleSettings(people=1, photographs=30))
    with pytest.raises(DataError, match="faceless is 13, expected 0 to 12"):
        make_sample(tmp_path, SampleSettings(faceless=13))
    assert list(tmp_path.iterdir()) == []


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(DataError, match=r"scikit-image is not installed .*Try: pip install 'facepipe\[demo\]'"):
        make_sample(tmp_path)
    assert list(tmp_path.iterdir()) == []
