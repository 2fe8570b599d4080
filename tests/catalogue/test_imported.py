# SPDX-License-Identifier: Apache-2.0
"""Records of a user's own models: what is written is read back, what is not right is refused, names are looked up."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepipe.catalogue import (
    MODELS,
    detector_models,
    embedder,
    find,
    landmark_count,
    model,
    own_models,
    records,
)
from facepipe.catalogue.imported import (
    FORMAT,
    as_imported,
    imported_names,
    read_imported,
    record_path,
    record_text,
    spec_of,
    toml_lines,
)
from facepipe.errors import DataError
from facepipe.specs import (
    AtcOptions,
    Dim,
    FivePoint,
    MarginCrop,
    ModelSpec,
    Pixels,
    TensorSpec,
    UserFile,
    Weights,
    fixed,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHA = "ab" * 32
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | NUMBERS,
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def own(name: str = "mine", **changes: object) -> ModelSpec:
    """A recogniser like ArcFace's, as a record tells of it."""
    rows = Dim("batch", 1, 1024)
    spec = ModelSpec(
        name=name,
        task="embed",
        network="iresnet50",
        inputs=(TensorSpec("input.1", (rows, fixed(3), fixed(112), fixed(112))),),
        outputs=(TensorSpec("683", (rows, fixed(512))),),
        pixels=Pixels("RGB", (127.5, 127.5, 127.5), (1 / 127.5, 1 / 127.5, 1 / 127.5)),
        weights=Weights(f"{name}.onnx", SHA, None, UserFile("your own: `facepipe import` puts it there"), "MIT"),
        opset=11,
        passes=(),
        atc=AtcOptions(aipp=True),
        alignment=model("arcface.iresnet50").alignment,
    )
    return as_imported(replace(spec, **changes), f"{name}.onnx", SHA)


def written(folder: Path, spec: ModelSpec) -> Path:
    """Its record in a folder."""
    path = record_path(spec.name, folder)
    path.write_text(record_text(spec), encoding="utf-8")
    return path


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True), VALUES, max_size=6))
def test_what_the_writer_writes_toml_reads_back(fields: dict[str, object]) -> None:
    read = tomllib.loads(toml_lines(fields))  # type: ignore[arg-type]
    assert read == fields
    assert repr(read) == repr(fields), "1 is not 1.0, and true is not 1"


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf"), [1.0, float("-inf")]])
def test_what_toml_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        toml_lines({"x": value})  # type: ignore[dict-item]


THREE = st.tuples(*[st.floats(0, 255)] * 3)
SCALES = st.tuples(*[st.floats(1e-6, 1e6)] * 3)
POINT = st.tuples(*[st.floats(-8192, 8192)] * 2)


@given(
    side=st.integers(1, 8192),
    dimension=st.integers(1, 65536),
    batch=st.integers(0, 1024),
    order=st.sampled_from(["RGB", "BGR"]),
    mean=THREE,
    scale=SCALES,
    template=st.tuples(*[POINT] * 5) | st.integers(0, 8192),
    threshold=st.none() | st.floats(-1, 1),
    words=st.tuples(WORDS, WORDS, WORDS),
    opset=st.integers(1, 1000),
    aipp=st.booleans(),
)
def test_a_record_tells_all_of_its_model(
    side: int,
    dimension: int,
    batch: int,
    order: str,
    mean: tuple[float, float, float],
    scale: tuple[float, float, float],
    template: tuple[tuple[float, float], ...] | int,
    threshold: float | None,
    words: tuple[str, str, str],
    opset: int,
    aipp: bool,
) -> None:
    rows = fixed(batch) if batch else Dim("batch", 1, 1024)
    spec = replace(
        own(),
        inputs=(TensorSpec(words[0], (rows, fixed(3), fixed(side), fixed(side))),),
        outputs=(TensorSpec(words[1], (rows, fixed(dimension))),),
        pixels=Pixels(order, mean, scale),  # type: ignore[arg-type]
        alignment=MarginCrop(side, template) if isinstance(template, int) else FivePoint(side, template),
        opset=opset,
        atc=AtcOptions(aipp=aipp),
    )
    spec = replace(spec, weights=replace(spec.weights, licence=words[2]))
    spec = as_imported(spec, "mine.onnx", SHA, threshold)
    assert spec_of(record_text(spec), "mine") == spec


def test_what_decides_answers_is_bound_and_what_does_not_is_not() -> None:
    spec = own()
    assert spec.imported is not None
    meaning = spec.imported.meaning
    other = replace(spec.pixels, order="BGR")
    for changed in (own(pixels=other), own(alignment=MarginCrop(112, 0)), as_imported(spec, "mine.onnx", "cd" * 32)):
        assert changed.imported is not None
        assert changed.imported.meaning != meaning
    alike = as_imported(replace(spec, weights=replace(spec.weights, licence="other")), "mine.onnx", SHA, 0.3)
    assert alike.imported is not None
    assert alike.imported.meaning == meaning
    named = own("renamed").imported
    assert named is not None
    assert named.meaning == meaning


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ("format", 'format = "facepipe.model.9"', "format is 'facepipe.model.9', expected 'facepipe.model.1'"),
        ("task", 'task = "sing"', "'task' is 'sing', expected one of embed"),
        ("sha256", 'sha256 = "abc"', "'sha256' is 'abc', expected 64 hex digits"),
        ("sha256", "", "'sha256' is not there, expected a whole record"),
        ("file", 'file = "../mine.onnx"', "'file' is '../mine.onnx', expected the name of a file beside the record"),
        ("size", "size = [112, 96]", "size is 112x96, expected a square"),
        ("size", "size = [112]", "'size' is [112], expected a list of 2"),
        ("size", "size = [112, true]", "'size' is [112, True], expected a list of 2, each a whole number"),
        ("batch", "batch = -1", "'batch' is -1, expected a whole number from 0 to 1024"),
        ("pixels", 'pixels = "GRB"', "'pixels' is 'GRB', expected one of RGB, BGR"),
        ("mean", "mean = [0.5, 0.5]", "'mean' is [0.5, 0.5], expected a list of 3"),
        ("mean", "mean = [nan, 0.5, 0.5]", "expected a list of 3, each a number from 0 to 255"),
        ("scale", "scale = [0, 1, 1]", "expected a list of 3, each a number from 1e-06"),
        ("outputs", 'outputs = ["a", "b"]', "outputs are a, b, expected one"),
        ("template", "", "'template' is not there, expected it for alignment 'five-point'"),
        ("alignment", 'alignment = "margin"', "'margin' is not there, expected it for alignment 'margin'"),
        ("aipp", 'aipp = "yes"', "'aipp' is 'yes', expected true or false"),
        ("licence", 'licence = "a\\nb"', "'licence' is 'a\\nb', expected a text on one line"),
        ("licence", 'license = "MIT"', "'license' is no field of it"),
        ("licence", "licence = [", "Invalid value"),
        ("licence", "licence = 1\nlicence = 2", "Cannot overwrite a value"),
    ],
)
def test_a_record_that_is_not_right_is_refused_by_its_field(line: str, instead: str, told: str, tmp_path: Path) -> None:
    path = written(tmp_path, own())
    lines = path.read_text().splitlines()
    path.write_text("\n".join(instead if one.startswith(f"{line} =") else one for one in lines))
    with pytest.raises(DataError) as refused:
        embedder("mine", tmp_path)
    assert str(refused.value).startswith(f"{path}: ")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_name_is_the_catalogues_else_of_the_folder_that_is_asked(tmp_path: Path) -> None:
    written(tmp_path, own())
    assert embedder("mine", tmp_path) == model("mine", tmp_path) == find("mine", tmp_path) == own()
    assert records("mine", tmp_path) == own_models(tmp_path) == (own(),)
    assert model("pnet", tmp_path) is MODELS["pnet"]
    assert find("mine") is find("mine", tmp_path / "other") is find("../mine", tmp_path / "other") is None
    assert "mine" not in MODELS, "a look-up leaves nothing behind"
    with pytest.raises(DataError, match=r"model 'mime' is not in the catalogue, .*, mine. Try: did you mean 'mine'"):
        model("mime", tmp_path)
    with pytest.raises(DataError, match="mine: its record says task 'embed', expected 'detect' of detector mine"):
        detector_models("mine", tmp_path)
    with pytest.raises(DataError, match="expected 'detect'"):
        landmark_count("mine", tmp_path)
    with pytest.raises(DataError, match="embedder 'pnet' is not known"):
        embedder("pnet", tmp_path)


def test_a_record_of_a_taken_name_is_no_model_and_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, own("pnet"))
    assert model("pnet", tmp_path) is MODELS["pnet"]
    with pytest.raises(DataError, match=r"pnet.toml: the catalogue has pnet, expected another name. Try: rename"):
        own_models(tmp_path)
    path.unlink()
    assert own_models(tmp_path) == ()


def test_other_toml_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / "broken.toml").write_text("x = [")
    assert imported_names(tmp_path) == imported_names(None) == imported_names(tmp_path / "gone") == ()
    with pytest.raises(DataError, match=f"pyproject.toml: format is None, expected '{FORMAT}'"):
        read_imported("pyproject", tmp_path)
