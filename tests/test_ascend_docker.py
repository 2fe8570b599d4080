# SPDX-License-Identifier: Apache-2.0
"""The container's command: every mount that a board wants, once, and the words that are handed on."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def words(tmp_path: Path, *more: str, **variables: str) -> list[str]:
    done = subprocess.run(
        ["bash", str(SCRIPTS / "ascend_docker.sh"), *more],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "DOCKER": "printf %s\\n", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_every_device_and_mount_is_on_the_line(tmp_path: Path) -> None:
    line = words(tmp_path, "lfw", "--run", "a b", DEVICES="0 3")
    devices = [after for word, after in pairwise(line) if word == "--device"]
    assert devices == [
        "/dev/davinci0", "/dev/davinci3", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc",
    ]  # fmt: skip
    mounts = [after for word, after in pairwise(line) if word == "--volume"]
    # GE docs/zh/quick_install.md, each read-only; and the folder that the command works in.
    assert [mount.partition(":")[0] for mount in mounts[:-1]] == [
        "/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver/lib64",
        "/usr/local/Ascend/driver/version.info", "/etc/ascend_install.info",
    ]  # fmt: skip
    assert all(mount.endswith(":ro") for mount in mounts[:-1]) and mounts[-1] == f"{tmp_path}:/work"
    assert line[-4:] == ["facepipe-ascend", "lfw", "--run", "a b"]


def test_the_image_is_named_in_one_place() -> None:
    text = (SCRIPTS / "ascend.Dockerfile").read_text(encoding="utf-8")
    assert "FROM quay.io/ascend/cann:${CANN}" in text and "-c constraints.txt '.[ort]'" in text
