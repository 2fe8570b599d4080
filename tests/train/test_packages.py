# SPDX-License-Identifier: Apache-2.0
"""Without what training needs a command says so in one line, before any work."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from facepipe.cli import main


@pytest.mark.parametrize("name", ["torch", "onnx", "lmdb"])
def test_a_missing_package_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("facepipe.train.find_spec", lambda asked: None if asked == name else find(asked))
    assert main(["train", "mobilefacenet_small", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert told.strip() == (
        f"facepipe train: train: no module named '{name}', expected it. Try: pip install 'facepipe[train]'."
    )
    assert not (tmp_path / "run").exists()
