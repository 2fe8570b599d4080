# SPDX-License-Identifier: Apache-2.0
"""`facepipe models` and `facepipe backends`: what is known, and what can run here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from facepipe.backends import FASTEST_FIRST, backend_names
from facepipe.catalogue import DETECTORS, MODELS
from facepipe.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEPIPE_ASSETS", raising=False)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_the_list_says_of_every_model_where_its_weights_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "onet.pt").write_bytes(b"")
    lines = printed(capsys, "models", "--weights", tmp_path).splitlines()
    rows = {line.split()[0]: line for line in lines[1 : 1 + len(MODELS)]}
    assert list(rows) == list(MODELS)
    assert rows["onet"].endswith(str(tmp_path / "onet.pt"))
    assert rows["facenet.vggface2"].endswith("absent")
    assert rows["facenet.seeded"].endswith("none needed")
    assert f"detector mtcnn: {', '.join(DETECTORS['mtcnn'])}" in lines


@pytest.mark.parametrize("name", MODELS)
def test_a_data_sheet_holds_everything_that_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spec, sheet = MODELS[name], printed(capsys, "models", name, "--weights", tmp_path)
    expected = [name, *(tensor.name for tensor in spec.outputs), spec.pixels.order, *spec.passes, f"{spec.opset}"]
    expected += [spec.weights.licence, str(spec.weights.origin), spec.weights.sha256 or "not published"]
    expected += [spec.thresholds.source] if spec.thresholds else []
    assert [part for part in expected if part not in sheet] == []
    assert ("means nothing" in sheet) is not spec.for_accuracy


def test_a_data_sheet_reads_like_this(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "models", "pnet", "--weights", tmp_path).splitlines()
    assert lines[:5] == [
        "model       pnet (detect, network pnet)",
        "input       image float32 [1~4096, 3, 12~65536, 12~65536]",
        "outputs     box_offsets float32 [1~4096, 4, 1~65536, 1~65536]",
        "            face_logits float32 [1~4096, 2, 1~65536, 1~65536]",
        "pixels      RGB, (x - (127.5, 127.5, 127.5)) / (128, 128, 128)",
    ]


def test_the_catalogue_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [json.loads(line) for line in printed(capsys, "models", "--json", "--weights", tmp_path).splitlines()]
    assert [model["name"] for model in models] == list(MODELS)
    assert models[0]["found"] is None


def test_a_wrong_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pnett"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("facepipe models: model 'pnett' is not in the catalogue, expected one of pnet, ")
    assert "did you mean 'pnet'?" in err


def test_every_back_end_is_listed_with_a_version_or_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "backends").splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert [name for name in backend_names() if name not in rows] == []
    for name in backend_names():
        assert any(f" {word}: " in rows[name] for word in ("available", "unavailable"))
    pytest.importorskip("onnxruntime")
    assert "available: version " in rows["onnxruntime"]


def test_back_ends_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    *rows, kernels = [json.loads(line) for line in printed(capsys, "backends", "--json").splitlines()]
    assert [row["backend"] for row in rows] == list(backend_names())
    assert kernels["kernels"] == "compiled"
    assert all(row["note"] for row in (*rows, kernels))
    assert sum(row["auto"] for row in rows) == any(row["available"] for row in rows if row["backend"] in FASTEST_FIRST)


@pytest.mark.process
def test_a_missing_library_is_a_reason_and_no_failure(tmp_path: Path) -> None:
    """In an interpreter that sees no onnxruntime and no numba, both are said to be unavailable, and how to get them."""
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name in ('onnxruntime', 'numba') else find(name, *a)\n"
        "from facepipe.cli import main\n"
        "sys.exit(main(['backends']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert "unavailable: no module named 'onnxruntime'" in rows["onnxruntime"]
    assert "unavailable: " in rows["compiled"]
    assert "pip install 'facepipe[fast]'" in rows["compiled"]


def test_the_page_beside_the_weights_holds_what_the_catalogue_holds() -> None:
    rows = (REPOSITORY / "weights" / "README.md").read_text(encoding="utf-8").splitlines()
    for name, spec in MODELS.items():
        row = next((line for line in rows if line.startswith(f"| `{name}` |")), None)
        assert row is not None, f"weights/README.md has no row for {name}"
        assert spec.weights.licence in row
        assert spec.weights.sha256 is None or f"`{spec.weights.sha256}`" in row
