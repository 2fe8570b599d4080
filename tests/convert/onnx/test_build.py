# SPDX-License-Identifier: Apache-2.0
"""What is built without torch is what torch exports: operator for operator, and to the bit in onnxruntime."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from dlib_file import dlib_file  # noqa: E402
from dlib_file import seeded as dlib_numbers  # noqa: E402
from seeded_weights import write_checkpoint  # noqa: E402

from facepipe.assets.workspace import Workspace  # noqa: E402
from facepipe.backends.base import RuntimeOptions, open_session  # noqa: E402
from facepipe.backends.ort import OnnxRuntime  # noqa: E402
from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.cli import main  # noqa: E402
from facepipe.convert.onnx import build as building  # noqa: E402
from facepipe.convert.onnx import models  # noqa: E402
from facepipe.convert.onnx.arrays import read_arrays  # noqa: E402
from facepipe.convert.onnx.build import build_model, numpy_reference, onnx_from_arrays  # noqa: E402
from facepipe.convert.onnx.conversion import convert_model, reference_of  # noqa: E402
from facepipe.convert.onnx.models import convert_models, step_names  # noqa: E402
from facepipe.convert.onnx.passes import PASSES  # noqa: E402
from facepipe.convert.onnx.plain_networks import PLAIN  # noqa: E402
from facepipe.convert.onnx.probe import probes  # noqa: E402
from facepipe.convert.onnx.report import finished  # noqa: E402
from facepipe.errors import ConversionError, WeightsError  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.specs import ModelSpec  # noqa: E402
from facepipe.store.made_from import read_record  # noqa: E402

MTCNN = ("pnet", "rnet", "onet")


def nobody(step: str) -> None:
    """Is told of a step."""


def any_weights(name: str) -> ModelSpec:
    """The record without its digest, which is the published weights' alone."""
    spec = MODELS[name]
    return replace(spec, weights=replace(spec.weights, sha256=None))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Seeded weights of a model, in the form in which its own are published."""
    folder = tmp_path_factory.mktemp("seeded")

    def of(name: str) -> Path:
        path = folder / MODELS[name].weights.file
        if name == "dlib.resnet":
            path.write_bytes(dlib_file(dlib_numbers))
        else:
            state = torch.load(write_checkpoint(name, path), weights_only=True)
            torch.save(state, path, _use_new_zipfile_serialization=False)
        return path

    return of


def operators(path: Path) -> list[object]:
    """Each node's operator and attributes, and where each input comes from: the graph without its names."""
    graph = onnx.load(path).graph
    known = {value.name: value.name for value in graph.input}
    known |= {tensor.name: onnx.numpy_helper.to_array(tensor).tobytes() for tensor in graph.initializer}
    told: list[object] = []
    for number, node in enumerate(graph.node):
        attributes = sorted((one.name, str(onnx.helper.get_attribute_value(one))) for one in node.attribute)
        told.append((node.op_type, attributes, [known[name] for name in node.input]))
        known[node.output[0]] = f"node {number}"
    return [*told, [(value.name, known.get(value.name)) for value in graph.output], str(graph.input), str(graph.output)]


def answers(spec: ModelSpec, path: Path) -> list[np.ndarray]:
    with open_session(OnnxRuntime(RuntimeOptions()), spec, path) as session:
        return [output for probe in probes(spec) for output in session.run(probe)]


@pytest.mark.parametrize("name", [*MTCNN, "dlib.resnet"])
def test_the_built_graph_is_the_exported_one_and_answers_to_the_bit(
    name: str, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    spec, weights = any_weights(name), checkpoints(name)
    exported, built = tmp_path / "exported", tmp_path / "built"
    convert_model(spec, weights, exported)
    build_model(spec, weights, built, on_step=nobody)
    assert operators(spec.final(built)) == operators(spec.final(exported))
    ours, theirs = answers(spec, spec.final(built)), answers(spec, spec.final(exported))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    model = onnx.load(spec.final(built))
    onnx.checker.check_model(model, full_check=True)
    assert [PASSES[one].apply(model) for one in spec.passes] == [0] * len(spec.passes), "no pass is left to make"
    check = ["check", "--soc", "Ascend310P3"]
    assert main([*check, str(spec.final(built))]) == main([*check, str(spec.final(exported))]) == 0


@pytest.mark.weights
@pytest.mark.parametrize("name", MTCNN)
def test_of_the_published_weights_too(name: str, weights_dir: Path, tmp_path: Path) -> None:
    spec = MODELS[name]
    report = build_model(spec, weights_dir / spec.weights.file, tmp_path, on_step=nobody)
    assert operators(spec.final(tmp_path)) == operators(spec.final(weights_dir))
    pairs = zip(answers(spec, spec.final(tmp_path)), answers(spec, spec.final(weights_dir)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert report.steps[0].max_abs_difference < 1e-5


@pytest.mark.parametrize("name", [*MTCNN, "dlib.resnet"])
def test_numpy_computes_what_pytorch_computes(name: str, checkpoints: Callable[[str], Path]) -> None:
    spec, path = MODELS[name], checkpoints(name)
    arrays = read_arrays(path, path.read_bytes())
    network = build(spec.network)
    network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    ours, theirs = numpy_reference(spec, arrays), reference_of(network, spec)
    for a, b in zip(ours.outputs, theirs.outputs, strict=True):
        assert [one.shape for one in a] == [one.shape for one in b]
        for one, other in zip(a, b, strict=True):
            assert np.abs(one - other).max() < 1e-5 * max(1, np.abs(other).max())


def test_the_record_says_that_it_was_built_and_is_current(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    spec, steps = any_weights("rnet"), list[str]()
    report = build_model(spec, checkpoints("rnet"), tmp_path, on_step=steps.append)
    record = read_record(spec.final(tmp_path))
    assert record is not None
    assert steps == [step["step"] for step in record.facts["steps"]] == ["build"]
    assert (record.facts["opset"], record.facts["files"]) == (13, {})
    assert finished(spec, report.weights_sha256, tmp_path) == report
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["owned.jsonl", "rnet.simplified.onnx", "rnet.simplified.onnx.json"]


def test_a_file_that_answers_otherwise_is_not_written(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(spec: ModelSpec, weights: dict[str, np.ndarray], where: str) -> tuple[bytes, int]:
        bias = weights["dense5_1.bias"] + np.float32(1e-3)
        return onnx_from_arrays(spec, weights | {"dense5_1.bias": bias}, where)

    monkeypatch.setattr(building, "onnx_from_arrays", moved)
    with pytest.raises(ConversionError, match=r"rnet: step build: 'face_logits' .* is 0\.001 from NumPy's"):
        build_model(any_weights("rnet"), checkpoints("rnet"), tmp_path / "out", on_step=nobody)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_digest_or_network_are_refused(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"sha256 is \w+, expected a2a71925.* for pnet\. Try: .*facepipe fetch pnet"):
        build_model(MODELS["pnet"], checkpoints("pnet"), tmp_path, on_step=nobody)
    with pytest.raises(ConversionError, match=r"onet: step build: .*rnet\.pt: has no 'conv4\.weight', expected"):
        build_model(any_weights("onet"), checkpoints("rnet"), tmp_path, on_step=nobody)
    with pytest.raises(ConversionError, match=r"pnet: step build: .*rnet\.pt: has no 'conv4_2\.weight', expected"):
        build_model(any_weights("pnet"), checkpoints("rnet"), tmp_path, on_step=nobody)
    arrays = read_arrays(checkpoints("pnet"), checkpoints("pnet").read_bytes())
    with pytest.raises(WeightsError, match=r"x: has 'logits' besides, expected the weights of pnet alone"):
        onnx_from_arrays(MODELS["pnet"], arrays | {"logits": np.ones(1, np.float32)}, "x")
    torch.save({"a": torch.ones(1)}, tmp_path / "today.pt")
    with pytest.raises(WeightsError, match=r"today\.pt: "):
        build_model(any_weights("pnet"), tmp_path / "today.pt", tmp_path, on_step=nobody)


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "has_torch", lambda: False)


@pytest.mark.weights
@pytest.mark.usefixtures("without_torch")
def test_the_command_builds_says_so_in_one_line_and_leaves_what_every_command_takes(
    weights_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in MTCNN:
        (tmp_path / f"{name}.pt").symlink_to(weights_dir / f"{name}.pt")
    assert main(["onnx", "mtcnn", "--weights", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err.count("torch is not installed: pnet, rnet, onet built from their weights without it\n") == 1
    assert [line.split()[:2] for line in told.out.splitlines()[1:]] == [[name, "build"] for name in MTCNN]
    assert main(["onnx", "mtcnn", "--weights", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out.count("up to date") == 3 and "torch" not in told.err
    assert main(["onnx", "--json", "--weights", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["model"]: row["absent"] for row in rows if "absent" in row}["facenet.seeded"] == "torch"
    assert main(["om", *MTCNN, "--dry-run", "--soc", "Ascend310P3", "--weights", str(tmp_path)]) == 0


@pytest.mark.weights
def test_with_torch_it_is_exported_as_ever_and_what_was_built_is_up_to_date(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert step_names(MODELS["pnet"]) == ("export", "match_prelu_slope", "simplify")
    (tmp_path / "pnet.pt").symlink_to(weights_dir / "pnet.pt")
    ws = Workspace(weights=tmp_path, data=tmp_path, mirror=None)
    with monkeypatch.context() as patch:
        patch.setattr(models, "has_torch", lambda: False)
        assert step_names(MODELS["pnet"]) == ("build",)
        (built,) = convert_models(["pnet"], ws)
        assert built.is_built
    (kept,) = convert_models(["pnet"], ws)
    assert kept.kept and not kept.is_built and kept.report == built.report
    (exported,) = convert_models(["pnet"], ws, force=True)
    assert exported.report is not None and not exported.is_built
    assert [step.step for step in exported.report.steps] == ["export", "match_prelu_slope", "simplify"]
    with monkeypatch.context() as patch:
        patch.setattr(models, "has_torch", lambda: False)
        (again,) = convert_models(["pnet"], ws, force=True)
        assert again.is_built


@pytest.mark.usefixtures("without_torch")
def test_only_the_plain_networks_are_built(tmp_path: Path) -> None:
    ws = Workspace(weights=tmp_path, data=tmp_path, mirror=None)
    lacking = {one.spec.name: one.lacks for one in convert_models([], ws)}
    assert lacking["facenet.seeded"] == "torch"
    assert lacking["pnet"] == str(tmp_path / "pnet.pt")
    assert set(PLAIN) == {*MTCNN, "dlib_resnet"}


@pytest.mark.process
def test_neither_torch_nor_onnx_is_imported(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from facepipe.catalogue import MODELS\n"
        "from facepipe.convert.onnx.build import build_model\n"
        "spec = MODELS['rnet']\n"
        "spec = replace(spec, weights=replace(spec.weights, sha256=None))\n"
        f"build_model(spec, Path({str(checkpoints('rnet'))!r}), Path({str(tmp_path)!r}), on_step=print)\n"
        "print(sorted({'torch', 'onnx', 'onnxsim'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout.split("\n") == ["build", "[]", ""], done.stderr
