# SPDX-License-Identifier: Apache-2.0
"""What decides what a training becomes, but the data: a flat TOML file, all of whose values are written back.

A recipe that comes with facepipe is called by its name, another by its path. `--set name=value` changes a value.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_type_hints

from facepipe.catalogue import embedder
from facepipe.catalogue.imported import toml_lines
from facepipe.errors import DataError, did_you_mean
from facepipe.specs import ModelSpec
from facepipe.train.schedule import Schedule, Shape

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from importlib.abc import Traversable

FORMAT: Final = "facepipe.recipe.1"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a recogniser is trained: a backbone of the catalogue, a margin loss over all classes, SGD.

    Attributes:
        model: of the catalogue; its network, pixels and alignment.
        seed: of everything that is drawn.
        epochs: how often every sample is seen.
        batch: samples of one step, over all processes.
        wraps: whether the last batch of an epoch is filled from the epoch's beginning.
        rate: the learning rate.
        rate_batch: the batch that `rate` is for; it is scaled in proportion to `batch`. 0: it is taken as it is.
        momentum, weight_decay: of SGD, for the backbone and the centres alike.
        clip: largest Euclidean norm of the backbone's gradient, all entries together; 0: none.
        schedule: how the rate falls; see `schedule.Schedule`.
        power: of "polynomial".
        marks: of "marks": epochs, ascending, from 0.
        factor: of "marks".
        warm_up: epochs in which the rate rises.
        scale: s, that cosines are multiplied by.
        m1, m2, m3: the margin: scale * (cos(m1 * angle + m2) - m3). ArcFace 1, .5, 0; CosFace 1, 0, .4.
        margin_gradient: "arcface_torch": the margin moves the logit and no gradient; "analytic": the formula's.
        margin_warm_up: epochs in which the margin rises from none; small sets diverge without.
        sample_rate: share of the classes that a step sees (Partial FC).
        centres: "v1": those that a step does not see stand still; "v2": they move by decay and old momentum.
        inter_class: cosines with other classes above this are left out, for sets with wrong labels; 0: none.
        precision: of the backbone and the product with the centres: "float32", "bfloat16", "float16".
        batch_norm: "local": statistics of each process's slice; "synchronised": of the batch; "frozen": as they are.
        dropout: share of the numbers before the last layer that a step leaves out; of iResNet alone.
        flip: how often a face is mirrored.
        resize, blur, colour, grey: how often a face is made worse, as arcface_torch's option does it.
        shift: how often it is moved, by up to `shift_pixels`.
        log_every, save_every, verify_every: steps. 0: never but at the end.
        keep: how many checkpoints stay, beside the best.
    """

    model: str = "mobilefacenet.paddle"
    seed: int = 1
    epochs: int = 20
    batch: int = 128
    wraps: bool = False
    rate: float = 0.1
    rate_batch: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 5.0
    schedule: Shape = "polynomial"
    power: float = 1.0
    marks: tuple[float, ...] = ()
    factor: float = 0.1
    warm_up: float = 0.0
    scale: float = 64.0
    m1: float = 1.0
    m2: float = 0.5
    m3: float = 0.0
    margin_gradient: Literal["arcface_torch", "analytic"] = "arcface_torch"
    margin_warm_up: float = 0.0
    sample_rate: float = 1.0
    centres: Literal["v1", "v2"] = "v1"
    inter_class: float = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_norm: Literal["local", "synchronised", "frozen"] = "local"
    dropout: float = 0.0
    flip: float = 0.5
    resize: float = 0.0
    blur: float = 0.0
    colour: float = 0.0
    grey: float = 0.0
    shift: float = 0.0
    shift_pixels: int = 4
    log_every: int = 100
    save_every: int = 1000
    verify_every: int = 2000
    keep: int = 3

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            for one in value if isinstance(value, tuple) else (value,):
                if not low <= one <= high:  # a NaN is beside every bound
                    raise DataError(f"recipe: '{name}' is {one}, expected {low:g} to {high:g}.", f"--set {name}=...")
        if list(self.marks) != sorted(set(self.marks)):
            raise DataError(f"recipe: 'marks' are {list(self.marks)}, expected ascending epochs.", "--set marks=[...]")
        if self.schedule == "marks" and not self.marks:
            raise DataError("recipe: schedule is 'marks' and there are none.", "--set marks=[8,14]")

    @property
    def decisive(self) -> dict[str, object]:
        """The values that decide what the weights become, as JSON values; a run goes on with the same ones alone."""
        return {name: value for name, value in asdict(self).items() if name not in _BESIDE}

    def model_spec(self) -> ModelSpec:
        """The model's record.

        Raises:
            DataError: there is no such recogniser, or none that is trained: on faces that five landmarks align.
        """
        spec = embedder(self.model)
        if spec.name not in TRAINED:
            raise DataError(
                f"recipe: model '{self.model}' is none that is trained, expected one of {', '.join(TRAINED)}.",
                f"--set model={TRAINED[0]}",
            )
        return spec

    def rate_of_batch(self) -> float:
        """The learning rate for this batch: as it is, or in proportion where the recipe says of which batch it is."""
        return self.rate * self.batch / self.rate_batch if self.rate_batch else self.rate

    def rates(self, steps_of_epoch: int) -> Schedule:
        """The learning rate by step."""
        return Schedule(
            self.rate_of_batch(),
            self.epochs * steps_of_epoch,
            round(self.warm_up * steps_of_epoch),
            self.schedule,
            self.power,
            tuple(round(mark * steps_of_epoch) for mark in self.marks),
            self.factor,
        )


TRAINED: Final = (
    *("mobilefacenet.paddle", "mobilefacenet.ms1m"),
    *(f"arcface.iresnet{depth}" for depth in (18, 34, 50, 100)),
)
"""Models whose network is trained, on faces that five landmarks align."""

_BESIDE: Final = ("log_every", "save_every", "verify_every", "keep")
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "seed": (0, 2**63 - 1),
    "epochs": (1, 100_000),
    "batch": (2, 1 << 20),
    "rate": (0, 1e6),
    "rate_batch": (0, 1 << 20),
    "momentum": (0, 1),
    "weight_decay": (0, 1),
    "clip": (0, 1e9),
    "power": (0, 100),
    "marks": (0, 100_000),
    "factor": (0, 1),
    "warm_up": (0, 100_000),
    "scale": (0.001, 1e4),
    "m1": (0, 10),
    "m2": (0, 3.2),
    "m3": (0, 2),
    "margin_warm_up": (0, 100_000),
    "sample_rate": (1e-9, 1),
    "inter_class": (0, 1),
    "dropout": (0, 0.99),
    "flip": (0, 1),
    "resize": (0, 1),
    "shift": (0, 1),
    "shift_pixels": (0, 100),
    "blur": (0, 1),
    "colour": (0, 1),
    "grey": (0, 1),
    "log_every": (1, 1 << 30),
    "save_every": (0, 1 << 30),
    "verify_every": (0, 1 << 30),
    "keep": (1, 1 << 20),
}


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with facepipe."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml"))
    )


def read_recipe(name: str, given: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or at that path, with the values that were given in place of its own.

    Args:
        name: of `recipe_names`, or the path of a TOML file.
        given: "name=value", the value as TOML has it; a word needs no quotes.

    Raises:
        DataError: there is none, it cannot be read, or a value is not what it has to be; it is named.
    """
    known = recipe_names()
    if name in known:
        text, where = _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8"), name
    else:
        path, where = Path(name), name
        if not path.is_file():
            raise DataError(
                f"train: there is no recipe '{name}', expected a TOML file or one of {', '.join(known)}.",
                did_you_mean(name, known) or f"`facepipe train {known[0]} ...`",
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}), expected a recipe.") from error
    return replace_values(recipe_of(text, where), given)


def recipe_of(text: str, where: str) -> Recipe:
    """The recipe that a TOML text tells; what it does not name is as `Recipe` has it.

    Raises:
        DataError: it is no TOML, or a value is not what it has to be.
    """
    try:
        values = tomllib.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: is no TOML ({error}), expected a recipe.", "mend it.") from error
    if values.pop("format", FORMAT) != FORMAT:
        raise DataError(f"{where}: format is another, expected '{FORMAT}'.", "write it for this version.")
    return Recipe(**{name: _value(name, value, where) for name, value in values.items()})


def recipe_text(recipe: Recipe) -> str:
    """A recipe with all its values, as `recipe_of` reads it."""
    head = "# Every value of a training, by `facepipe train`; docs/training.md tells of each.\n"
    return head + toml_lines({"format": FORMAT, **asdict(recipe)})


def replace_values(recipe: Recipe, given: Sequence[str]) -> Recipe:
    """The recipe with values in place of its own, each "name=value".

    Raises:
        DataError: a word is none of that form, or its value is not what it has to be.
    """
    values: dict[str, Any] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise DataError(f"--set {word}: has no '=', expected name=value.", "--set epochs=20")
        try:
            read = tomllib.loads(f"value = {value}")["value"]
        except ValueError:
            read = value
        values[name.strip()] = _value(name.strip(), read, f"--set {word}")
    return replace(recipe, **values)


def _value(name: str, value: Any, where: str) -> Any:
    """A value as the field's type has it.

    Raises:
        DataError: there is no such field, or it is of another type.
    """
    kinds = get_type_hints(Recipe)
    if name not in kinds:
        known = [field.name for field in fields(Recipe)]
        raise DataError(f"{where}: '{name}' is no value of a recipe.", did_you_mean(name, known) or "docs/training.md")
    kind, choices = kinds[name], get_args(kinds[name])
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and type(value) is int:
        return value
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    if kind == tuple[float, ...] and isinstance(value, list) and all(type(one) in (int, float) for one in value):
        return tuple(map(float, value))
    if kind not in (bool, int, float, str) and value in choices:
        return value
    texts = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    many = "a list of numbers" if kind == tuple[float, ...] else f"one of {', '.join(map(str, choices))}"
    raise DataError(f"{where}: '{name}' is {value!r}, expected {texts.get(kind, many)}.", f"--set {name}=...")


def _folder() -> Traversable:
    return files("facepipe.train").joinpath("recipes")
