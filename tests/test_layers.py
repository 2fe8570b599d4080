# SPDX-License-Identifier: Apache-2.0
"""Imports point left only, and a third-party library is imported only where the table says."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facepipe.cli._main import COMMANDS

SRC = Path(__file__).resolve().parents[1] / "src" / "facepipe"
FILES = sorted(SRC.rglob("*.py"))

# Left to right; a module imports its own package and layers further left. `store.files` serves every layer that
# writes, so it stands before them.
LAYERS = (
    ("facepipe", "errors", "escape"),
    ("specs", "results"),
    ("geometry", "catalogue", "metrics"),
    ("store",),
    ("backends", "networks", "datasets", "assets"),
    ("detect", "embed", "convert"),
    ("faces",),
    ("engine",),
    ("runs",),
    ("reports",),
    ("gallery",),
    ("train",),
    ("api",),
    ("terminal",),
    ("compat",),
    ("cli",),
    ("__main__",),
)
RANK = {layer: rank for rank, layers in enumerate(LAYERS) for layer in layers}

# Library to the packages or files of facepipe that may import it.
ALLOWED = {
    "torch": {"networks", "convert", "train"},
    "lmdb": {"train/data/packed.py"},
    "cv2": {"train/detection/opencv.py"},
    "onnx": {"convert", "backends/native/chain.py"},
    "llvmlite": {f"backends/native/{name}.py" for name in ("emit", "compile")},
    "onnxsim": {"convert"},
    "onnxruntime": {"backends", "convert"},
    "openvino": {"backends"},
    "nncf": {"convert"},
    "acl": {"backends"},
    "numba": {"geometry"},
    "PIL": {"datasets", "geometry/align.py", "geometry/fit.py", "reports"},
    "skimage": {"datasets"},
    "matplotlib": {"reports"},
    "faiss": {"gallery"},
    "av": {"datasets"},
    "pillow_heif": {"datasets/heif.py"},
    "scipy": {"datasets", "metrics"},
    "tqdm": {"cli", "compat", "terminal"},
    "shtab": {"terminal/completion.py"},
    "argparse": {"cli", "compat", "terminal"},
    "tomli": {"catalogue/imported.py", "train/recipe.py"},
    "platformdirs": {"assets/workspace.py"},
    "subprocess": {"assets", "backends", "convert"},
    "urllib": {"assets"},
    "socket": {"assets"},
    "numpy": {layer for layers in LAYERS for layer in layers} - {"facepipe", "errors", "escape", "cli", "__main__"},
    "onnxscript": set(),
    "facenet_pytorch": set(),
    "torchvision": set(),
    # For the class of its error; and to write two published forms. Nothing is read with it.
    "pickle": {
        "convert/onnx/checkpoint.py",
        "train/state.py",
        "datasets/verification_bin.py",
        "datasets/image_records.py",
    },
    "requests": set(),
}
# One room composes detection, selection, alignment and embedding; everybody else asks it.
COMPOSED = ("facepipe.faces.select", "facepipe.geometry.align")
COMMAND_MODULES = {module for module, _ in COMMANDS.values()}
# These are slow to import, or absent from a machine that only infers: never at the top of a file outside these.
HEAVY_AT_TOP = {"torch": {"networks", "convert", "train"}, "onnx": {"convert"}, "llvmlite": ALLOWED["llvmlite"]}
HEAVY = (
    "torch",
    "onnx",
    "onnxsim",
    "onnxruntime",
    "openvino",
    "nncf",
    "acl",
    "numba",
    "llvmlite",
    "skimage",
    "matplotlib",
    "faiss",
    "cv2",
)


def layer_of(path: Path) -> str:
    """The layer that a file of the package belongs to."""
    first = path.relative_to(SRC).parts[0]
    return "facepipe" if first == "__init__.py" else first.removesuffix(".py")


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Every module that the code imports, wherever the import stands; relative imports as "."."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "."
            elif node.module == "facepipe":  # `from facepipe import geometry` names a layer too
                yield from (f"facepipe.{alias.name}" if alias.name in RANK else "facepipe" for alias in node.names)
            else:
                yield node.module or ""


def complaints(path: Path, source: str) -> list[str]:
    """What the imports of `source`, were it the file `path`, do that the house forbids."""
    here, place, found = layer_of(path), path.relative_to(SRC).as_posix(), []
    if here not in RANK:
        return [f"{place}: '{here}' is no layer; add it to LAYERS where it belongs"]
    tree = ast.parse(source)
    for name in imported_names(tree):
        top = name.partition(".")[0]
        if name == ".":
            found.append(f"{place}: a relative import; imports are written from facepipe on")
        elif top == "facepipe":
            layer = name.split(".")[1] if "." in name else "facepipe"
            if here == "facepipe":  # the public names, loaded when they are first used
                continue
            if name in COMPOSED and here not in ("faces", "geometry"):
                found.append(f"{place}: {here} may not import {name}; only faces chooses and aligns")
            if here == "cli" and name in COMMAND_MODULES and place != "cli/_main.py":
                found.append(f"{place}: a command may not import the command {name}")
            if layer != here and RANK.get(layer, len(LAYERS)) >= RANK[here]:
                found.append(f"{place}: {here} may not import {name}")
        elif top in ALLOWED and not {here, place} & ALLOWED[top]:
            found.append(f"{place}: {here} may not import {top}; only {sorted(ALLOWED[top])} may")
        elif top not in ALLOWED and top not in sys.stdlib_module_names:
            found.append(f"{place}: {top} is in no row of ALLOWED")
    for name in (name for node in tree.body for name in imported_names(node) if _at_top(node)):
        top = name.partition(".")[0]
        if top in HEAVY and not {here, place} & HEAVY_AT_TOP.get(top, set()):
            found.append(f"{place}: {top} at the top of the file; import it where it is used")
    if here not in ("cli", "compat", "terminal"):
        found += [f"{place}: {call} outside cli" for call in _console_calls(tree)]
    return found


def _at_top(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _console_calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in ("print", "sys.exit", "exit", "input"):
            yield name


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name != "__main__.py"], ids=lambda path: path.relative_to(SRC).as_posix()
)
def test_a_file_imports_only_what_its_layer_may(path: Path) -> None:
    """But the entry point, which leaves with sys.exit, as it should."""
    # The entry point leaves with sys.exit, as it should.
    expected = ["__main__.py: sys.exit outside cli"] if path == SRC / "__main__.py" else []
    assert complaints(path, path.read_text(encoding="utf-8")) == expected


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("convert/new.py", "import acl", "convert may not import acl; only ['backends'] may"),
        (
            "geometry/new.py",
            "def f():\n    from facepipe.detect import mtcnn",
            "geometry may not import facepipe.detect",
        ),
        ("detect/new.py", "from facepipe.embed import open_embedder", "detect may not import facepipe.embed"),
        ("catalogue/new.py", "from facepipe import convert", "catalogue may not import facepipe.convert"),
        ("runs/new.py", "def f():\n    import facenet_pytorch", "may not import facenet_pytorch; only [] may"),
        ("backends/new.py", "import onnxruntime", "onnxruntime at the top of the file"),
        ("detect/new.py", "import cv2", "detect may not import cv2; only ['train/detection/opencv.py'] may"),
        ("detect/new.py", "import imutils", "imutils is in no row of ALLOWED"),
        ("detect/new.py", "from . import select", "a relative import"),
        ("embed/new.py", "print(1)", "print outside cli"),
        ("helpers/new.py", "", "'helpers' is no layer"),
        ("runs/new.py", "from facepipe.geometry.align import align", "only faces chooses and aligns"),
        ("cli/new.py", "from facepipe.faces.select import choose", "only faces chooses and aligns"),
        ("cli/new.py", "from facepipe.cli.lfw import run", "may not import the command facepipe.cli.lfw"),
        ("cli/new.py", "import numpy as np", "cli may not import numpy"),
        ("runs/new.py", "from tqdm import tqdm", "runs may not import tqdm"),
    ],
)
def test_the_rules_catch_a_planted_fault(file: str, source: str, expected: str) -> None:
    assert expected in "\n".join(complaints(SRC / file, source))


@pytest.mark.process
def test_the_command_table_and_every_command_load_without_a_heavy_library() -> None:
    code = (
        "import importlib, sys\n"
        "from facepipe.cli._main import COMMANDS\n"
        "for module, _ in COMMANDS.values():\n"
        "    importlib.import_module(module)\n"
        f"print(*sorted(set(sys.modules) & set({HEAVY!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
