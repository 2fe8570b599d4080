# SPDX-License-Identifier: Apache-2.0
"""The whole conversion: what is written, what is refused, what is left alone, and the commands and doors to it."""

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
pytest.importorskip("onnxsim")

from onnx import helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

from facepipe.assets.workspace import MIRROR_VARIABLE  # noqa: E402
from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.cli import main  # noqa: E402
from facepipe.convert.onnx.conversion import apply_pass, convert_model, export_model, reference_of  # noqa: E402
from facepipe.convert.onnx.export import check_interface, check_operators, onnx_from_network  # noqa: E402
from facepipe.convert.onnx.judge import compare  # noqa: E402
from facepipe.convert.onnx.passes import fix_model  # noqa: E402
from facepipe.convert.onnx.probe import probes  # noqa: E402
from facepipe.convert.onnx.report import finished  # noqa: E402
from facepipe.convert.onnx.simplify import simplified, store_constants_as_initializers  # noqa: E402
from facepipe.errors import ConversionError, WeightsError  # noqa: E402
from facepipe.networks import build  # noqa: E402
from facepipe.specs import Dim, ModelSpec, TensorSpec, fixed  # noqa: E402
from facepipe.store.files import sha256_of_file, sidecar_of  # noqa: E402
from facepipe.store.owned import RECORD  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]
# PNet without the published digest: any weights of its shape will do, so that no file is needed.
PNET = replace(MODELS["pnet"], weights=replace(MODELS["pnet"].weights, sha256=None))
CONVERTED = ["pnet", "rnet", "onet", "facenet.seeded", "mobilefacenet.ms1m"]


@pytest.fixture(params=CONVERTED)
def converted(request: pytest.FixtureRequest, weights_dir: Path, seeded: Callable[..., Path]) -> tuple[ModelSpec, Path]:
    """A model and the folder of its conversion; from seeded weights where published ones take more than the index."""
    name = request.param
    return MODELS[name], seeded(name) if name == "mobilefacenet.ms1m" else weights_dir


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights" / "pnet.pt"
    path.parent.mkdir()
    torch.save(build("pnet").state_dict(), path)
    return path


def _files(folder: Path) -> list[str]:
    """All but the record of what was written."""
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def _small_spec(outputs: tuple[TensorSpec, ...]) -> ModelSpec:
    image = TensorSpec("image", (Dim("batch", 1, 8), fixed(3), fixed(4), fixed(4)))
    return replace(PNET, name="small", inputs=(image,), outputs=outputs, passes=())


ROWS = TensorSpec("rows", (Dim("batch", 1, 8), fixed(48)))


# What is written


def test_a_conversion_writes_three_models_and_a_report(checkpoint: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    out = tmp_path / "out"
    report = convert_model(PNET, checkpoint, out, on_step=seen.append)
    assert _files(out) == ["pnet.fixed.onnx", "pnet.onnx", "pnet.simplified.onnx", "pnet.simplified.onnx.json"]
    assert seen == [step.step for step in report.steps] == ["export", "match_prelu_slope", "simplify"]
    assert [step.edits for step in report.steps] == [0, 3, 0]
    assert report.weights_sha256 == sha256_of_file(checkpoint)
    assert report.onnx_sha256 == sha256_of_file(PNET.final(out))
    assert all(step.max_abs_difference <= 1e-5 and step.cosine > 0.99999 for step in report.steps)
    assert finished(PNET, report.weights_sha256, out) == report
    content = json.loads((out / "pnet.simplified.onnx.json").read_text())
    assert content["model"] == "pnet" and content["sha256"] == report.onnx_sha256
    assert content["inputs"] == {"weights": report.weights_sha256}
    assert {"facepipe", "torch", "onnx", "onnxsim", "onnxruntime", "numpy"} <= set(content["versions"])
    assert {"step", "nodes", "max_abs_difference", "cosine"} <= set(content["facts"]["steps"][0])


def test_a_second_conversion_writes_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    digests = [convert_model(PNET, checkpoint, tmp_path / name).onnx_sha256 for name in ("one", "two")]
    assert digests[0] == digests[1]


def test_a_final_model_is_what_the_catalogue_says(converted: tuple[ModelSpec, Path]) -> None:
    spec, folder = converted
    model = onnx.load(spec.final(folder))
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [spec.opset]
    assert model.ir_version <= 8
    assert not {node.op_type for node in model.graph.node} & {"Shape", "Gather", "Expand"}
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == [tensor.name for tensor in spec.outputs]
    for value, tensor in zip(model.graph.output, spec.outputs, strict=True):
        dims = [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        assert dims == [d.low if d.is_fixed else d.name for d in tensor.dims]
    moving = [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim if d.dim_param]
    assert len(set(moving)) == len(moving)


def test_every_step_of_every_model_is_within_the_stated_parity(converted: tuple[ModelSpec, Path]) -> None:
    spec, folder = converted
    report = finished(spec, None, folder)
    assert report is not None
    assert [step.step for step in report.steps] == ["export", *spec.passes, "simplify"]
    assert min(step.cosine for step in report.steps) >= 0.99999
    assert spec.parity_tolerance == 1e-5


def test_constants_of_a_final_model_survive_half_precision(converted: tuple[ModelSpec, Path]) -> None:
    """Bounds and other single numbers; weights are many, and lose what fp16 makes them lose."""
    spec, folder = converted
    for tensor in onnx.load(spec.final(folder)).graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size == 1 and array.dtype == np.float32 and array:
            half = float(np.float16(array.reshape(())))
            assert half != 0, tensor.name
            assert np.isfinite(half), tensor.name


# Probes


def test_probes_cover_batches_and_sizes_that_tell_axes_apart() -> None:
    shapes = [probe.shape for probe in probes(PNET)]
    assert len({shape[0] for shape in shapes}) == 3
    assert all(height != width for _, _, height, width in shapes)
    assert (12, 13) in [shape[2:] for shape in shapes], "the least size is among them"
    for probe, again in zip(probes(PNET), probes(PNET), strict=True):
        np.testing.assert_array_equal(probe, again)
        assert probe.dtype == np.float32
        assert -1 <= probe.min() < -0.9
        assert 0.9 < probe.max() <= 1


def test_a_model_of_one_shape_has_one_probe() -> None:
    image = TensorSpec("image", tuple(fixed(size) for size in (1, 3, 20, 30)))
    assert [probe.shape for probe in probes(replace(PNET, inputs=(image,)))] == [(1, 3, 20, 30)]


# What is refused


def test_a_step_that_moves_the_outputs_fails_by_name_and_writes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    strict = replace(PNET, parity_tolerance=0.0)
    message = (
        r"pnet: step export: 'box_offsets' for the input \[\d, 3, \d+, \d+\] is \S+ from PyTorch's, expected at most 0"
    )
    with pytest.raises(ConversionError, match=message):
        convert_model(strict, checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pass_without_its_operator_fails_by_name_and_writes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    spec = replace(PNET, passes=("match_prelu_slope", "bound_clip"))
    with pytest.raises(ConversionError, match="pnet: step bound_clip: found 0 Clip nodes, expected at least 1"):
        convert_model(spec, checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_conversion_leaves_the_earlier_one_whole(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = convert_model(PNET, checkpoint, out)
    with pytest.raises(ConversionError, match="step export"):
        convert_model(replace(PNET, parity_tolerance=0.0), checkpoint, out)
    assert finished(PNET, report.weights_sha256, out) == report
    assert len(_files(out)) == 4


def test_a_moved_weight_and_exchanged_outputs_are_seen(checkpoint: Path) -> None:
    network = build("pnet")
    model = onnx_from_network(network, PNET)
    reference = reference_of(network.requires_grad_(False), PNET)
    assert compare(model.SerializeToString(), PNET, reference).max_abs_difference <= 1e-5
    bias = next(t for t in model.graph.initializer if t.name == "conv4_1.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1e-3), bias.name))
    with pytest.raises(ConversionError, match=r"'face_logits' for the input .* is 0\.001 from PyTorch's"):
        compare(model.SerializeToString(), PNET, reference)
    first, second = model.graph.output
    model.graph.output[0].name, model.graph.output[1].name = second.name, first.name
    with pytest.raises(ConversionError, match=r"the outputs of the ONNX are face_logits .*, expected box_offsets"):
        check_interface(model, PNET)


def test_an_embedding_of_another_direction_fails_although_its_numbers_are_near() -> None:
    spec = replace(_small_spec((ROWS,)), task="embed", parity_tolerance=1.0)
    network = nn.Flatten(1)
    model = onnx_from_network(network, spec)
    reference = reference_of(network, spec)
    assert compare(model.SerializeToString(), spec, reference).cosine > 0.99999
    turned = replace(reference, outputs=tuple((np.roll(rows[0], 1, axis=1),) for rows in reference.outputs))
    with pytest.raises(ConversionError, match=r"'rows' .* has cosine \S+ with PyTorch's, expected at least 0.99999"):
        compare(model.SerializeToString(), replace(spec, parity_tolerance=10.0), turned)


class Normalised(nn.Module):
    """The usual normalisation, whose Expand needs the batch size."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(image.flatten(1))


def test_a_network_that_reads_its_batch_size_is_refused_after_simplification() -> None:
    spec = _small_spec((ROWS,))
    model = simplified(onnx_from_network(Normalised(), spec))
    with pytest.raises(
        ConversionError, match="small: the final ONNX holds 1 Expand, 1 Shape, expected none of Shape, Gather"
    ):
        check_operators(model, spec)


@pytest.mark.parametrize("opset", [10, 11, 13, 17])
def test_the_usual_normalisations_guard_is_bound_at_every_exporters_form(opset: int) -> None:
    """torch writes clamp_min(1e-12) as a Clip with one bound: in attributes up to opset 10, in inputs after it."""
    spec = replace(_small_spec((ROWS,)), opset=opset, task="embed")
    model = onnx_from_network(Normalised(), spec)
    reference = reference_of(Normalised(), spec)
    assert apply_pass("bound_clip", model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert compare(model.SerializeToString(), spec, reference).cosine > 0.99999
    assert apply_pass("bound_clip", model) == 0


def _change_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def _change_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 10


def _change_name(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "images"


def _change_axis(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "batch"


def _change_channels(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change_opset, "has opset 18, expected 13"),
        (_change_ir, "has IR version 10, expected at most 8"),
        (_change_name, "the inputs of the ONNX are images .*, expected image"),
        (_change_axis, r"\['batch', 3, 'batch', 'width'\], expected image \['batch', 3, 'height', 'width'\]"),
        (
            _change_channels,
            r"the outputs of the ONNX are box_offsets \['batch', 2, .*expected box_offsets \['batch', 4, ",
        ),
    ],
)
def test_what_was_written_is_held_against_the_catalogue(
    change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = onnx_from_network(build("pnet"), PNET)
    change(model)
    with pytest.raises(ConversionError, match=message):
        check_interface(model, PNET)


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_the_exporter_writes_the_opset_that_it_is_asked_for(opset: int) -> None:
    model = onnx_from_network(build("pnet"), replace(PNET, opset=opset))
    assert [entry.version for entry in model.opset_import] == [opset]
    assert model.ir_version <= 8


def test_a_network_that_cannot_be_exported_is_a_conversion_error() -> None:
    class Unknown(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(image.flatten(1).T @ image.flatten(1)).real

    with pytest.raises(ConversionError, match="small: torch cannot export the network"):
        onnx_from_network(Unknown(), _small_spec((ROWS,)))


def test_constants_become_initializers_and_equal_ones_become_one() -> None:
    value = numpy_helper.from_array(np.float32(6))
    nodes = [
        helper.make_node("Constant", [], ["six"], value=value),
        helper.make_node("Constant", [], ["also_six"], value=value),
        helper.make_node("Add", ["image", "six"], ["t"]),
        helper.make_node("Mul", ["t", "also_six"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("image", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", 13)], ir_version=7
    )
    assert store_constants_as_initializers(model) == 2
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Add", "Mul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["six"]
    assert store_constants_as_initializers(model) == 0


# What need not be done again


def test_a_conversion_is_finished_for_the_same_weights_conversion_and_bytes_alone(
    checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert finished(PNET, None, out) is None
    report = convert_model(PNET, checkpoint, out)
    assert finished(PNET, report.weights_sha256, out) == report
    assert finished(PNET, None, out) == report
    assert finished(PNET, "0" * 64, out) is None
    assert finished(replace(PNET, opset=12), report.weights_sha256, out) is None
    assert finished(replace(PNET, passes=()), report.weights_sha256, out) is None
    final = PNET.final(out)
    whole = final.read_bytes()
    final.write_bytes(whole[:-1])
    assert finished(PNET, report.weights_sha256, out) is None
    final.unlink()
    assert finished(PNET, report.weights_sha256, out) is None
    final.write_bytes(whole)
    sidecar_of(PNET.final(out)).write_text('{"model": "pnet"}')
    assert finished(PNET, report.weights_sha256, out) is None
    sidecar_of(PNET.final(out)).write_text("{")
    assert finished(PNET, report.weights_sha256, out) is None


# The commands


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory of its own, without a mirror."""
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _published(name: str, weights_dir: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    target = folder / MODELS[name].weights.file
    target.write_bytes((weights_dir / MODELS[name].weights.file).read_bytes())
    return target


def test_the_command_converts_what_is_there_then_leaves_it_alone(
    weights_dir: Path, no_mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _published("rnet", weights_dir, no_mirror / "weights")
    assert main(["onnx", "rnet"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [
        ["rnet", "export"],
        ["rnet", "match_prelu_slope"],
        ["rnet", "simplify"],
    ]
    assert "up to date" not in out
    final = MODELS["rnet"].final(no_mirror / "weights")
    first = final.stat().st_mtime_ns
    assert main(["onnx", "rnet"]) == 0
    assert "rnet  up to date" in capsys.readouterr().out
    assert final.stat().st_mtime_ns == first
    (no_mirror / "weights" / "rnet.pt").unlink()
    assert main(["onnx", "rnet", "--table", "table.json"]) == 0, "what was converted stays good without its weights"
    assert json.loads((no_mirror / "table.json").read_text())["models"]["rnet"]["opset"] == 13
    _published("rnet", weights_dir, no_mirror / "weights")
    capsys.readouterr()
    assert main(["onnx", "rnet", "--force"]) == 0
    assert "up to date" not in capsys.readouterr().out


def test_a_model_that_was_asked_for_and_is_absent_is_one_error_and_nothing_is_written(
    weights_dir: Path, no_mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _published("pnet", weights_dir, no_mirror / "weights")
    assert main(["onnx", "pnet", "facenet.vggface2"]) == 1
    caught = capsys.readouterr()
    assert caught.err.count("\n") == 1
    assert "20180402-114759-vggface2.pt: no such file" in caught.err
    assert "https://" in caught.err
    assert caught.out == ""
    assert _files(no_mirror / "weights") == ["pnet.pt"]


def test_without_names_what_is_there_is_converted_and_the_rest_is_listed_as_absent(
    weights_dir: Path, no_mirror: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _published("pnet", weights_dir, no_mirror / "weights")
    few = {name: MODELS[name] for name in ("pnet", "rnet", "facenet.casia")}
    monkeypatch.setattr(
        "facepipe.convert.onnx.models.MODELS", few
    )  # the seeded FaceNet would be converted too, for ten seconds
    assert main(["onnx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[-2:]] == [["rnet", "absent"], ["facenet.casia", "absent"]]
    assert "facenet-pytorch==2.5.3" in lines[-2]
    table = json.loads((no_mirror / "weights" / "parity.json").read_text())
    assert list(table["models"]) == ["pnet"]
    assert table["absent"] == ["rnet", "facenet.casia"]


def test_weights_of_another_network_are_one_error_and_nothing_is_written(
    weights_dir: Path, no_mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _published("rnet", weights_dir, no_mirror / "weights").rename(no_mirror / "weights" / "pnet.pt")
    assert main(["onnx", "pnet"]) == 1
    assert "pnet.pt: sha256 is bbb937de" in capsys.readouterr().err
    assert _files(no_mirror / "weights") == ["pnet.pt"]
    with pytest.raises(WeightsError, match="another network than pnet"):
        export_model(MODELS["pnet"], no_mirror / "weights" / "pnet.pt", no_mirror / "p.onnx", any_digest=True)
    assert not (no_mirror / "p.onnx").exists()


def test_an_unknown_model_is_one_error(no_mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["onnx", "pnot"]) == 1
    assert "did you mean 'pnet'?" in capsys.readouterr().err


def test_fix_may_write_over_its_input_and_says_how_many_edits(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.onnx"
    export_model(PNET, checkpoint, path)
    assert main(["fix", "match_prelu_slope", str(path), str(path)]) == 0
    assert main(["fix", "match_prelu_slope", str(path), str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(": ", 1)[1] for line in lines] == [
        "3 edits by match_prelu_slope",
        "0 edits by match_prelu_slope",
    ]


@pytest.mark.parametrize("content", [b"", b"no model at all", None])
def test_fix_refuses_what_is_no_model(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConversionError, match=r"m\.onnx: it is no valid ONNX model"):
        fix_model("bound_clip", path, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_fix_names_file_pass_and_node_that_it_refuses(tmp_path: Path) -> None:
    nodes = [helper.make_node("Abs", ["x"], ["slope"]), helper.make_node("PRelu", ["x", "slope"], ["y"], name="act")]
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", 13)], ir_version=7
    )
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(
        ConversionError, match=r"m\.onnx: pass match_prelu_slope: PRelu 'act': its slope 'slope' is computed"
    ):
        fix_model("match_prelu_slope", tmp_path / "m.onnx", tmp_path / "out.onnx")
    names = "fold_identity, match_prelu_slope, bound_clip"
    with pytest.raises(ConversionError, match=f"pass 'fix_prelu' is not known, expected one of {names}"):
        fix_model("fix_prelu", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


# The vendor's commands


def _door(script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "convert" / script), *arguments]
    return subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)


def test_the_vendors_mtcnn_commands_run_as_its_readme_prints_them(weights_dir: Path, no_mirror: Path) -> None:
    _published("pnet", weights_dir, no_mirror / "weights")
    exported, final = "./weights/PNet_truncated.onnx", "./weights/PNet_truncated_fix.onnx"
    done = _door("MTCNN_pth2onnx.py", "--model", "PNet", "--output_file", exported, cwd=no_mirror)
    assert (done.returncode, done.stderr) == (0, "")
    assert _door("fix_prelu.py", exported, final, cwd=no_mirror).returncode == 0
    model = onnx.load(no_mirror / final)
    slopes = [node.input[1] for node in model.graph.node if node.op_type == "PRelu"]
    assert [list(t.dims) for t in model.graph.initializer if t.name in slopes] == [
        [1, 10, 1, 1],
        [1, 16, 1, 1],
        [1, 32, 1, 1],
    ]
    assert [value.name for value in model.graph.input] == ["image"]


@pytest.mark.slow
def test_the_vendors_facenet_commands_use_the_model_that_they_are_given(no_mirror: Path) -> None:
    torch.manual_seed(0)
    torch.save(build("inception_resnet_v1").state_dict(), no_mirror / "mine.pt")
    out = "weights/Inception_facenet_vggface2_fix.onnx"
    done = _door(
        "FaceNet_pth2onnx.py", "--pretrain", "vggface2", "--model", "mine.pt", "--output_file", out, cwd=no_mirror
    )
    assert done.returncode == 0, done.stderr
    assert "mine.pt: not the published weights of facenet.vggface2" in done.stderr
    assert "0 edits by match_prelu_slope" in _door("fix_prelu.py", out, out, cwd=no_mirror).stdout
    assert "1 edit by bound_clip" in _door("fix_clip.py", out, out, cwd=no_mirror).stdout
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(no_mirror / out).graph.initializer}
    expected = torch.load(no_mirror / "mine.pt", weights_only=True)["last_linear.weight"].numpy()
    assert any(np.array_equal(array, expected.T) for array in stored.values())


def test_a_facenet_command_without_weights_says_where_they_come_from(no_mirror: Path) -> None:
    done = _door("FaceNet_pth2onnx.py", "--model", "gone.pt", "--output_file", "f.onnx", cwd=no_mirror)
    assert done.returncode == 1
    assert "gone.pt: not there; the published weights of facenet.vggface2 are used" in done.stderr
    assert "Try: `facepipe fetch facenet.vggface2`" in done.stderr
    assert _files(no_mirror) == []
