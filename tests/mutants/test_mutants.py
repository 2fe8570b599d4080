# SPDX-License-Identifier: Apache-2.0
"""The hunt itself: drawn by the seed, blind to what no test sees, and it tells a killed mutant from one that lives."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="mutation testing needs cosmic-ray: `make mutants` installs it")

from hunting import Tree, hunt
from sampling import mutated, sample, sites_of

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "facepipe"

SOURCE = """from __future__ import annotations
from dataclasses import dataclass

Alias = str | bytes


@dataclass(frozen=True)
class Pair:
    one: int | None


def clipped(value: int | float) -> int | float:
    if value > 3:
        return 3
    return value
"""


def test_the_same_seed_draws_the_same_mutants_and_each_is_another_file() -> None:
    files = ["geometry/nms.py", "geometry/boxes.py"]
    one, again, other = (sample(PACKAGE, files, 12, seed) for seed in ("1", "1", "2"))
    assert one == again != other
    assert len({mutant.source for mutant in one}) == 12
    for mutant in one:
        assert mutant.was != mutant.now
        assert mutant.source != (PACKAGE / mutant.file).read_text(encoding="utf-8")


def test_annotations_and_data_classes_are_left_alone() -> None:
    sites = list(sites_of(SOURCE))
    assert {kind for kind, _ in sites} == {"ReplaceComparisonOperator", "NumberReplacer", "AddNot"}
    changed = [mutated(SOURCE, "a.py", *one) for _, forms in sites for one in forms]
    assert {mutant.line for mutant in changed if mutant is not None} == {13, 14}
    assert not any("is" in mutant.now.split() for mutant in changed if mutant is not None)


def test_a_mutant_is_killed_by_the_test_that_sees_it_and_lives_without(tmp_path: Path) -> None:
    repository, copy = tmp_path / "repository", tmp_path / "copy"
    (repository / "src" / "small").mkdir(parents=True)
    (repository / "tests").mkdir()
    copy.mkdir()
    (repository / "src" / "small" / "__init__.py").write_text(SOURCE)
    imported = "from small import clipped\n"
    (repository / "tests" / "test_blind.py").write_text(f"{imported}def test():\n    assert clipped(9) == 3\n")
    (repository / "tests" / "test_edge.py").write_text(
        f"{imported}def test():\n    assert type(clipped(3.0)) is float\n"
    )
    shutil.copy(REPOSITORY / "pyproject.toml", repository)
    tree = Tree(repository, copy, "small")
    at_least = mutated(SOURCE, "__init__.py", "core/ReplaceComparisonOperator_Gt_GtE", 0)
    assert at_least is not None
    assert (at_least.was, at_least.now) == ("if value > 3:", "if value >= 3:")
    blind, edge = ("tests/test_blind.py",), ("tests/test_edge.py",)
    assert hunt(tree, at_least, (blind,), (60,)).verdict == "survived"
    found = hunt(tree, at_least, (blind, edge), (60, 60))
    assert (found.verdict, found.by) == ("killed", "tests/test_edge.py::test")
    assert (copy / "src" / "small" / "__init__.py").read_text() == SOURCE
    assert tree.test((*blind, *edge), 60).verdict == "survived"
    with pytest.raises(RuntimeError, match="pytest ended with 5"):
        tree.test((*blind, "-k", "absent"), 60)
    (copy / "tests" / "conftest.py").write_text("import small\nassert small.clipped(3.0) == 3.0\n")
    broken = mutated(SOURCE, "__init__.py", "core/NumberReplacer", 0)
    assert broken is not None and broken.now == "if value > 4:"
    assert hunt(tree, replace(broken, source="raise ValueError"), (blind,), (60,)).verdict == "killed"
