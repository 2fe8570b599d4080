# SPDX-License-Identifier: Apache-2.0
"""Recipes: their values, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from facepipe.errors import DataError
from facepipe.train.recipe import TRAINED, Recipe, read_recipe, recipe_names, recipe_of, recipe_text, replace_values

DOCS = Path(__file__).resolve().parents[2] / "docs" / "training.md"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_ours_reads_and_reads_back(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe_of(recipe_text(recipe), "again") == recipe
    assert recipe.model_spec().name == recipe.model
    assert f"`{name}`" in DOCS.read_text(encoding="utf-8")


def test_every_value_is_written_back() -> None:
    text = recipe_text(Recipe())
    assert all(f"\n{field.name} = " in text for field in fields(Recipe))


def test_docs_tell_of_every_value() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [field.name for field in fields(Recipe) if f"`{field.name}`" not in text] == []


def test_a_value_is_given_as_toml_has_it_and_a_word_needs_no_quotes() -> None:
    given = ["epochs=3", "rate=1e-3", "wraps=true", "marks=[1, 2.5]", "schedule=marks", "model=mobilefacenet.ms1m"]
    recipe = replace_values(Recipe(), given)
    assert (recipe.epochs, recipe.rate, recipe.wraps) == (3, 1e-3, True)
    assert (recipe.marks, recipe.schedule, recipe.model) == ((1.0, 2.5), "marks", "mobilefacenet.ms1m")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("epoch=3", "'epoch' is no value of a recipe. Try: did you mean 'epochs'"),
        ("epochs", "has no '=', expected name=value"),
        ("epochs=2.5", "'epochs' is 2.5, expected a whole number"),
        ("epochs=0", "'epochs' is 0, expected 1 to"),
        ("epochs=true", "'epochs' is True, expected a whole number"),
        ("rate=fast", "'rate' is 'fast', expected a number"),
        ("rate=nan", "'rate' is nan, expected a number"),
        ("rate=-1", "'rate' is -1.0, expected 0 to"),
        ("wraps=1", "'wraps' is 1, expected true or false"),
        ("schedule=steps", "'schedule' is 'steps', expected one of polynomial, marks, cosine, constant"),
        ("schedule=marks", "schedule is 'marks' and there are none"),
        ("marks=[3, 2]", "'marks' are [3.0, 2.0], expected ascending epochs"),
        ("sample_rate=0", "'sample_rate' is 0.0, expected 1e-09 to 1"),
        ("precision=half", "'precision' is 'half', expected one of float32, bfloat16, float16"),
        ("margin_gradient=both", "'margin_gradient' is 'both', expected one of arcface_torch, analytic"),
    ],
)
def test_a_value_that_is_none_is_refused_by_name(given: str, words: str) -> None:
    with pytest.raises(DataError) as error:
        replace_values(Recipe(), [given])
    assert words in str(error.value)


def test_a_recipe_that_is_not_there_is_guessed() -> None:
    with pytest.raises(DataError, match=r"no recipe 'mobilefacenet_smal'.*did you mean 'mobilefacenet_small'"):
        read_recipe("mobilefacenet_smal")


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = = 3", encoding="utf-8")
    with pytest.raises(DataError, match=r"mine\.toml: is no TOML"):
        read_recipe(str(path))
    path.write_text('format = "facepipe.recipe.9"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"expected 'facepipe\.recipe\.1'"):
        read_recipe(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_recipe(str(path))


def test_a_file_of_ones_own_takes_what_it_does_not_name_from_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 7\n", encoding="utf-8")
    assert read_recipe(str(path)) == Recipe(epochs=7)


def test_a_model_that_is_not_trained_is_refused() -> None:
    with pytest.raises(DataError, match=r"'facenet\.vggface2' is none that is trained, expected one of"):
        Recipe(model="facenet.vggface2").model_spec()
    assert [Recipe(model=name).model_spec().name for name in TRAINED] == list(TRAINED)


def test_a_rate_is_scaled_only_when_the_recipe_says_for_which_batch_it_is() -> None:
    assert Recipe(rate=0.1, batch=256).rate_of_batch() == 0.1
    assert Recipe(rate=0.1, batch=256, rate_batch=512).rate_of_batch() == 0.05


def test_what_is_only_told_does_not_decide() -> None:
    assert Recipe(log_every=1, keep=9).decisive == Recipe().decisive
    assert Recipe(seed=2).decisive != Recipe().decisive
