# SPDX-License-Identifier: Apache-2.0
"""The Paddle port's command lines: thin doors, and its sequence on 64 faces: records, training, validation, export.

What differs from the port's README: the folder of the data and the number of epochs are options here, where they stood
in its config.py; a set smaller than a batch is gone through again; `inference.onnx` stands in place of Paddle's files.
"""

from __future__ import annotations

import ast
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")
pytest.importorskip("lmdb", reason="training needs the extra [train]")

from album import PEOPLE, album_pairs  # noqa: E402

from facepipe.catalogue import model  # noqa: E402
from facepipe.cli import main  # noqa: E402
from facepipe.compat.port_training import PortFlags, job_of  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.datasets.pickled_arrays import read_pickled_array  # noqa: E402
from facepipe.errors import DataError  # noqa: E402
from facepipe.train.log import read_metrics  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "train" / "arcface"
DOORS = ("train.py", "valid.py", "export_inference_model.py", "tools/convert_image_bin.py")
CENTRES = ("rank:0_softmax_weight.pkl", "rank:0_softmax_weight_mom.pkl")

SEQUENCE = """
python3 tools/convert_image_bin.py --image_path=photographs --bin_path=MS1M_bin/images --mode=image2bin
python3 train.py --network 'MobileFaceNet_128' --lr=0.1 --batch_size 16 --weight_decay 2e-4 --embedding_size 128 --logdir=log --output emore_arcface --resume 0
python3 valid.py --network MobileFaceNet_128 --checkpoint emore_arcface
python3 export_inference_model.py --network MobileFaceNet_128 --output ./inference_model/ --pretrained_model ./emore_arcface/MobileFaceNet_128.pdparams
"""  # noqa: E501
"""The README's, but for its batch of 512."""


@pytest.mark.parametrize("name", DOORS)
def test_a_door_is_at_most_twenty_lines_and_imports_only_the_command_line(name: str) -> None:
    source = (FOLDER / name).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 20
    tree = ast.parse(source)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - {"argparse", "sys"} == {"facepipe.cli"}
    assert ast.get_docstring(tree), "a door says what it opens to"
    assert name in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOORS)
def test_a_door_shows_help_and_refuses_nonsense_as_usage(name: str, tmp_path: Path, said: Callable[..., str]) -> None:
    assert "usage:" in said(f"python3 {name} --help")
    told = said(f"python3 {name} --no-such-option", status=2)
    assert "'--no-such-option' is no option of it" in told or "usage:" in told


@pytest.fixture(scope="module")
def port(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 64 photographs of eleven people, and a small lfw.bin where the port looks for one."""
    folder = tmp_path_factory.mktemp("port")
    for number, path in enumerate(sorted((album / "aligned").rglob("*.jpg")) * 2):
        if number < 64:
            (folder / "photographs").mkdir(exist_ok=True)
            shutil.copy(path, folder / "photographs" / f"{number // 44}_{path.name}")
    (folder / "pairs.txt").write_text(album_pairs(10, 1))
    shutil.copytree(album / "aligned", folder / "lfw")
    return folder


@pytest.fixture
def said(
    port: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Call it with a line of the sequence: what it printed, both streams, run in the folder by the very door."""
    monkeypatch.chdir(port)

    def call(line: str, *more: str, status: int = 0) -> str:
        program, name, *words = [*shlex.split(line), *more]
        assert program == "python3"
        monkeypatch.setattr(sys, "argv", [name, *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        told = capsys.readouterr()
        assert left.value.code == status, told.err
        return told.out + told.err

    return call


@pytest.mark.weights
def test_the_sequence_of_the_port(port: Path, said: Callable[..., str]) -> None:
    convert, train, valid, export = SEQUENCE.strip().splitlines()
    said(convert)
    records = sorted((port / "MS1M_bin" / "images").glob("*.bin"))
    assert len(records) == 64
    labels = [f"images/{path.name}\t{PEOPLE.index(path.name[2:11])}\n" for path in records]
    (port / "MS1M_bin" / "label.txt").write_text("".join(labels))
    for name in ("MS1M_bin", "MS1M_v2"):
        (port / name).mkdir(exist_ok=True)
        assert main(["verification", "lfw", "--pairs", "pairs.txt", "--pack", f"{name}/lfw.bin"]) == 0

    out, own = port / "emore_arcface", ("--num_epoch", "2", "--loaders", "0", "--set", "verify_every=8")
    told = said(train, *own, "--save_centres")
    assert "Global Step: 8 " in told and "[lfw][8]XNorm: " in told and "[lfw][8]Accuracy-Highest: " in told
    spec = model("mobilefacenet.paddle")
    written = load(spec, out / "MobileFaceNet_128.pdparams").network.state_dict()
    kept = load(spec, out / "weights.pt").network.state_dict()
    assert all(torch.equal(written[key], kept[key]) for key in kept if not key.endswith("num_batches_tracked"))
    centres, momentum = (read_pickled_array(out / name, 2) for name in CENTRES)
    last = torch.load(out / "step-00000008" / "centres-00000-of-00001.pt", weights_only=True)
    np.testing.assert_array_equal(centres, last["weight"].numpy())
    np.testing.assert_array_equal(momentum, last["momentum"].numpy())
    assert centres.shape == (11, 128) and np.abs(momentum).max() > 0, "the trained ones, which the port never wrote"

    assert "[lfw][1]Accuracy-Flip: " in said(valid)
    assert "inference.onnx: ONNX in place of Paddle's" in said(export)
    assert (port / "inference_model" / "inference.onnx").is_file()

    again = train.replace("--resume 0", "--resume 1")
    assert "goes on after step 8" in said(again, *own), "nothing is left to do"
    told = said(again, "--loaders", "0", "--num_epoch", "3", status=1)
    assert "was begun with epochs=2, this run asks for 3. Try: --resume 0" in told
    assert "has no checkpoint, expected one to go on from" in said(again, "--output", "other", *own, status=1)
    (out / "notes.txt").write_text("the user's")
    (out / "inference.onnx").write_bytes((port / "inference_model" / "inference.onnx").read_bytes())
    (out / "rank:7_softmax_weight.pkl").write_bytes(b"the user's")
    told = said(train, "--num_epoch", "1", "--loaders", "0")
    assert "Global Step: 4 " in told and "goes on" not in told, "begun anew, with other epochs"
    assert sorted(path.name for path in out.glob("step-*")) == ["step-00000004"]
    assert {line["step"] for line in read_metrics(out / "metrics.jsonl")} == {0, 4}
    assert [path.name for path in out.glob("rank:*")] == ["rank:7_softmax_weight.pkl"], "none of another run"
    assert (out / "notes.txt").read_text() == "the user's" and (out / "inference.onnx").is_file()


def flags(**changed: object) -> PortFlags:
    asked = {"network": "MobileFaceNet_128", "loss": "ArcFace", "lr": 0.1, "batch_size": 512, "weight_decay": 2e-4}
    asked |= {"embedding_size": 128, "output": Path("out"), "resume": False, "data": Path("data"), "epochs": 32}
    return PortFlags(**{**asked, **changed})  # type: ignore[arg-type]


def test_the_flags_are_a_recipe(album: Path) -> None:
    """`--batch_size` is that of a process; 44 faces are fewer than a batch, which is filled by going on."""
    job = job_of(flags(data=album / "aligned"), 2)
    recipe = job.recipe
    assert (recipe.model, recipe.batch, recipe.epochs, recipe.wraps) == ("mobilefacenet.paddle", 1024, 32, True)
    assert (recipe.rate, recipe.rate_batch, recipe.weight_decay) == (0.1, 0, 2e-4)
    assert (recipe.schedule, recipe.marks) == ("marks", (6, 12, 18, 24))
    assert (recipe.m1, recipe.m2, recipe.m3, recipe.scale) == (1, 0.5, 0, 64)
    assert job.steps == 32
    other = flags(data=album / "aligned", network="iresnet50", loss="CosFace", embedding_size=512, values=("scale=30",))
    recipe = job_of(other, 1).recipe
    assert (recipe.model, recipe.m2, recipe.m3, recipe.scale) == ("arcface.iresnet50", 0, 0.4, 30)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"network": "MobileFaceNet_129"}, "did you mean 'MobileFaceNet_128'"),
        ({"loss": "ArcFaze"}, "did you mean 'ArcFace'"),
        ({"embedding_size": 512}, "--embedding_size: is 512, expected the 128 of MobileFaceNet_128. Try: --emb"),
    ],
)
def test_a_flag_that_is_none_is_named(changed: dict[str, object], told: str, album: Path) -> None:
    with pytest.raises(DataError) as refused:
        job_of(flags(data=album / "aligned", **changed), 1)
    assert told in str(refused.value)
