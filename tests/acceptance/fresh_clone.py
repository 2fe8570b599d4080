# SPDX-License-Identifier: Apache-2.0
"""A clone on a machine that reaches nothing but the package index."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checks import REPOSITORY, Check, Measured, call, read, seconds


@contextmanager
def clone() -> Iterator[Path]:
    """A clone of the present commit in a folder with nothing beside it; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="facepipe-accept-"))
    try:
        call(["git", "clone", "--quiet", str(REPOSITORY), str(folder / "facepipe")], log="clone", folder=folder)
        yield folder / "facepipe"
    finally:
        shutil.rmtree(folder)


def environment() -> dict[str, str]:
    """Without a mirror, and with everything but the package index closed where a proxy variable can close it."""
    return {name: value for name, value in os.environ.items() if name != "FACEPIPE_ASSETS"}


def demo() -> Measured:
    with clone() as folder:
        installing = seconds(
            lambda: call(["make", ".venv/installed"], log="clone-install", folder=folder, environment=environment())
        )
        said: list[str] = []
        running = seconds(
            lambda: said.append(call(["make", "demo"], log="clone-demo", folder=folder, environment=environment()))
        )
        accuracies = [read(path)["accuracy"]["mean"] for path in sorted(folder.glob("runs/**/accuracy.json"))]
        pictures = sorted(path.relative_to(folder).as_posix() for path in folder.glob("runs/*/*.png"))
        lines = [line for line in said[0].splitlines() if line.strip()]
        dirty = call(["git", "status", "--porcelain"], log="clone-status", folder=folder)
    told = next((line for line in lines if "pairs told right" in line), "")
    value = {
        "seconds": round(running, 1),
        "install_seconds": round(installing, 1),
        "accuracy": accuracies,
        "pictures": pictures,
        "real_photographs": told,
        "first_line": lines[0],
        "last_line": lines[-1],
        "untracked": dirty.split(),
    }
    warned = all("nothing about" in line for line in (lines[0], lines[-1]))
    right = running < 180 and bool(accuracies) and bool(pictures) and warned and not dirty.strip()
    right = right and told.startswith("15 of 15 pairs")
    return Measured(value, right, f"{running:.0f} s after {installing:.0f} s of installing")


def test() -> Measured:
    with clone() as folder:
        spent = seconds(lambda: call(["make", "test"], log="clone-test", folder=folder, environment=environment()))
    return Measured(round(spent), spent < 1200, "seconds, with installing and converting")


def named() -> Measured:
    """What the README says of a machine without torch, from an address of git, in an empty folder."""
    with clone() as folder:
        empty = folder.parent / "empty"
        empty.mkdir()
        home = environment() | {"FACEPIPE_HOME": str(empty)}
        program, portraits = empty / "venv" / "bin", empty / "data" / "portraits"

        def tell(*words: str | Path) -> str:
            return call([str(program / "facepipe"), *map(str, words)], log="wheel", folder=empty, environment=home)

        def install() -> None:
            call([sys.executable, "-m", "venv", str(empty / "venv")], log="wheel-venv", folder=empty)
            # With a host: pip 23.2 takes no address without one.
            address = f"facepipe[ort] @ git+file://localhost{folder}"
            call([str(program / "python"), "-m", "pip", "install", address], log="wheel-pip", folder=empty)

        installing = seconds(install)
        packages = call([str(program / "python"), "-m", "pip", "list"], log="wheel-list", folder=empty)
        table: list[str] = []

        def fetch() -> None:
            tell("fetch", "mtcnn", "dlib.resnet", "portraits")
            table.extend(tell("onnx", "mtcnn", "dlib.resnet").splitlines())

        fetching = seconds(fetch)
        for key in ("Barack_Obama/obama.jpg", "Joseph_Biden/biden.jpg"):  # one of each; the others are to be named
            (empty / "people" / key).parent.mkdir(parents=True)
            shutil.copy(portraits / key, empty / "people" / key)
        tell("gallery", "build", "people", "--out", "people.gallery")
        tell("recognise", "--index", "people.gallery", "--input", portraits, "--output", "named")
        names = {
            path.relative_to(empty / "named").as_posix(): [face["label"] for face in read(path)["faces"]]
            for path in sorted((empty / "named").rglob("*.jpg.json"))
        }
    built = sum(" build " in line for line in table)
    right = "torch" not in packages and "onnx " not in packages and built == 4 and len(names) == 6
    right = right and all({*found} - {None} == {name.partition("/")[0]} for name, found in names.items())
    value = {"install_seconds": round(installing, 1), "ready_seconds": round(fetching, 1), "named": names}
    return Measured(value, right, f"{installing:.0f} s of installing, {fetching:.0f} s to models that are ready")


CHECKS = (
    Check(
        "wheel_named",
        "from pip install, of a git address, to names on faces without torch",
        "no torch and no onnx among the packages, four models built, six photographs of two people named right",
        named,
    ),
    Check(
        "clone_demo",
        "make demo in a fresh clone, without a mirror",
        "status 0, under 180 s, all pairs of the real photographs right, pictures, accuracy",
        demo,
    ),
    Check("clone_test", "make test in a fresh clone, without a mirror", "status 0, under 1,200 s", test),
)
