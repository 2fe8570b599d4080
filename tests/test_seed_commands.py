# SPDX-License-Identifier: Apache-2.0
"""The vendor's command lines: thin doors, and its README's sequence as one chain that ends in an accuracy.

What differs from the README as it was published, and why:

- the leading folder of each script, of the photographs and of msame;
- `--pretrain seeded` where the published FaceNet weights are not at hand;
- the batch-16 section passes `--batch_size 1` to MTCNN_preprocess.py, and then reads folders that only 16 makes;
- msame names its folder by the time, and the README goes on with `Facenet_vggface2_1`: it has to be renamed between
  (the vendor's shell script does it, by the year 2022);
- the atc lines need a compiler that is not here; msame's stand-in takes the ONNX file of that .om.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facepipe.assets.workspace import find_weights, open_workspace
from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.datasets.images import read
from facepipe.datasets.lfw import extensions_in, read_pairs
from facepipe.store.run_faces import read_faces

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("convert", "preprocess", "postprocess", "scripts")
DOORS = {
    "MTCNN_pth2onnx.py": "convert",
    "FaceNet_pth2onnx.py": "convert",
    "fix_prelu.py": "convert",
    "fix_clip.py": "convert",
    "MTCNN_preprocess.py": "preprocess",
    "FaceNet_preprocess.py": "preprocess",
    "gen_dataset_info.py": "preprocess",
    "batch_utils.py": "postprocess",
    "FaceNet_postprocess.py": "postprocess",
    "msame": "scripts",
}

CONVERSION = """
python3 MTCNN_pth2onnx.py --model PNet --output_file ./weights/PNet_truncated.onnx
python3 MTCNN_pth2onnx.py --model RNet --output_file ./weights/RNet_truncated.onnx
python3 MTCNN_pth2onnx.py --model ONet --output_file ./weights/ONet_truncated.onnx
python3 FaceNet_pth2onnx.py --pretrain vggface2 --model ./weights/Inception_facenet_vggface2.pt --output_file ./weights/Inception_facenet_vggface2.onnx
python ./utils/fix_prelu.py ./weights/PNet_truncated.onnx ./weights/PNet_truncated_fix.onnx
python ./utils/fix_prelu.py ./weights/RNet_truncated.onnx ./weights/RNet_truncated_fix.onnx
python ./utils/fix_prelu.py ./weights/ONet_truncated.onnx ./weights/ONet_truncated_fix.onnx
python ./utils/fix_prelu.py ./weights/Inception_facenet_vggface2.onnx ./weights/Inception_facenet_vggface2_fix.onnx
python ./utils/fix_clip.py ./weights/Inception_facenet_vggface2_fix.onnx ./weights/Inception_facenet_vggface2_fix.onnx
"""  # noqa: E501
RUN = """
python3 MTCNN_preprocess.py --model Pnet --data_dir /home/ywj/facenet/data/lfw --batch_size {batch}
python3 MTCNN_preprocess.py --model Rnet --data_dir /home/ywj/facenet/data/lfw --batch_size {batch}
python3 MTCNN_preprocess.py --model Onet --data_dir /home/ywj/facenet/data/lfw --batch_size {batch}
python3 FaceNet_preprocess.py --crop_dir ./data/lfw_split_om_cropped_{batch} --save_dir ./data/input/Facenet_{batch} --batch_size {batch}
./msame --model ./weights/Inception_facenet_vggface2_bs{batch}.om --input ./data/input/Facenet_{batch}/xb_results --output ./data/output
python3 ./utils/batch_utils.py --batch_size {batch} --data_root_path ./data/output/Facenet_vggface2_{batch} --save_root_path ./data/output/Facenet_vggface2_{batch}_2
python3 FaceNet_postprocess.py  --ONet_output_dir ./data/output/split_bs{batch}/onet.json --test_dir ./data/output/Facenet_vggface2_{batch}_2 --crop_dir ./data/lfw_split_om_cropped_{batch}
"""  # noqa: E501


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


# --- thin doors ---------------------------------------------------------------------------------------------------


def test_every_door_is_where_the_folder_readmes_say() -> None:
    there = {
        path.name: folder
        for folder in FOLDERS
        for path in (REPOSITORY / folder).iterdir()
        if path.name in DOORS and path.is_file()
    }
    assert there == DOORS
    for name, folder in DOORS.items():
        if folder != "scripts":
            assert name in (REPOSITORY / folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOORS)
def test_a_door_is_at_most_twenty_lines_and_imports_only_the_command_line(name: str) -> None:
    source = (REPOSITORY / DOORS[name] / name).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 20
    tree = ast.parse(source)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - {"argparse", "sys", "os", "pathlib", "__future__"} == {"facepipe.cli"}
    assert ast.get_docstring(tree), "a door says what it opens to"


@pytest.mark.parametrize("name", DOORS)
def test_a_door_shows_help_and_refuses_nonsense_as_usage(name: str, tmp_path: Path) -> None:
    assert "usage:" in door(name, ["--help"], tmp_path).stdout
    refused = door(name, ["--no-such-option"], tmp_path, status=2)
    # facepipe's one line, or argparse's usage where a door has options of its own.
    assert ("'--no-such-option' is no option of it" in refused.stderr or "usage:" in refused.stderr) and not list(
        tmp_path.iterdir()
    )


def test_the_sequence_is_the_published_readmes(assets: Path) -> None:
    published = assets.parent / "seeds" / "facenet_ascend.txt"
    if not published.is_file():
        pytest.skip(f"{published} is not there: this test compares with the vendor's README")
    commands = re.findall(r"^\s*((?:python3? |\./msame ).*?)\s*$", published.read_text(encoding="utf-8"), re.MULTILINE)
    corrected, in_sixteen = [], False
    for line in commands:
        # the README's slip: its batch-16 section begins with the three MTCNN lines of batch 1 once more
        in_sixteen = in_sixteen or (line in corrected and "MTCNN_preprocess" in line)
        if in_sixteen and "MTCNN_preprocess" in line:
            line = line.replace("--batch_size 1", "--batch_size 16")
        corrected.append(line)
    ours = lines_of(CONVERSION) + [line for batch in (1, 16) for line in lines_of(RUN.format(batch=batch))]
    assert sorted(corrected) == sorted(ours)


# --- the chain ----------------------------------------------------------------------------------------------------


def door(name: str, arguments: list[str], folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a door as its user does, in `folder`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(REPOSITORY / DOORS[name] / name), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def run_line(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One line of the README, its leading folders exchanged."""
    words = shlex.split(line)
    script, arguments = (words[0], words[1:]) if words[0] == "./msame" else (words[1], words[2:])
    arguments = [word.replace("/home/ywj/facenet", str(folder)) for word in arguments]
    if "vggface2" in arguments and not (folder / "weights" / "Inception_facenet_vggface2.pt").is_file():
        arguments[arguments.index("vggface2")] = "seeded"
    return door(Path(script).name, arguments, folder)


@pytest.fixture(scope="module")
def vendor_folder(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Path:
    """A working folder like the vendor's: weights, converted by its commands, and photographs with pairs.

    The photographs are PNG, so that the crops are too: then the chain loses nothing, and its accuracy must be the
    package's own, digit by digit.
    """
    pytest.importorskip("torch", reason="the chain begins with converting weights")
    pytest.importorskip("skimage", reason="the photographs are made from a portrait that scikit-image ships")
    from facepipe.datasets.sample import SampleSettings, make_sample

    folder = tmp_path_factory.mktemp("vendor")
    settings = SampleSettings(people=6, photographs=4, faceless=2, folds=2, pairs_per_kind=10)
    made = make_sample(tmp_path_factory.mktemp("sample"), settings)
    for key in made.keys:
        target = (folder / "data/lfw" / key).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(read(made.images / key)).save(target)
    shutil.copy(made.pairs, folder / "data/pairs.txt")
    (folder / "weights").mkdir()
    for name in ("pnet", "rnet", "onet"):
        shutil.copy(weights_dir / f"{name}.pt", folder / "weights")
    published = find_weights(model("facenet.vggface2"), open_workspace(REPOSITORY))
    if published is not None:
        shutil.copy(published, folder / "weights/Inception_facenet_vggface2.pt")
    for line in lines_of(CONVERSION):
        run_line(line, folder)
    return folder


@pytest.fixture(scope="module")
def scores(vendor_folder: Path) -> dict[int, tuple[list[float], float]]:
    """Accuracy of each fold, and their mean, as the last command of the chain printed them, by batch."""
    found = {}
    for batch in (1, 16):
        for line in lines_of(RUN.format(batch=batch)):
            before = {path.name for path in (vendor_folder / "data/output").glob("*")}
            done = run_line(line, vendor_folder)
            if line.startswith("./msame"):
                assert "[INFO] Execute sample success" in done.stdout
                (new,) = {path.name for path in (vendor_folder / "data/output").iterdir()} - before
                output = vendor_folder / "data/output"
                (output / new).rename(output / f"Facenet_vggface2_{batch}")
        first, second = done.stdout.splitlines()
        per_fold = re.fullmatch(r"accuracy: \[(.*)\]", first)
        mean = re.fullmatch(r"mean accuracy: (\d\.\d+)", second)
        assert per_fold is not None and mean is not None
        found[batch] = ([float(value) for value in per_fold[1].split()], float(mean[1]))
        assert re.search(r"\d+ of 40 pairs lack an embedding and are called different", done.stderr)
    return found


def test_the_chain_leaves_the_vendors_files(vendor_folder: Path, scores: object) -> None:
    keys = sorted(
        path.relative_to(vendor_folder / "data/lfw").as_posix() for path in vendor_folder.glob("data/lfw/*/*")
    )
    for batch in (1, 16):
        split = vendor_folder / f"data/output/split_bs{batch}"
        for name in ("pnet", "rnet"):
            content = json.loads((split / f"{name}.json").read_text())
            assert list(content) == [str(number) for number in range(-(-len(keys) // batch))]
            for entry in content.values():
                assert set(entry) == {"boxes", "image_inds"}
                assert len(entry["boxes"]) == len(entry["image_inds"])
                assert all(len(box) == 5 for box in entry["boxes"])
                assert all(0 <= place < batch for place in entry["image_inds"])
        crops = json.loads((split / "onet.json").read_text())
        assert crops == [f"{vendor_folder}/data/lfw_split_om_cropped_{batch}/{key}" for key in keys]
        there = sum(Path(crop).is_file() for crop in crops)
        no_face = json.loads((split / "onet.index.json").read_text())["no_face"]
        assert len(no_face) >= 2, "the sample has two photographs without a face"
        assert there == len(keys) - len(no_face), "they are listed, and have no crop"
        packed = vendor_folder / f"data/input/Facenet_{batch}"
        names = {path.name for path in (packed / "xb_results").iterdir()}
        assert names == {f"{number}.bin" for number in range(-(-there // batch))}
        assert {path.stat().st_size for path in (packed / "xb_results").iterdir()} == {batch * 3 * 160 * 160 * 4}
        rows = vendor_folder / f"data/output/Facenet_vggface2_{batch}_2"
        assert {path.name for path in rows.iterdir()} == {f"{number}_output_0.bin" for number in range(there)}
        assert {path.stat().st_size for path in rows.iterdir()} == {2048}


def test_every_embedding_is_of_the_photograph_it_is_joined_to(vendor_folder: Path, scores: object) -> None:
    """The vendor's own join shifts after the first photograph without a face; ours is held against a direct run."""
    ort = pytest.importorskip("onnxruntime")
    from facepipe.geometry.normalise import normalise

    session = ort.InferenceSession(
        str(vendor_folder / "weights/Inception_facenet_vggface2_fix.onnx"), providers=["CPUExecutionProvider"]
    )
    (image,) = session.get_inputs()
    rows = vendor_folder / "data/output/Facenet_vggface2_16_2"
    keys = json.loads(rows.with_name(f"{rows.name}.index.json").read_text())["keys"]
    for number in (0, len(keys) // 2, len(keys) - 1):
        crop = read(vendor_folder / "data/lfw_split_om_cropped_16" / keys[number])
        (expected,) = session.run(None, {image.name: normalise(crop[None], model("facenet.vggface2").pixels)})
        assert np.allclose(np.fromfile(rows / f"{number}_output_0.bin", np.float32), expected[0], atol=1e-5)


def test_the_chain_gives_one_accuracy_at_every_batch(scores: dict[int, tuple[list[float], float]]) -> None:
    assert scores[1] == scores[16]
    assert np.isclose(np.mean(scores[1][0]), scores[1][1])


@pytest.fixture(scope="module")
def own_runs(vendor_folder: Path, weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package's own runs over the same photographs, fused and staged."""
    name = "vggface2" if (vendor_folder / "weights/Inception_facenet_vggface2.pt").is_file() else "seeded"
    data, runs = vendor_folder / "data", dict[str, Path]()
    for driver in ("fused", "staged"):
        runs[driver] = tmp_path_factory.mktemp("runs") / driver
        arguments = ["--data", str(data / "lfw"), "--pairs", str(data / "pairs.txt"), "--run", str(runs[driver])]
        models = ["--weights", str(weights_dir), "--embedder", f"facenet.{name}", "--batch", "16", "--workers", "1"]
        assert main(["lfw", *arguments, *models, *(["--staged"] if driver == "staged" else [])]) == 0
    return runs


@pytest.mark.parametrize("driver", ["fused", "staged"])
def test_the_chain_gives_the_packages_own_accuracy(
    vendor_folder: Path, own_runs: dict[str, Path], scores: dict[int, tuple[list[float], float]], driver: str
) -> None:
    data, run = vendor_folder / "data", own_runs[driver]
    accuracy = json.loads((run / "accuracy.json").read_text())
    assert accuracy["accuracy"]["mean"] == scores[16][1]
    assert accuracy["accuracy"]["per_fold"] == scores[16][0]
    index = json.loads((data / "output/split_bs16/onet.index.json").read_text())
    named = set(read_pairs(data / "pairs.txt", extensions_in(data / "lfw")).keys())
    assert set(accuracy["images"]["no_face"]) == set(index["no_face"]) & named
    crops = {path.relative_to(data / "lfw_split_om_cropped_16").as_posix() for path in data.glob("lfw_split*_16/*/*")}
    faces = {line.key for line in read_faces(run / "faces.jsonl") if line.row is not None}
    assert faces == crops & named


@pytest.mark.parametrize("outfmt", ["BIN", "TXT"])
def test_msame_and_unpack_give_the_embeddings_of_the_staged_run(
    vendor_folder: Path, own_runs: dict[str, Path], tmp_path: Path, outfmt: str
) -> None:
    run, model_file = own_runs["staged"], vendor_folder / "weights/Inception_facenet_vggface2_fix.onnx"
    folders = ["--input", str(run / "pack/bins"), "--output", str(tmp_path / "out")]
    assert main(["msame", "--model", str(model_file), *folders, "--outfmt", outfmt, "--dymBatch", "16"]) == 0
    written = tmp_path / "embeddings"
    packed = ["--packed", str(run / "pack"), "--outputs", str(tmp_path / "out")]
    assert main(["unpack", *packed, "--out", str(written)]) == 0
    keys = json.loads((written / "keys.json").read_text())["keys"]
    rows, expected = np.load(written / "embeddings.npy"), np.load(run / "embeddings.npy")
    row_of = {line.key: line.row for line in read_faces(run / "faces.jsonl") if line.row is not None}
    assert set(keys) == set(row_of)
    together = (rows * expected[[row_of[key] for key in keys]]).sum(axis=1)
    assert together.min() > 0.99999


def test_the_shell_script_does_the_whole_sequence(
    vendor_folder: Path, scores: dict[int, tuple[list[float], float]]
) -> None:
    environment = os.environ | {"PYTHON": sys.executable, "MSAME": f"{sys.executable} -m facepipe msame"}
    command = ["sh", str(REPOSITORY / "scripts/eval_lfw.sh"), "16"]
    done = subprocess.run(command, cwd=vendor_folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"mean accuracy: {scores[16][1]}"


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("echo '[ERROR] no such file'", "the runner failed (status 0)"),
        ("echo '[INFO] Execute sample success'", "0 new entries"),
        ('mkdir "$6/20261_1_1_1_1" "$6/20261_1_1_1_2"; echo "Execute sample success"', "2 new entries"),
        ("echo 'Execute sample success'; exit 3", "the runner failed (status 3)"),
    ],
)
def test_the_runner_is_judged_by_what_it_left_and_not_by_its_status(
    tmp_path: Path, behaviour: str, message: str
) -> None:
    """msame ends with status 0 after most failures."""
    runner = tmp_path / "msame"
    runner.write_text(f"#!/bin/sh\n{behaviour}\n")
    runner.chmod(0o755)
    command = ["sh", str(REPOSITORY / "scripts/run_msame.sh"), "m.om", "in", str(tmp_path / "out")]
    environment = os.environ | {"MSAME": str(runner)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and message in done.stderr
    runner.write_text('#!/bin/sh\nmkdir "$6/20261_1_1_1_9"; echo "[INFO] Execute sample success"\n')
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{tmp_path}/out/20261_1_1_1_9"
