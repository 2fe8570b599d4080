# SPDX-License-Identifier: Apache-2.0
"""facepipe for programs: one answer for each photograph, the same as the commands; the examples of docs/api.md."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facepipe
from facepipe import (
    BackendError,
    DataError,
    EmbeddedFace,
    NamedPhotograph,
    NoFace,
    PictureCrops,
    PictureFaces,
    Unread,
)
from facepipe.backends import resolve_backend
from facepipe.cli import main
from facepipe.cli.run_options import add_model_arguments
from facepipe.datasets.images import list_keys, read
from facepipe.gallery.search import build_index
from facepipe.results import Detections

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


@pytest.mark.process
def test_importing_facepipe_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import facepipe; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    others = {name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert others == {"facepipe"}


def test_every_public_name_is_there_and_others_are_attribute_errors() -> None:
    for name in facepipe.__all__:
        assert getattr(facepipe, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'open', expected one of AssetError, .*load"):
        facepipe.open  # noqa: B018


@pytest.mark.weights
def test_a_photograph_is_at_distance_zero_from_itself_and_further_from_another(weights_dir: Path, sample: Path) -> None:
    photographs = _photographs(sample)
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir) as faces:
        same = faces.distance(photographs[0], read(photographs[0]))
        different = faces.distance(photographs[0], photographs[-1])
    assert same < 1e-9 < different <= 4


@pytest.mark.weights
def test_one_bad_photograph_does_not_lose_the_others(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    empty, path = np.zeros((80, 80, 3), np.uint8), _photographs(sample)[0]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(path.read_bytes()[:500])
    faces = facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir)
    first, second, third, fourth, fifth = faces.embed([path, empty, broken, broken.read_bytes(), str(path)])
    assert faces.embed([]) == []
    with pytest.raises(DataError, match="first photograph: no face found, expected a photograph with a face"):
        faces.distance(empty, path)
    assert isinstance(second, NoFace) and isinstance(third, Unread) and isinstance(fourth, Unread)
    assert isinstance(first, EmbeddedFace) and isinstance(fifth, EmbeddedFace)
    assert first.embedding.shape == (512,) and np.array_equal(first.embedding, fifth.embedding)
    found, none, unread = faces.detect([path, empty, broken])
    assert isinstance(found, Detections) and len(found) and len(none) == 0 and isinstance(unread, Unread)
    every, unread = faces.embed_all([path, broken])
    assert len(every.faces) == len(found) and isinstance(unread, Unread)
    faces.close()
    faces.close()


@pytest.mark.weights
def test_one_photograph_in_any_form_has_one_answer_and_many_have_a_list(weights_dir: Path, sample: Path) -> None:
    path = _photographs(sample)[0]
    pixels = read(path)
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir) as faces, Image.open(path) as opened:
        forms = [str(path), path, path.read_bytes(), opened, pixels, np.asfortranarray(pixels)]
        forms += [np.ascontiguousarray(pixels[:, :, ::-1])[:, :, ::-1]]  # as OpenCV reads, turned round
        for ask in (faces.detect, faces.embed, faces.embed_all):
            (expected,) = ask([path])
            for form in forms:
                _require_same(ask(form), expected)
            for several in (tuple(forms), iter(forms)):
                answers = ask(several)
                assert len(answers) == len(forms)
                for answer in answers:
                    _require_same(answer, expected)
        assert faces.distance(path, opened) == faces.distance(pixels, path.read_bytes()) < 1e-9


@pytest.mark.weights
def test_what_is_no_photograph_is_an_error_with_its_place_and_the_repair(weights_dir: Path, sample: Path) -> None:
    path = _photographs(sample)[0]
    pixels = read(path)
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir) as faces:
        for ask in (faces.detect, faces.embed, faces.embed_all):
            with pytest.raises(DataError, match=r"^photograph: is float64 .* from 0 to 0\.\d+, expected uint8 \[H, W"):
                ask(pixels / 255)
            with pytest.raises(DataError, match=r"^photographs\[2\]: is uint8 \[\d+, \d+, 4\]"):
                ask([path, pixels, np.dstack([pixels, pixels[..., :1]])])
        with pytest.raises(DataError, match=r"^second photograph: is of type list, expected a path"):
            faces.verify(path, [path])  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"^gone\.jpg: cannot be opened .*, expected a photograph with a face"):
            faces.verify(path, "gone.jpg")


@pytest.mark.weights
def test_whatever_is_asked_of_closed_models_is_one_error(weights_dir: Path, sample: Path) -> None:
    path = _photographs(sample)[0]
    faces = facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir)
    faces.close()
    for asked in (
        lambda: faces.detect(path),
        lambda: faces.embed([]),
        lambda: faces.embed_all([path]),
        lambda: faces.distance(path, path),
        lambda: faces.verify(path, path),
        lambda: faces.note,
        lambda: faces.pipeline,
        lambda: faces.__enter__(),
    ):
        with pytest.raises(BackendError, match=r"^these models were closed, expected them open\. Try: facepipe.load"):
            asked()


@pytest.mark.weights
def test_crops_are_what_the_embedder_is_given(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    paths = _photographs(sample)[:3]
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir, min_face=40) as faces:
        for cut, every in zip(faces.crops(paths), faces.embed_all(paths), strict=True):
            assert isinstance(cut, PictureCrops) and isinstance(every, PictureFaces) and len(cut.faces) > 0
            _require_same([one.face for one in cut.faces], [one.face for one in every.faces])
            crops = [one.crop for one in cut.faces]
            assert {(crop.dtype, crop.shape) for crop in crops} == {(np.dtype(np.uint8), (160, 160, 3))}
            assert np.array_equal(faces.pipeline.embed(crops), np.stack([one.embedding for one in every.faces]))
        none = faces.crops(np.zeros((80, 80, 3), np.uint8))
        assert isinstance(none, PictureCrops) and (none.faces, none.left_out) == ((), ())
        assert isinstance(faces.crops(tmp_path / "gone.jpg"), Unread)
    aligned = crops[0]
    with facepipe.load(None, "facenet.seeded", weights=weights_dir) as recogniser:
        answer = recogniser.embed(aligned)
        assert isinstance(answer, EmbeddedFace) and np.array_equal(answer.embedding, every.faces[0].embedding)
    with (
        facepipe.load("mtcnn", None, weights=weights_dir) as detector,
        pytest.raises(DataError, match="no embedder was named"),
    ):
        detector.crops(paths)


@pytest.mark.weights
def test_a_gallery_names_the_faces_of_photographs_in_any_form(
    weights_dir: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = album / "people"
    keys = list_keys(people)
    models = facepipe.Models("mtcnn", "facenet.seeded", weights=weights_dir)
    file = tmp_path / "people.gallery"
    made = facepipe.enrol(people, file, models, threshold=0.999)
    keys = keys[::4][:3]
    paths = [people / key for key in keys]
    for key in keys:
        facepipe.recognise(people / key, file, tmp_path / "named", models)
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir) as faces:
        gallery = facepipe.read_gallery(str(file))
        for known in (gallery, file, str(file), made):
            answers = faces.identify([*paths, read(paths[0]), b"", Image.open(paths[1])], known)
            assert [type(one) for one in answers].count(Unread) == 1
            for key, photograph in zip([*keys, keys[0], "", keys[1]], answers, strict=True):
                if isinstance(photograph, NamedPhotograph):
                    told = json.loads((tmp_path / "named" / f"{Path(key).name}.json").read_text())
                    assert [one["label"] for one in told["faces"]] == [
                        None if face.answer is None else face.answer.label for face in photograph.faces
                    ]
                    assert key.partition("/")[0] in {one["label"] for one in told["faces"]}
        one = faces.identify(paths[0], gallery, threshold=1.0)
        assert isinstance(one, NamedPhotograph)
        assert all(face.answer is not None and not face.answer.is_known for face in one.faces)
        built: list[int] = []
        monkeypatch.setattr(facepipe.api, "build_index", lambda rows: built.append(1) or build_index(rows))
        for _ in range(3):
            faces.identify(paths[0], made)
        assert len(built) == 1, "a gallery is indexed once"
        with pytest.raises(DataError, match="gallery: the threshold is 45, expected a cosine from -1 to 1"):
            faces.identify(paths[0], gallery, threshold=45)
        with pytest.raises(DataError, match=r"gallery: it has no threshold.*identify\(thresh"):
            faces.identify(paths[0], dataclasses.replace(gallery, threshold=None))
        with pytest.raises(DataError, match=r"its embeddings are of mobilefacenet\.ms1m, expected facenet"):
            faces.identify(paths[0], dataclasses.replace(gallery, model="mobilefacenet.ms1m"))
    with pytest.raises(BackendError, match="these models were closed"):
        faces.identify(paths[0], gallery)


@pytest.mark.weights
def test_the_options_of_the_commands_are_keywords_and_do_what_they_do_there(
    weights_dir: Path, sample: Path, seeded: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    options = {action.dest for action in parser._actions} - {"help", "devices"}  # one process for each device
    options = {{"select": "selection"}.get(name, name) for name in options}
    assert options == set(inspect.signature(facepipe.load).parameters)
    assert options == {field.name for field in dataclasses.fields(facepipe.Models)}
    photograph, counts = _photographs(sample)[0], []
    for keywords in (
        {"min_face": 200},
        {"least_score": 0.9999},
        {"borders": "stretch"},
        {"size": 200},
        {"size": 0, "min_face": 30},
        {"detector": "ultraface.rfb-320", "least_score": 0.2, "weights": seeded("ultraface.rfb-320")},
    ):
        asked: dict[str, Any] = {"detector": "mtcnn", "weights": weights_dir, **keywords}
        with facepipe.load(embedder=None, **asked) as faces:
            found = faces.detect(photograph)
        words = [w for name, value in asked.items() for w in (f"--{name.replace('_', '-')}", str(value))]
        assert main(["detect", str(photograph), "--json", *words]) == 0
        told = json.loads(capsys.readouterr().out)["faces"]
        assert isinstance(found, Detections) and len(found) == len(told)
        assert [face["score"] for face in told] == pytest.approx(found.scores.tolist(), abs=1e-6)
        assert [face["box"] for face in told] == [pytest.approx(box.tolist(), abs=0.01) for box in found.boxes]
        counts.append(len(found))
    assert counts[:2] == [0, 0] and all(counts[2:])  # a face of fewer pixels, and of a lower score


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"min_face": 11}, "min_face: is 11, expected 12 or more"),
        ({"least_score": 1.0}, "least_score: is 1.0, expected 0 up to, but not including, 1"),
        ({"borders": "black"}, "borders: are 'black', expected pad or stretch"),
        ({"detector": "ultraface.rfb-320", "borders": "pad"}, "borders: pad was asked for, and a detector of one netw"),
        ({"detector": None, "min_face": 20}, "min_face: was given, and there is no detector, expected one"),
        ({"batch": 0}, "batch: is 0, expected 1 or more"),
        ({"threads": 0}, "threads: is 0, expected 1 or more"),
        ({"max_pixels": 0}, "max_pixels: is 0, expected 1 or more"),
        ({"size": -1}, "size: is -1, expected 0 or more"),
    ],
)
def test_an_option_out_of_bounds_is_named(keywords: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        facepipe.load(embedder=None, **keywords)


def test_without_a_name_the_embedder_is_the_first_that_is_converted(
    tmp_path: Path, seeded: Callable[..., Path]
) -> None:
    with pytest.raises(BackendError, match=r"no embedder is converted here, expected one of .* Try: `facepipe"):
        facepipe.load(weights=tmp_path)
    with facepipe.load(weights=seeded("mobilefacenet.ms1m")) as faces:
        assert faces.pipeline.model == "mobilefacenet.ms1m"


def test_a_curve_is_not_cut_by_the_models_options(tmp_path: Path) -> None:
    for asked in ({"least_score": 0.5}, {"min_face": 20}, {"size": 640}, {"borders": "pad"}):
        with pytest.raises(DataError, match=r"run_wider: models name \w+=.*, expected none: .* Try: run_wider\(size"):
            facepipe.run_wider(tmp_path, facepipe.Models("ultraface.rfb-320", **asked))


@pytest.mark.weights
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "native+openvino", "native+onnxruntime"])
def test_six_threads_on_one_object_get_the_bits_that_one_gets(weights_dir: Path, sample: Path, backend: str) -> None:
    if (reason := resolve_backend(backend).why_unavailable()) is not None:
        pytest.skip(reason)
    paths = _photographs(sample)[:3]
    forms = [*paths, *(path.read_bytes() for path in paths), *(read(path) for path in paths)]
    with facepipe.load("mtcnn", "facenet.seeded", weights=weights_dir, backend=backend, min_face=40) as faces:
        expected = faces.embed_all(forms)
        start = threading.Barrier(6)

        def ask(turn: int) -> list[Any]:
            start.wait()
            order = np.random.default_rng(turn).permutation(len(forms))
            return [(place, faces.embed_all(forms[place])) for place in order]

        with ThreadPoolExecutor(6) as threads:
            for done in [threads.submit(ask, turn) for turn in range(6)]:
                for place, answer in done.result():
                    _require_same(answer, expected[place])


def _require_same(answer: Any, expected: Any) -> None:
    """The same bits, field by field."""
    assert type(answer) is type(expected)
    if isinstance(answer, np.ndarray):
        assert np.array_equal(answer, expected)
    elif isinstance(answer, tuple | list):
        assert len(answer) == len(expected)
        for one, other in zip(answer, expected, strict=True):
            _require_same(one, other)
    elif dataclasses.is_dataclass(answer):
        for field in dataclasses.fields(answer):
            _require_same(getattr(answer, field.name), getattr(expected, field.name))
    else:
        assert answer == expected


@pytest.mark.weights
def test_a_detector_without_landmarks_answers_as_the_command_does(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = _photographs(sample)[0], _photographs(sample)[-1]
    pair = ("ultraface.rfb-320", "mobilefacenet.ms1m")
    if not (weights_dir / f"{pair[1]}.simplified.onnx").is_file():
        pytest.skip(f"{pair[1]} is not converted here")
    with pytest.raises(DataError, match=r"ultraface.rfb-320\+onet, or allow_margin_crop=True"):
        facepipe.load(*pair, weights=weights_dir)
    models = facepipe.Models(*pair, weights=weights_dir)
    with pytest.raises(DataError, match="gives no landmarks"):
        facepipe.embed_folder(sample / "images", tmp_path / "run", models)
    with facepipe.load(*pair, weights=weights_dir, allow_margin_crop=True) as faces:
        distance, note = faces.distance(one, other), faces.note
    words = [
        "--detector",
        pair[0],
        "--embedder",
        pair[1],
        "--weights",
        str(weights_dir),
        "--json",
        "--allow-margin-crop",
    ]
    assert main(["verify", str(one), str(other), *words]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["distance"] == pytest.approx(distance, abs=1e-6)
    assert note is not None and note in told.err


@pytest.mark.weights
def test_the_limit_of_pixels_is_the_commands(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph = _photographs(sample)[0]
    shutil.copy(photograph, tmp_path / "a.jpg")
    faces = facepipe.load("mtcnn", None, weights=weights_dir, max_pixels=100)
    (unread,) = faces.detect([photograph])
    assert isinstance(unread, Unread)
    weights = ["--weights", str(weights_dir), "--max-pixels", "100"]
    embeds = ["--embedder", "facenet.seeded"]
    for words in (
        ["detect", str(photograph), *weights],
        ["verify", str(photograph), str(photograph), *weights, *embeds],
        ["recognise", "--det", "--input", str(tmp_path / "a.jpg"), "--output", str(tmp_path / "o"), *weights],
        ["cluster", str(tmp_path), "--out", str(tmp_path / "c"), "--similarity", "0.5", *weights, *embeds],
        ["embed", str(tmp_path), "--out", str(tmp_path / "run"), *weights, *embeds, "--workers", "1"],
    ):
        main(words)
        told = capsys.readouterr()
        assert "at most 100 are read" in told.err + told.out or "1 unread" in told.out, words
    assert json.loads((tmp_path / "run/faces.jsonl").read_text())["unread"] == unread.reason


def test_models_that_were_not_converted_are_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"pnet\.simplified\.onnx: no such model file.*facepipe onnx pnet"):
        facepipe.load("mtcnn", "facenet.seeded", weights=tmp_path)


def test_an_embedder_that_is_not_in_the_catalogue_is_refused() -> None:
    with pytest.raises(DataError, match=r"embedder 'facenet' is not known, expected one of facenet\.vggface2"):
        facepipe.load("mtcnn", "facenet")


@pytest.mark.weights
def test_every_example_of_the_page_runs(
    weights_dir: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 12
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample, tmp_path / "photographs")
    (tmp_path / "weights").symlink_to(weights_dir)
    for name, path in zip(("one.jpg", "other.jpg"), _photographs(sample), strict=False):
        shutil.copy(path, tmp_path / name)
    space: dict[str, object] = {}
    for block in blocks:
        block = re.sub(r"mobilefacenet\.ms1m|facenet\.vggface2", "facenet.seeded", block)
        exec(compile(block, str(PAGE), "exec"), space)
    assert len(space["crops"]) == len(space["embeddings"]) == len(space["found"]) > 0  # type: ignore[arg-type]
    assert isinstance(space["people"], tuple)


def _photographs(sample: Path) -> list[Path]:
    keys = [key for key in list_keys(sample) if key.endswith(".jpg")]
    return [sample / key for key in keys]
