# SPDX-License-Identifier: Apache-2.0
"""The Tab key, pressed: the shell itself is asked what it would complete."""

from __future__ import annotations

import builtins
import shutil
import subprocess
from pathlib import Path

import pytest

from facepipe.catalogue import DETECTORS
from facepipe.cli import main
from facepipe.cli._main import COMMANDS
from facepipe.terminal.completion import SHELLS

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
of=$(complete -p facepipe | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$of facepipe "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    pytest.importorskip("shtab", reason="writes the scripts")
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture
def completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Completed:
    """Call it with words, the last one begun: what bash would put in its place, in a folder with two entries."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    return Completed(script("bash", capsys), tmp_path)


class Completed:
    """bash with the script, in a folder of its own."""

    def __init__(self, text: str, folder: Path) -> None:
        (folder / "photographs").mkdir()
        (folder / "photograph.jpg").touch()
        self.script, self.folder = folder / ".facepipe.bash", folder
        self.script.write_text(text)

    def __call__(self, *words: str) -> set[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", ASK, "bash", str(self.script), "facepipe", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return set(done.stdout.split())


@pytest.mark.process
def test_bash_completes_commands_options_names_and_files(completed: Completed) -> None:
    assert completed("") == set(COMMANDS)
    assert completed("de") == {"demo", "detect"}
    assert completed("gallery", "ca") == {"calibrate"}
    assert completed("detect", "one.jpg", "--det") == {"--detector"}
    assert completed("detect", "--detector", "") == set(DETECTORS)
    assert completed("gallery", "build", "--select", "prob") == {"probability"}
    assert completed("embed", "photo") == {"photographs"}, "a folder, and no file"
    assert completed("detect", "photo") == {"photographs", "photograph.jpg"}
    assert completed("embed", "photographs", "--weights", "") == {"photographs"}
    assert completed("onnx", "pnet", "rn") == {"rnet"}
    assert completed("fix", "b") >= {"bound_clip"}
    assert completed("completion", "") == set(SHELLS)


@pytest.mark.process
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_its_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert all(word in text for word in (*COMMANDS, "--least-score" if shell != "fish" else "least-score", *DETECTORS))
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here to read its script")
    (tmp_path / "script").write_text(text)
    done = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_shtab_it_is_told_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = builtins.__import__

    def absent(name: str, *rest: object) -> object:
        if name == "shtab":
            raise ModuleNotFoundError("No module named 'shtab'", name="shtab")
        return found(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    assert main(["completion", "bash"]) == 1
    assert "Try: pip install 'facepipe[completion]'." in capsys.readouterr().err
