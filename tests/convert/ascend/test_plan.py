# SPDX-License-Identifier: Apache-2.0
"""A plan as it is written and read; what it holds is `geometry.shape_plan`'s and tested there."""

from __future__ import annotations

from pathlib import Path

import pytest

from facepipe.convert.ascend.plan import plan_gears, read_plan
from facepipe.errors import DataError
from facepipe.store.files import write_json


def test_a_plan_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    plan = plan_gears({(250, 250): 3, (480, 640): 1}, 20, 0.709, 9)
    write_json(tmp_path / "plan.json", plan.to_json())
    assert read_plan(tmp_path / "plan.json") == plan
    assert bool(plan.gears.padded) and plan.to_json()["letterbox"] is True


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "is no plan"),
        ({"format": "facepipe.plan.2"}, "is no plan"),
        ({"format": "facepipe.plan.1", "assigned": [], "image_sizes": []}, "is no whole plan"),
        ({"format": "facepipe.plan.1", "assigned": [[1, 2]]}, "is no whole plan"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: object, expected: str) -> None:
    write_json(tmp_path / "plan.json", content)
    with pytest.raises(DataError, match=expected):
        read_plan(tmp_path / "plan.json")
