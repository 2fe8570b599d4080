# SPDX-License-Identifier: Apache-2.0
"""Chips and CANN dialects: versions in order, names guessed, what each release allows where."""

from __future__ import annotations

import pytest

from facepipe.catalogue.chips import DIALECTS, SOCS, cann_key, dialect, is_named, soc_by_name, takes_ranges
from facepipe.errors import DataError


def test_versions_sort_as_they_were_released() -> None:
    versions = ["5.0.4.6", "6.0.RC1", "6.0.1", "6.3.RC1", "6.3.RC2", "7.0.0", "8.0.RC1", "8.0.RC2.alpha001", "8.0.RC2",
                "8.0.0", "8.2", "8.3.RC1alpha", "8.3.RC1", "8.5.0", "9.2.0beta1", "9.2.0"]  # fmt: skip
    assert sorted(versions, key=cann_key) == versions


@pytest.mark.parametrize("version", ["", "eight", "8", "8.x"])
def test_a_version_of_no_known_form_is_refused(version: str) -> None:
    with pytest.raises(DataError, match="has no known form, expected something like"):
        cann_key(version)


def test_a_cann_from_before_all_facts_is_refused() -> None:
    with pytest.raises(DataError, match=r"CANN 3\.1 is older than anything known here"):
        dialect("3.1")


@pytest.mark.parametrize(
    ("version", "option"),
    [("5.0.4", "--input_shape_range"), ("6.0.1", "--input_shape_range"), ("6.3.RC1", "--input_shape_range"),
     ("6.3.RC2", "--input_shape"), ("8.0", "--input_shape"), ("9.1", "--input_shape"),
     ("old", "--input_shape_range"), ("new", "--input_shape")],
)  # fmt: skip
def test_ranges_moved_into_input_shape_with_6_3_rc2(version: str, option: str) -> None:
    assert dialect(version).range_option == option


def test_no_release_allows_ranges_on_ascend_310() -> None:
    # Facts 2.3, the whole table: not in 5.0.4.6 to 6.0.1, not in 6.3.RC1, excluded by name from 6.3.RC2 on.
    assert not any(takes_ranges(SOCS["Ascend310"], version) for version in ("5.0", "6.0.1", "6.3.RC1", "8.0", "8.3"))


@pytest.mark.parametrize(
    ("soc", "version", "allowed"),
    [("Ascend310P3", "6.0.1", False), ("Ascend310P3", "6.3.RC1", True), ("Ascend310P3", "8.0", True),
     ("Ascend910A", "6.3.RC1", True), ("Ascend310B1", "8.0", False), ("Ascend310B1", "9.2.0beta1", False),
     ("Ascend910B4", "8.0", True), ("Ascend950PR_9599", "9.0", True)],
)  # fmt: skip
def test_ranges_are_allowed_where_the_guide_says_so(soc: str, version: str, allowed: bool) -> None:
    assert takes_ranges(SOCS[soc], version) is allowed


def test_ascend_310_is_not_named_from_8_5_on() -> None:
    assert is_named(SOCS["Ascend310"], "8.3.RC1") and not is_named(SOCS["Ascend310"], "8.5")
    assert is_named(SOCS["Ascend310P3"], "9.1")


def test_an_unknown_chip_is_refused_and_the_nearest_is_guessed() -> None:
    with pytest.raises(DataError, match=r"chip 'Ascend310p3' is not known.*did you mean 'Ascend310P3'\?"):
        soc_by_name("Ascend310p3")


def test_every_chip_and_dialect_names_its_source() -> None:
    assert all("guide" in soc.source for soc in SOCS.values())
    assert all("guide" in entry.source for entry in DIALECTS)


@pytest.mark.parametrize(
    ("name", "f32", "gears"),
    # RT platform_config/cann/<chip>.ini, Intrinsic_mmad: f32 among what the matrix unit multiplies. GE,
    # --dynamic_image_size: 100 gears, 256 on 950.
    [("Ascend310", False, 100), ("Ascend310P3", False, 100), ("Ascend910A", False, 100), ("Ascend310B1", True, 100),
     ("Ascend910B4", True, 100), ("Ascend910_9382", True, 100), ("Ascend950PR_9599", True, 256)],
)  # fmt: skip
def test_what_multiplies_float32_matrices_and_how_many_gears(name: str, f32: bool, gears: int) -> None:
    assert soc_by_name(name).f32_matrices is f32 and soc_by_name(name).most_gears == gears


def test_950_has_more_names_than_are_listed() -> None:
    assert soc_by_name("Ascend950DT_957c").family == "950" and soc_by_name("Ascend950DT_957c").name.endswith("957c")
    with pytest.raises(
        DataError, match=r"chip 'Ascend950PR' is not known.*for A3 and 950 the Chip Name, '_' and the NPU"
    ):
        soc_by_name("Ascend950PR")
