# SPDX-License-Identifier: Apache-2.0
"""facenet-pytorch and dlib, each in an environment of its own, made once from the package index and kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from facepipe.errors import AssetError

# torchvision's compiled operators fit exactly one torch, so the two are pinned as a pair, apart from facepipe's torch.
PAIR = ("torch==2.14.1", "torchvision==0.29.1")
REST = ("numpy>=2", "pillow>=10", "tqdm", "requests")
LIBRARY = "facenet-pytorch==2.5.3"
DLIB = ("numpy>=2", "dlib-bin==20.0.1.post1")
STAMP = "facepipe-peer.txt"


def peer_python(folder: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of the peer's environment in `folder`, which is made when it is not there or of other versions.

    Args:
        folder: the environment's.
        say: told before anything is downloaded, and when it is done.

    Raises:
        AssetError: pip cannot install it.
    """
    about = (
        "facenet-pytorch to compare with. About 6 GB on Linux, where torchvision wants the CUDA build of torch; it is "
        "kept for the next time."
    )
    # The library's own pins exclude every torch that works with a present-day Python.
    return _environment(folder, ((*PAIR, *REST), ("--no-deps", LIBRARY)), about, say)


def dlib_python(folder: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of dlib's environment in `folder`; arguments and errors as `peer_python`'s."""
    return _environment(folder, (DLIB,), "dlib to compare with, some 30 MB", say)


def _environment(folder: Path, installs: tuple[tuple[str, ...], ...], about: str, say: Callable[[str], None]) -> Path:
    wanted = "".join(f"{word}\n" for words in installs for word in words if not word.startswith("--"))
    stamp, python = folder / STAMP, folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(f"{folder}: installing {about}")
    _run([sys.executable, "-m", "venv", str(folder)])
    for words in installs:
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words])
    stamp.write_text(wanted, encoding="utf-8")
    say(f"{folder}: installed")
    return python


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        said = [line.strip() for line in error.stderr.splitlines() if "ERROR" in line] or ["no reason was given"]
        raise AssetError(
            f"bench: `{' '.join(command)}` ended with status {error.returncode} ({said[-1]}).",
            "`python -m benchmarks --no-peer` measures without the comparison.",
        ) from error
