# SPDX-License-Identifier: Apache-2.0
"""`facepipe msame`: msame's options, files, names and lines, over small models that are built here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from facepipe.backends.ascend.bin_folder import OnnxRuntimeFolder, folders, newest_folder, onnx_of
from facepipe.backends.base import RuntimeOptions
from facepipe.cli import main
from facepipe.errors import BackendError

onnx = pytest.importorskip("onnx", reason="the models of these tests are built with onnx")
pytest.importorskip("onnxruntime", reason="msame's stand-in runs on onnxruntime")

F32 = 1  # onnx.TensorProto.FLOAT


def save_model(path: Path, nodes: list[object], inputs: list[tuple], outputs: list[tuple]) -> Path:
    """An ONNX model; inputs and outputs are (name, element type, shape)."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [info(*i) for i in inputs], [info(*o) for o in outputs])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)
    onnx.save(model, path)
    return path


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    """y = x + x and z = -x, over float32 [batch, 3]."""
    node = onnx.helper.make_node
    return save_model(
        tmp_path / "model.v1.onnx",
        [node("Add", ["x", "x"], ["y"]), node("Neg", ["x"], ["z"])],
        [("x", F32, ["batch", 3])],
        [("y", F32, ["batch", 3]), ("z", F32, ["batch", 3])],
    )


def write(path: Path, values: object, dtype: str = "float32") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.asarray(values, dtype).tobytes())
    return path


def only_folder(output: Path) -> Path:
    (folder,) = output.iterdir()
    return folder


def test_a_folder_is_run_file_by_file_in_the_order_of_names_as_text(
    tmp_path: Path, doubler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 1, 2, 10):
        write(tmp_path / f"in/{number}.bin", [[number, 1, 2]] * 2)
    write(tmp_path / "in/.hidden", [1])
    arguments = ["--model", str(doubler), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["msame", *arguments]) == 0
    folder = only_folder(tmp_path / "out")
    year, hour, minute, second, micro = re.fullmatch(r"(\d+)_(\d+)_(\d+)_(\d+)_(\d+)", folder.name).groups()
    assert all(str(int(part)) == part for part in (year, hour, minute, second, micro)), "no number is filled"
    assert {path.name for path in folder.iterdir()} == {f"{n}_output_{i}.bin" for n in (0, 1, 2, 10) for i in (0, 1)}
    back = np.fromfile(folder / "10_output_0.bin", np.float32).reshape(2, 3)
    assert np.array_equal(back, [[20, 2, 4]] * 2)
    lines = capsys.readouterr().out.splitlines()
    started = [line.rpartition("/")[2] for line in lines if line.startswith("[INFO] start to process file:")]
    assert started == ["0.bin", "1.bin", "10.bin", "2.bin"]
    assert str(folder) in lines and lines[-1] == "[INFO] Execute sample success"
    assert sum(bool(re.fullmatch(r"Inference time: [\d.e+-]+ms", line)) for line in lines) == 4
    assert sum(bool(re.fullmatch(r"Inference average time : \d+\.\d\d ms", line)) for line in lines) == 1
    assert sum(line.startswith("Inference average time without first time: ") for line in lines) == 1


def test_a_single_file_is_run_in_a_loop_and_named_after_the_model(
    tmp_path: Path, doubler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "a.bin", [[1, 2, 3]])
    assert main(["msame", f"--mod={doubler}", f"--in={file}", f"--output={tmp_path / 'out'}", "--lo=3"]) == 0
    assert {path.name for path in only_folder(tmp_path / "out").iterdir()} == {
        "model.v1_output_0.bin",
        "model.v1_output_1.bin",
    }
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("Inference time: ") for line in lines) == 3
    assert any(re.fullmatch(r"Inference average time: \d+\.\d{6} ms", line) for line in lines)


def test_no_input_means_zeros(tmp_path: Path, doubler: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["msame", "--model", str(doubler), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "'x' is float32 [?, 3], and no input says how large" in capsys.readouterr().err
    assert main([*arguments, "--dymBatch", "4"]) == 0
    made = [path for folder in (tmp_path / "out").iterdir() for path in folder.glob("*_output_0.bin")]
    assert [path.stat().st_size for path in made] == [4 * 3 * 4]


def test_text_has_six_digits_a_line_feed_after_a_hundred_and_an_empty_line_between_rows(tmp_path: Path) -> None:
    model = save_model(
        tmp_path / "m.onnx",
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        [("x", F32, ["n", 120])],
        [("y", F32, ["n", 120])],
    )
    values = np.linspace(-1, 1, 240, dtype=np.float32).reshape(2, 120) * 1e-5
    file = write(tmp_path / "in/7.bin", values)
    arguments = ["--model", str(model), "--input", str(file.parent), "--output", str(tmp_path / "out")]
    assert main(["msame", *arguments, "--outfmt", "TXT"]) == 0
    text = (only_folder(tmp_path / "out") / "7_output_0.txt").read_text()
    rows = text.split("\n\n")
    assert [len(row.split()) for row in rows] == [120, 120]
    assert [len(line.split()) for line in rows[0].splitlines()] == [100, 20]
    assert text.startswith("-1e-05 ") and not text.endswith("\n")
    assert np.allclose(np.array(text.split(), np.float32).reshape(2, 120), values, rtol=1e-5)


def test_a_file_of_the_wrong_length_is_refused_with_both_lengths(
    tmp_path: Path, doubler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in/0.bin", [[1, 2, 3]])
    write(tmp_path / "in/1.bin", [1, 2])
    arguments = ["--model", str(doubler), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["msame", *arguments]) == 1
    captured = capsys.readouterr()
    assert "1.bin: 8 bytes, expected a multiple of 12 for 'x' float32 [?, 3]" in captured.err
    assert "Execute sample success" not in captured.out
    assert main(["msame", *arguments, "--dymBatch", "2"]) == 1
    assert "0.bin: 12 bytes, expected 24 for 'x' float32 [2, 3]" in capsys.readouterr().err


def test_several_inputs_come_from_folders_with_the_same_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(
        tmp_path / "m.onnx",
        [onnx.helper.make_node("Sub", ["a", "b"], ["y"])],
        [("a", F32, [1, 2]), ("b", F32, [1, 2])],
        [("y", F32, [1, 2])],
    )
    write(tmp_path / "a/0.bin", [5, 7])
    write(tmp_path / "b/0.bin", [1, 2])
    out = tmp_path / "out"
    arguments = ["msame", "--model", str(model), "--output", str(out), "--input"]
    assert main([*arguments, f"{tmp_path / 'a'},{tmp_path / 'b'}"]) == 0
    assert np.fromfile(only_folder(out) / "0_output_0.bin", np.float32).tolist() == [4, 5]
    assert main([*arguments, str(tmp_path / "a")]) == 1
    assert "1 inputs are given, expected 2 (a, b)" in capsys.readouterr().err
    write(tmp_path / "b/1.bin", [1, 2])
    assert main([*arguments, f"{tmp_path / 'a'},{tmp_path / 'b'}"]) == 1
    assert "differs from" in capsys.readouterr().err


def test_shapes_come_from_dymHW_dymDims_and_dymShape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_model(
        tmp_path / "m.onnx",
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        [("x", F32, ["n", 1, "h", "w"])],
        [("y", F32, ["n", 1, "h", "w"])],
    )
    file = write(tmp_path / "a.bin", np.arange(12))
    arguments = ["msame", "--model", str(model), "--input", str(file), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "its length settles one axis only" in capsys.readouterr().err
    assert main([*arguments, "--dymHW", "2,3"]) == 0
    assert main([*arguments, "--dymDims", "x:2,1,3,2"]) == 0
    assert main([*arguments, "--dymShape=x:1,1,4,3", "--outputSize", "48", "--debug", "true"]) == 0
    assert "model input[0]: x float32 [?, 1, ?, ?]" in capsys.readouterr().out
    assert main([*arguments, "--dymShape", "x:1,2,2,3"]) == 1
    assert "is asked for" in capsys.readouterr().err
    assert main([*arguments, "--dymHW", "2,3", "--outputSize", "47"]) == 1
    assert "takes 48 bytes, and --outputSize leaves 47" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--loop", "0"],
        ["--loop", "101"],
        ["--device", "256"],
        ["--outfmt", "NPY"],
        ["--dymBatch", "2", "--dymHW", "2,3"],
        ["--dymHW", "2"],
        ["--dymShape", "1,2"],
        ["--d", "1"],
        ["--unknown", "1"],
    ],
)
def test_a_wrong_option_has_status_two(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["msame", "--model", "m.onnx", "--output", str(tmp_path / "out"), *arguments])
    assert stopped.value.code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "absent.onnx"], "absent.onnx: no such model file"),
        (["--model", "x_bs4.om"], "x_bs4.om: onnxruntime runs no .om, and none of x_fix.onnx"),
        (["--model", "empty.onnx"], "empty.onnx: onnxruntime cannot load it"),
        (["--model", "model.v1.onnx", "--input", "absent"], "absent: no such file or folder"),
        (["--model", "model.v1.onnx", "--input", "nothing"], "nothing: holds no file"),
        (["--model", "model.v1.onnx", "--dump", "true"], "--dump true"),
    ],
)
def test_what_the_user_can_repair_has_status_one_and_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    doubler: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert main(["msame", "--output", "out", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists(), "nothing half-written is left"


@pytest.mark.parametrize(
    ("compiled", "onnx_name", "batch"),
    [
        ("facenet.vggface2.bs16.Ascend310.om", "facenet.vggface2.simplified.onnx", 16),
        ("pnet.Ascend310P3.om", "pnet.simplified.onnx", None),
        ("facenet.vggface2.bs16.Ascend910B4-1.om", "facenet.vggface2.simplified.onnx", 16),
        ("Inception_facenet_vggface2_bs1.om", "Inception_facenet_vggface2_fix.onnx", 1),
        ("PNet_dynamic.om", "PNet_truncated_fix.onnx", None),
        ("other.om", "other.onnx", None),
    ],
)
def test_an_om_stands_for_the_onnx_file_it_was_compiled_from(
    tmp_path: Path, compiled: str, onnx_name: str, batch: int | None
) -> None:
    (tmp_path / onnx_name).touch()
    assert onnx_of(tmp_path / compiled) == (tmp_path / onnx_name, batch)


def test_the_batch_in_an_oms_name_is_held_against_the_files(
    tmp_path: Path, doubler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    doubler.rename(tmp_path / "net_fix.onnx")
    file = write(tmp_path / "a.bin", [[1, 2, 3]] * 4)
    arguments = ["msame", "--input", str(file), "--output", str(tmp_path / "out"), "--model"]
    assert main([*arguments, str(tmp_path / "net_bs4.om")]) == 0
    assert "net_fix.onnx runs instead" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "net_bs16.om")]) == 1
    assert "a.bin: 48 bytes, expected 192" in capsys.readouterr().err


def test_another_dtype_is_read_and_written_as_the_model_declares_it(tmp_path: Path) -> None:
    model = save_model(
        tmp_path / "m.onnx",
        [onnx.helper.make_node("Cast", ["x"], ["y"], to=10)],
        [("x", 2, [1, 3])],
        [("y", 10, [1, 3])],
    )
    file = write(tmp_path / "a.bin", [1, 2, 255], "uint8")
    assert main(["msame", "--model", str(model), "--input", str(file), "--output", str(tmp_path / "out")]) == 0
    back = np.fromfile(only_folder(tmp_path / "out") / "m_output_0.bin", np.float16)
    assert back.tolist() == [1, 2, 255]


def test_a_folder_runner_returns_the_folder_it_made(tmp_path: Path, doubler: Path) -> None:
    write(tmp_path / "in/000000.bin", [[1, 2, 3]])
    out = tmp_path / "out"
    before = folders(out)
    made = OnnxRuntimeFolder(RuntimeOptions()).run_folder(doubler, tmp_path / "in", out, lambda _: None)
    assert newest_folder(out, before) == made
    with pytest.raises(BackendError, match="0 new folders"):
        newest_folder(out, folders(out))
