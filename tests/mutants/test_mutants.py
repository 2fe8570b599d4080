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
    assert sample(PACKAGE, files, 5, "1") == one[:5]


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
    names = ("tests/test_blind.py",), ("tests/test_edge.py",)
    blind, edge = (tree.watch(tests, 60)[1] for tests in names)
    assert hunt(tree, at_least, (blind,)).verdict == "survived"
    found = hunt(tree, at_least, (blind, edge))
    assert (found.verdict, found.by) == ("killed", "tests/test_edge.py::test")
    assert (copy / "src" / "small" / "__init__.py").read_text() == SOURCE
    assert tree.test([*names[0], *names[1]], 60).verdict == "survived"
    with pytest.raises(RuntimeError, match="pytest ended with 5"):
        tree.test([*names[0], "-k", "absent"], 60)
    (copy / "tests" / "conftest.py").write_text("import small\nassert small.clipped(3.0) == 3.0\n")
    broken = mutated(SOURCE, "__init__.py", "core/NumberReplacer", 0)
    assert broken is not None and broken.now == "if value > 4:"
    assert hunt(tree, replace(broken, source="raise ValueError"), (blind,)).verdict == "killed"


def test_a_mutant_runs_against_the_tests_that_enter_its_function(tmp_path: Path) -> None:
    """What a fixture of a file enters counts for each of its tests; what runs at import, for all."""
    repository, copy = tmp_path / "repository", tmp_path / "copy"
    (repository / "src" / "small").mkdir(parents=True)
    (repository / "tests").mkdir()
    copy.mkdir()
    source = (
        "LEAST = 1\n\n\ndef one():\n    return LEAST\n\n\ndef two():\n"
        "    def inner():\n        return 2\n\n    return inner()\n\n\ndef never():\n    return 3\n"
    )
    (repository / "src" / "small" / "__init__.py").write_text(source)
    (repository / "tests" / "test_it.py").write_text(
        "import small\ndef test_one():\n    assert small.one() == 1\ndef test_two():\n    assert small.two() == 2\n"
    )
    (repository / "tests" / "test_shared.py").write_text(
        "import pytest, small\n@pytest.fixture(scope='module')\ndef two():\n    return small.two()\n"
        "def test_first(two):\n    pass\ndef test_second(two):\n    assert two == 2\n"
    )
    shutil.copy(REPOSITORY / "pyproject.toml", repository)
    tree = Tree(repository, copy, "small")
    undisturbed, touching = tree.watch(["tests"], 60)
    assert undisturbed.verdict == "survived"
    one, two = "tests/test_it.py::test_one", "tests/test_it.py::test_two"
    shared = ["tests/test_shared.py::test_first", "tests/test_shared.py::test_second"]
    assert list(touching.seconds) == [one, two, *shared]
    by_line = {line: touching.tests("__init__.py", source, line) for line in (1, 5, 10, 12, 16)}
    assert by_line == {1: [one, two, *shared], 5: [one], 10: [two, *shared], 12: [two, *shared], 16: by_line[1]}
    three = next(
        found
        for number in range(9)
        if (found := mutated(source, "__init__.py", "core/NumberReplacer", number)) and found.now == "return 3"
    )
    assert hunt(tree, three, (touching,)).verdict == "killed"
