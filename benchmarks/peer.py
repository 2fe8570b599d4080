# SPDX-License-Identifier: Apache-2.0
"""facenet-pytorch in an environment of its own, made once from the package index and kept."""

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
STAMP = "facepipe-peer.txt"


def peer_python(folder: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of the peer's environment in `folder`, which is made when it is not there or of other versions.

    Args:
        folder: the environment's.
        say: told before anything is downloaded, and when it is done.

    Raises:
        AssetError: pip cannot install it.
    """
    wanted = "\n".join((*PAIR, *REST, LIBRARY)) + "\n"
    stamp, python = folder / STAMP, folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(
        f"{folder}: installing facenet-pytorch to compare with. About 6 GB on Linux, where torchvision wants the CUDA "
        f"build of torch; it is kept for the next time."
    )
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([*pip, *PAIR, *REST])
    _run([*pip, "--no-deps", LIBRARY])  # its own pins exclude every torch that works with a present-day Python
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
