# SPDX-License-Identifier: Apache-2.0
"""The user's files are the user's: whatever lies where a command writes is there afterwards, byte for byte.

Every command runs in a folder of its own, into which hypothesis puts files, links and folders: under names that the
command itself uses, under names that look like facepipe's, and under others. It may do its work or refuse; it may touch
none of them, nor what a link leads to. That is tried in an empty folder, in one that the command has filled before
(where a planted file takes the place of facepipe's), and with --force.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import victims
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_networks import write_onnx
from stand_ins import DEVLIB

from facepipe.assets.lfw import Remote, fetch_lfw
from facepipe.assets.workspace import Workspace
from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.cli._main import COMMANDS
from facepipe.compat.write_image_records import records_from_images
from facepipe.datasets.crops import write_png
from facepipe.datasets.sample import SampleSettings
from facepipe.errors import FacepipeError
from facepipe.store.bins import BinTensor, write_bins
from facepipe.store.files import sidecar_of
from facepipe.store.lock import LOCK
from facepipe.store.owned import RECORD
from facepipe.store.parts import host

pytestmark = pytest.mark.weights

FEW = SampleSettings(people=2, photographs=4, faceless=1, folds=10, pairs_per_kind=1)
WRITES_NOTHING = {"models", "backends", "check", "parity", "bench", "verify", "completion"}
TOOLS = f"{Path(sys.executable).parent}:{Path(__file__).parents[1] / 'fakes' / 'bin'}"
EMBEDDER = "facenet.seeded"

LIKE_OURS = (
    LOCK, RECORD, "begun.json", "faces.jsonl", "shard-00000.npz", "fused/thesis.txt", "fused", "lock/x", "run.json",
    ".download.part", ".x.part", "x.part", ".x.1.part", ".a.host.1.2-deadbeef.part", ".runner", ".people.gallery.lock",
    f".faces.jsonl.{host()}.999999999.1-deadbeef.part", f".faces.jsonl.{host()}.999999999.1-deadbeefdeadbeef.part",
    "notes.txt", ".hidden", "a folder/with a file", "images", "outputs", "bins/000000.bin", "cache/native.lock",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command reads; none of it may change.

    Attributes:
        folder: of it all.
        weights: MTCNN's networks, and a recogniser of few numbers.
        sample: pairs.txt, and images/ with two people.
        one: a photograph.
        run: a finished run over the sample.
        gallery: of the people in it.
    """

    folder: Path
    weights: Path
    sample: Path
    one: Path
    run: Path
    gallery: Path


def nothing(_: Desk) -> None:
    """Prepares nothing."""


@dataclass(frozen=True, slots=True)
class Case:
    """A command.

    Attributes:
        call: does it in the current folder; its exit status.
        targets: where it writes, below the current folder.
        prepare: what has to be in the current folder before.
        forced: the same, told to start over.
        tries: how many plantings are tried of each kind.
    """

    call: Callable[[Desk], int]
    targets: tuple[str, ...]
    prepare: Callable[[Desk], None] = nothing
    forced: Callable[[Desk], int] | None = None
    tries: int = 4


def words(*told: object) -> Callable[[Desk], int]:
    """A command line in which a function of the desk stands for a path."""

    def call(desk: Desk) -> int:
        return main([str(word(desk)) if callable(word) else str(word) for word in told])

    return call


def case(
    *told: object, targets: tuple[str, ...], force: str = "", tries: int = 4, **more: Callable[[Desk], None]
) -> Case:
    forced = words(*told, force) if force else None
    return Case(words(*told), targets, forced=forced, tries=tries, **more)


SAMPLE: Callable[[Desk], Path] = lambda desk: desk.sample  # noqa: E731
IMAGES: Callable[[Desk], Path] = lambda desk: desk.sample / "images"  # noqa: E731
WEIGHTS = ("--weights", lambda desk: desk.weights)
LOOK = (*WEIGHTS, "--min-face", "60", "--backend", "onnxruntime")
MODEL = ("--embedder", EMBEDDER)
SHARDS = ("--workers", "1", "--shard", "5")
LFW = ("--data", SAMPLE, *LOOK, *MODEL, *SHARDS)
ONE: Callable[[Desk], Path] = lambda desk: desk.one  # noqa: E731


def copies(*names: str) -> Callable[[Desk], None]:
    """Models from the desk's weights, with their records, into weights/ here."""

    def prepare(desk: Desk) -> None:
        Path("weights").mkdir()
        for name in names:
            for path in (model(name).final(desk.weights), sidecar_of(model(name).final(desk.weights))):
                shutil.copy(path, "weights")

    return prepare


def checkpoint(desk: Desk) -> None:
    Path("weights").mkdir()
    Path("weights/rnet.pt").symlink_to(desk.folder / "rnet.pt")


def copied_run(desk: Desk) -> None:
    shutil.copytree(desk.run, "run")


def copied_gallery(desk: Desk) -> None:
    shutil.copy(desk.gallery, "people.gallery")


def packed(_: Desk) -> None:
    tensor = BinTensor("image", "float32", "NCHW", (2, 1))
    write_bins(
        Path("packed"), [("a", "b")], always(np.zeros((2, 1), np.float32)), tensor, {}, bins="xb_results", digits=1
    )
    Path("outputs").mkdir()
    np.ones((2, 512), "<f4").tofile("outputs/0_output_0.bin")


def vendors_crops(_: Desk) -> None:
    for number in (1, 2):
        write_png(Path(f"crops/p{number}/1.png"), np.full((160, 160, 3), number, np.uint8))


def photographs_here(desk: Desk) -> None:
    shutil.copytree(desk.sample / "images", "photos")
    Path("weights").symlink_to(desk.weights)


def aligned_faces(_: Desk) -> None:
    draw = np.random.default_rng(5)
    lines = []
    for label, person in enumerate(("Ann", "Bob")):
        for number in (1, 2):
            write_png(Path(f"faces/{person}/{number}.png"), draw.integers(0, 256, (112, 112, 3)).astype(np.uint8))
            lines.append(f"{person}/{number}.png\t{label}\n")
    Path("faces/label.txt").write_text("".join(lines))


def records_here(desk: Desk) -> None:
    records_from_images(desk.sample / "images", Path("records"))


def a_model(_: Desk) -> None:
    write_onnx(model("rnet"), Path("small.onnx"))
    np.zeros((1, 3, 24, 24), "<f4").tofile("small.bin")


def port_index(_: Desk) -> None:
    row = np.ones((1, 512), np.float32)
    Path("index.bin").write_bytes(pickle.dumps({"label": ["Ana"], "feature": [row]}))


def fetched(desk: Desk) -> int:
    with victims.lfw_site(desk.folder) as (site, images, pairs):
        try:
            ws = Workspace(Path("weights"), Path("data"), None)
            fetch_lfw(
                ws,
                images=Remote(f"{site.url}/lfw.tgz", images, None),
                pairs=Remote(f"{site.url}/pairs.txt", pairs, None),
            )
        except (FacepipeError, OSError):
            return 1
    return 0


def vendors_cascade(_: Desk) -> int:
    told = ["--data_dir", "photos", "--batch_size", "4"]
    return max(main(["vendor", "mtcnn-preprocess", "--model", name, *told]) for name in ("Pnet", "Rnet", "Onet"))


def always(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def quantised(_: Desk) -> int:
    """The quantiser is one that copies: what is looked at is where the file goes."""
    from facepipe.convert.onnx.quantise import Calibration, Quantiser, quantise_model

    def copy(source: Path, part: Path, _: Sequence[np.ndarray]) -> None:
        shutil.copy(source, part)

    copying = Quantiser(always(True), "model", {}, copy, "cosine", always(1.0), always(True), "any", 1)
    try:
        inputs = [np.zeros((1, 3, 24, 24), np.float32)]
        quantise_model(model("rnet"), Path("weights"), inputs, Calibration({}, 1, named=False, tests=()), copying)
    except (FacepipeError, OSError):
        return 1
    return 0


CASES: dict[str, Case] = {
    "embed": case("embed", IMAGES, "--out", "out", *LOOK, *MODEL, *SHARDS, targets=("out",), force="--force"),
    "lfw": case("lfw", *LFW, "--run", "out", "--report", targets=("out",), force="--force"),
    "lfw staged": case("lfw", *LFW, "--run", "out", "--staged", targets=("out",), force="--force"),
    "stage pnet": case("stage", "pnet", *LFW, "--run", "out", targets=("out", "out/pnet"), force="--force"),
    "detect": case("detect", ONE, "--draw", "boxes.png", *LOOK, targets=("",)),
    "detect several": case("detect", lambda desk: desk.one.parent, "--draw", "drawn", *LOOK, targets=("drawn",)),
    "gallery build": case(
        "gallery", "build", IMAGES, "--out", "people.gallery", *LOOK, *MODEL,
        targets=("",), force="--overwrite",
    ),
    "gallery add": case("gallery", "add", "people.gallery", IMAGES, *LOOK, targets=("",), prepare=copied_gallery),
    "gallery remove": case("gallery", "remove", "people.gallery", "Person_01", targets=("",), prepare=copied_gallery),
    "gallery import": case(
        "gallery", "import", "index.bin", "--out", "old.gallery", *WEIGHTS, *MODEL, "--backend", "onnxruntime",
        targets=("",), force="--overwrite", prepare=port_index,
    ),
    "gallery evaluate": case("gallery", "evaluate", "run", "--fpir", "0.5", targets=("run",), prepare=copied_run),
    "report": case("report", "run", targets=("run",), prepare=copied_run),
    "recognise": case(
        "recognise", "--index", lambda desk: desk.gallery, "--threshold", "0.5", "--input", IMAGES, "--output", "named",
        *LOOK, targets=("named",),
    ),
    "cluster": case(
        "cluster", lambda desk: desk.run, "--out", "out", "--similarity", "0.5", *WEIGHTS, targets=("out",)
    ),
    "verification": case(
        "verification", "photos", "--pairs", lambda desk: desk.sample / "pairs.txt", "--run", "out", *WEIGHTS, *MODEL,
        targets=("out",), prepare=photographs_here,
    ),
    "verification pack": case(
        "verification", IMAGES, "--pairs", lambda desk: desk.sample / "pairs.txt", "--pack", "lfw.bin", targets=("",)
    ),
    "plan": case("plan", "--sizes", "250x250", "--soc", "Ascend310", "--out", "plan.json", targets=("",)),
    "image2bin": case("image2bin", IMAGES, "bins", "--label", "label.txt", targets=("bins", "")),
    "bin2image": case(
        "bin2image", "records", "back", "--label", "label.txt",
        targets=("back", ""), prepare=records_here,
    ),
    "msame": case(
        "msame", "--model", "small.onnx", "--input", "small.bin", "--output", "out",
        targets=("out",), prepare=a_model,
    ),
    "unpack": case(
        "unpack", "--packed", "packed", "--outputs", "outputs", "--out", "out",
        targets=("out",), prepare=packed,
    ),
    "vendor Pnet": case(
        "vendor", "mtcnn-preprocess", "--model", "Pnet", "--data_dir", "photos", "--batch_size", "4",
        targets=("data/output/split_bs4",), prepare=photographs_here,
    ),
    "vendor Onet": Case(
        vendors_cascade, ("data/output/split_bs4", "photos_split_om_cropped_4"), photographs_here,
    ),
    "vendor facenet-preprocess": case(
        "vendor", "facenet-preprocess", "--crop_dir", "crops", "--save_dir", "out",
        targets=("out",), prepare=vendors_crops,
    ),
    "vendor batch-utils": case(
        "vendor", "batch-utils", "--batch_size", "2", "--data_root_path", "outputs", "--save_root_path", "rows",
        "--index", "packed", targets=("rows", ""), prepare=packed,
    ),
    "vendor gen-dataset-info": case(
        "vendor", "gen-dataset-info", "bin", "packed/xb_results", "info.txt", "2", "2", targets=("",), prepare=packed
    ),
    "fix": case("fix", "bound_clip", "small.onnx", "fixed.onnx", targets=("",), prepare=a_model),
    "fetch": Case(fetched, ("data", "data/lfw")),
    "quantise": Case(quantised, ("weights",), copies("rnet")),
    "om": case(
        "om", "rnet", "--soc", "Ascend310", "--batch", "4", "--weights", "weights", "--logs", "logs",
        targets=("weights", "logs"), force="--force", prepare=copies("rnet"),
    ),
    "onnx": case(
        "onnx", "rnet", "--weights", "weights",
        targets=("weights",), force="--force", tries=2, prepare=checkpoint,
    ),
    "import": case(
        "import", lambda desk: model(EMBEDDER).final(desk.weights), "--like", EMBEDDER, "--name", "mine",
        "--weights", "weights", targets=("weights",), force="--overwrite", tries=2, prepare=copies(),
    ),
    "export": case(
        "export", "rnet", "--weights", "weights", "--output", "rnet.onnx",
        targets=("",), tries=2, prepare=checkpoint,
    ),
    "rehearse": case(
        "rehearse", *LFW, "--sample", "8", "--out", "out",
        targets=("out", "out/models"), force="--force", tries=2,
    ),
    "wider": case(
        "wider", "--data", lambda desk: desk.folder / "wider", "--detector", "mtcnn", "--run", "out", *WEIGHTS, *SHARDS,
        targets=("out",), force="--force",
    ),
    "wider predictions": case(
        "wider", "--data", lambda desk: desk.folder / "wider", "--predictions",
        lambda desk: desk.folder / "predictions", "--run", "out", targets=("out",),
    ),
    "train": case(
        "train", "mobilefacenet_small", "--data", "faces", "--out", "out", "--loaders", "0", "--device", "cpu",
        *("--set", "batch=2", "--set", "epochs=1", "--set", "save_every=1"), targets=("out",), tries=1,
        prepare=aligned_faces,
    ),
    "train-data pack": case("train-data", "pack", "faces", "--out", "set.faces", targets=("",), prepare=aligned_faces),
    "train-data align": case(
        "train-data", "align", IMAGES, "--out", "out", *LOOK, "--workers", "1", targets=("out",), force="--force"
    ),
    "port train": case(
        "port", "train", "--data_dir", "faces", "--output", "out", "--batch_size", "2", "--num_epoch", "1",
        *("--loaders", "0", "--device", "cpu"), targets=("out",), tries=1, prepare=aligned_faces,
    ),
    "demo": case(
        "demo", "--out", "out", "--weights", "weights", targets=("out",), tries=1,
        prepare=copies("pnet", "rnet", "onet", EMBEDDER),
    ),
}  # fmt: skip


def test_every_command_is_tried_or_writes_nothing() -> None:
    tried = {name.split()[0] for name in CASES}
    assert tried | WRITES_NOTHING == set(COMMANDS) and not tried & WRITES_NOTHING


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def desk(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    for needed in ("skimage", "matplotlib", "onnxsim", "torch", "sklearn", "scipy"):
        pytest.importorskip(needed, reason="some command needs it")
    folder = tmp_path_factory.mktemp("desk")
    victims.make_work(folder, weights_dir, FEW)
    for number, name in enumerate(("Solo", "Another"), start=1):  # people of one photograph
        (folder / "sample/images" / name).mkdir()
        source = folder / f"sample/images/Person_02/Person_02_000{number}.jpg"
        shutil.copy(source, folder / f"sample/images/{name}/{name}_0001.jpg")
    shutil.copy(weights_dir / "rnet.pt", folder)
    sample = folder / "sample"
    made = Desk(
        folder, folder / "weights", sample, sample / "images/Person_01/Person_01_0001.jpg", folder / "run",
        folder / "people.gallery",
    )  # fmt: skip
    _wider(folder, sample)
    told = ["--weights", made.weights, "--min-face", "60", "--backend", "onnxruntime", "--embedder", EMBEDDER]
    for line in (
        ["lfw", "--all", "--data", sample, "--run", made.run, "--workers", "1", *told],
        ["gallery", "build", sample / "images", "--out", made.gallery, "--threshold", "0.5", *told],
    ):
        assert main([str(word) for word in line]) == 0
    return made


def _wider(folder: Path, sample: Path) -> None:
    from wider_truth import write_truth

    names = [f"Person_01_{number:04d}" for number in (1, 2)]
    (folder / "wider/images").mkdir(parents=True)
    for name in names:
        shutil.copy(sample / f"images/Person_01/{name}.jpg", folder / "wider/images")
        (folder / "predictions/0--Portrait").mkdir(parents=True, exist_ok=True)
        (folder / f"predictions/0--Portrait/{name}.txt").write_text(f"{name}\n1\n75 55 100 120 0.9\n")
    faces = {name: [[75, 55, 100, 120]] for name in names}
    counted = {setting: {name: [1] for name in names} for setting in ("easy", "medium", "hard")}
    write_truth(folder / "wider/ground_truth", {"0--Portrait": faces}, counted)


@dataclass(frozen=True, slots=True)
class Plant:
    """What a user has at `path`: a file of `content`, a folder with such a file, a link to one of theirs elsewhere."""

    path: str
    kind: str
    content: bytes

    def put(self, box: Path, outside: Path) -> bool:
        """Whether it could be put there: nothing of another plant's is in the way."""
        path = box / self.path
        if any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in path.parents):
            return False
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.kind == "file":
            path.write_bytes(self.content)
        elif self.kind == "folder":
            path.mkdir()
            (path / "thesis.txt").write_bytes(self.content)
        else:
            path.symlink_to(
                outside / {"link": "file.txt", "link to a folder": "folder", "dead link": "gone"}[self.kind]
            )
        return True


KINDS = ("file", "file", "folder", "link", "link to a folder", "dead link")


def plants(own: Sequence[str], others: Sequence[str]) -> st.SearchStrategy[list[Plant]]:
    """Half of them under names that the command uses: `own`."""
    names = st.sampled_from(own or others) | st.sampled_from(others)
    one = st.builds(Plant, names, st.sampled_from(KINDS), st.sampled_from([b"mine", b"", b"4711\n", b"{}"]))
    return st.lists(one, min_size=1, max_size=3, unique_by=lambda plant: plant.path)


def state(path: Path) -> dict[str, object]:
    """All that is at and below `path`: contents, the targets of links, and which file it is. Links are not followed."""
    if path.is_symlink():
        return {"": str(path.readlink())}
    if path.is_file():
        told = path.stat()
        return {"": (path.read_bytes(), told.st_ino, told.st_mtime_ns, told.st_mode)}
    found: dict[str, object] = {"": "a folder"}
    for below in sorted(path.iterdir()) if path.is_dir() else []:
        found |= {f"{below.name}/{name}": value for name, value in state(below).items()}
    return found


def kept(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    return before.items() <= after.items()


@pytest.fixture(scope="module")
def filled(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """From a case to a folder as it is before the command, and one as it is after it."""
    known: dict[str, tuple[Path, Path]] = {}

    def of(name: str) -> tuple[Path, Path]:
        if name not in known:
            before, after = (tmp_path_factory.mktemp("box") for _ in range(2))
            for box in (before, after):
                with inside(box):
                    CASES[name].prepare(desk)
            with inside(after):
                assert CASES[name].call(desk) == 0, "a command that cannot work tells nothing"
            known[name] = before, after
        return known[name]

    return of


PHASES = ("in an empty folder", "in its own folder", "told to start over")


@pytest.mark.parametrize("name", CASES)
def test_what_a_user_has_where_a_command_writes_stays(
    name: str,
    desk: Desk,
    filled: Callable[[str], tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{TOOLS}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(DEVLIB))  # ATC does not start where there is neither device nor stub
    monkeypatch.setattr("facepipe.cli.demo.SampleSettings", lambda: FEW)
    asked = CASES[name]
    before, after = filled(name)
    prepared = {path.relative_to(before).as_posix() for path in before.rglob("*")}
    own = sorted({path.relative_to(after).as_posix() for path in after.rglob("*")} - prepared)
    others = [f"{target}/{like}".lstrip("/") for target in asked.targets for like in LIKE_OURS]
    others = [one for one in others if one not in prepared]
    outcomes: list[int] = []

    @settings(max_examples=asked.tries, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(plants(own, others), st.sampled_from(PHASES))
    def look(wanted: list[Plant], phase: str) -> None:
        trial = tmp_path_factory.mktemp("trial")
        box, outside = trial / "box", trial / "outside"
        shutil.copytree(before if phase == PHASES[0] else after, box, symlinks=True)
        (outside / "folder").mkdir(parents=True)
        for path in (outside / "file.txt", outside / "folder/file.txt"):
            path.write_bytes(b"mine")
        planted = [plant for plant in wanted if plant.put(box, outside)]
        if phase == PHASES[2] and asked.targets == ("",):  # --overwrite is the user's own word for the file it names
            planted = [plant for plant in planted if plant.path not in own or plant.kind != "file"]
        was = {plant.path: state(box / plant.path) for plant in planted}
        elsewhere, read = state(outside), state(desk.folder)
        with inside(box):
            call = asked.forced if phase == PHASES[2] and asked.forced is not None else asked.call
            outcomes.append(call(desk))
        for path, old in was.items():
            assert kept(old, state(box / path)), f"{phase}: {path} is another"
        assert state(outside) == elsewhere, phase
        assert state(desk.folder) == read, phase
        shutil.rmtree(trial)

    look()
    assert set(outcomes) <= {0, 1}
