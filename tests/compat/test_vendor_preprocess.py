# SPDX-License-Identifier: Apache-2.0
"""The vendor's first half over photographs that are hard, and over files that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from packed_rows import read_bins
from PIL import Image

from facepipe.backends import backend_by_name
from facepipe.backends.base import open_session
from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.compat.vendor_preprocess import (
    Split,
    SplitJob,
    image_folder_keys,
    pack_crop_folder,
    run_onet,
    run_pnet,
    run_rnet,
    write_bin_info,
    write_photograph_info,
)
from facepipe.datasets.crops import crop_name, write_crop
from facepipe.datasets.images import read
from facepipe.errors import DataError, StageError, TensorError
from facepipe.store.bins import read_index
from facepipe.store.owned import claim

STAGES = {"pnet": run_pnet, "rnet": run_rnet, "onet": run_onet}


def silent(count: int) -> None:
    """Progress that nobody watches."""


def run_stages(job: SplitJob, weights: Path, names: tuple[str, ...] = tuple(STAGES)) -> list[Split]:
    done = []
    for name in names:
        spec = model(name)
        with open_session(backend_by_name("onnxruntime"), spec, spec.final(weights)) as session:
            done.append(STAGES[name](job, session.run, silent))
    return done


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A portrait, one much smaller, one that cannot be read, one of one pixel, and a name with a blank."""
    skimage = pytest.importorskip("skimage", reason="the portrait is one that scikit-image ships")
    portrait = Image.fromarray(skimage.data.astronaut())
    root = tmp_path / "my photos"
    for key, picture in {
        "Zoë Ünal/a b.png": portrait,
        "Zoë Ünal/c.jpg": portrait.resize((300, 340)),
        "Adam/one.png": noise(1, 1),
        "Adam/noise.bmp": noise(40, 60),
        "Adam/twin.jpg": portrait.crop((100, 0, 400, 300)),
    }.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / key)
    (root / "Adam/broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return root


FACELESS = {"Adam/broken.jpg", "Adam/noise.bmp", "Adam/one.png"}


def test_photographs_of_all_kinds_pass_in_one_batch_and_none_shifts_another(
    tmp_path: Path, weights_dir: Path, photographs: Path
) -> None:
    by_batch = {}
    for batch in (1, 4, 16):
        job = SplitJob(f"{photographs}/", batch, tmp_path / "output")
        *_, located = run_stages(job, weights_dir)
        assert set(located.no_face) == FACELESS and located.found == 3
        assert "broken" in located.no_face["Adam/broken.jpg"] or "picture" in located.no_face["Adam/broken.jpg"]
        crops = json.loads((job.split / "onet.json").read_text(encoding="utf-8"))
        names = [path.removeprefix(f"{photographs}_split_om_cropped_{batch}/") for path in crops]
        assert names == [crop_name(key) for key in image_folder_keys(photographs)]
        there = {name for name, path in zip(names, crops, strict=True) if Path(path).is_file()}
        assert there == {"Zoë Ünal/a b.png", "Zoë Ünal/c.jpg", "Adam/twin.jpg"}
        by_batch[batch] = {name: read(Path(job.crop_dir) / name).tobytes() for name in there}
    assert by_batch[1] == by_batch[4] == by_batch[16]


def test_boxes_at_the_edge_are_cut_as_the_vendor_cuts_them(tmp_path: Path) -> None:
    """The chain's results are compared with the vendor's, which has facenet-pytorch's arithmetic."""
    Image.new("RGB", (60, 60), (200, 200, 200)).save(tmp_path / "one.png")
    job, seen = SplitJob(str(tmp_path), 1, tmp_path / "output"), list[float]()
    job.split.mkdir(parents=True)
    (job.split / "pnet.json").write_text('{"0": {"boxes": [[-19, -19, 20, 20, 0.9]], "image_inds": [0]}}')

    def run(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append(float(crops[0].min()) * 128 + 127.5)
        return np.zeros((len(crops), 4), np.float32), np.zeros((len(crops), 2), np.float32)

    run_rnet(job, run, silent)
    assert seen == [pytest.approx(200)]  # no black


def test_a_second_run_changes_nothing_and_a_lost_face_takes_its_crop_along(
    tmp_path: Path, weights_dir: Path, photographs: Path
) -> None:
    job = SplitJob(str(photographs), 4, tmp_path / "output")
    run_stages(job, weights_dir)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run_stages(job, weights_dir)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    noise(300, 300).save(photographs / "Adam/twin.jpg")
    run_stages(job, weights_dir)
    assert not (Path(job.crop_dir) / "Adam/twin.jpg").exists()


def test_a_stage_refuses_boxes_of_other_photographs(tmp_path: Path, weights_dir: Path, photographs: Path) -> None:
    job = SplitJob(str(photographs), 4, tmp_path / "output")
    with pytest.raises(StageError, match=r"pnet\.json: no such file.*--model Pnet"):
        run_stages(job, weights_dir, ("rnet",))
    run_stages(job, weights_dir, ("pnet",))
    noise(30, 30).save(photographs / "Adam/another.png")
    with pytest.raises(StageError, match=r"pnet\.json: was made from other photographs"):
        run_stages(job, weights_dir, ("rnet",))


def test_the_vendors_own_file_is_taken_when_the_numbers_agree(
    tmp_path: Path, weights_dir: Path, photographs: Path
) -> None:
    job = SplitJob(str(photographs), 4, tmp_path / "output")
    run_stages(job, weights_dir, ("pnet", "rnet"))
    ours = json.loads((job.split / "rnet.json").read_text())
    (job.split / "pnet.index.json").unlink()
    run_stages(job, weights_dir, ("rnet",))
    assert json.loads((job.split / "rnet.json").read_text()) == ours
    path = job.split / "pnet.json"
    for edit, message in (
        (lambda content: content.pop("1"), "has other batches than '0' to '1'"),
        (lambda content: content["0"]["image_inds"].append(0), "expected as many numbers"),
        (lambda content: content["0"]["image_inds"].__setitem__(0, 4), "image_inds go to 4, expected 0 to 3"),
        (lambda content: content["0"].pop("boxes"), "is not boxes and image_inds"),
        (lambda content: content["0"]["boxes"].__setitem__(0, [1, 2]), "is not boxes and image_inds"),
    ):
        content = json.loads(json.dumps(PNET_FORM))
        edit(content)
        path.write_text(json.dumps(content))
        with pytest.raises(StageError, match=message):
            run_stages(job, weights_dir, ("rnet",))


PNET_FORM = {
    "0": {"boxes": [[1, 2, 30, 40, 0.9]] * 3, "image_inds": [0, 1, 1]},
    "1": {"boxes": [], "image_inds": []},
}


def test_crops_of_other_photographs_are_not_mixed_in(tmp_path: Path, weights_dir: Path, photographs: Path) -> None:
    job = SplitJob(str(photographs), 4, tmp_path / "output")
    run_stages(job, weights_dir, ("pnet", "rnet"))
    (Path(job.crop_dir) / "Eve").mkdir(parents=True)
    noise(160, 160).save(Path(job.crop_dir) / "Eve/e.png")
    with pytest.raises(StageError, match=r"holds 1 entry that facepipe did not make \(first: Eve\)"):
        run_stages(job, weights_dir, ("onet",))
    shutil.move(Path(job.crop_dir) / "Eve", tmp_path / "Eve")
    claim(Path(job.crop_dir))
    shutil.move(tmp_path / "Eve", Path(job.crop_dir) / "Eve")
    with pytest.raises(StageError, match=r"holds 1 files that are no crops of these photographs \(first: Eve/e\.png"):
        run_stages(job, weights_dir, ("onet",))


def test_crops_are_packed_by_key_with_their_folders_as_classes(tmp_path: Path) -> None:
    keys = ["b/2.png", "a/1.png", "a x/1.png"]
    for number, key in enumerate(keys):
        write_crop(tmp_path / "crops" / key, np.full((160, 160, 3), number, np.uint8))
    pack_crop_folder(tmp_path / "crops", tmp_path / "packed", 2, silent)
    assert read_index(tmp_path / "packed").keys == ("a/1.png", "a x/1.png", "b/2.png"), "ImageFolder's order"
    rows = np.concatenate([rows for _, rows in read_bins(tmp_path / "packed")])
    assert np.allclose(rows[:, 0, 0, 0], (np.array([1, 2, 0]) - 127.5) / 128)
    labels = [np.fromfile(tmp_path / f"packed/yb_results/{i}.bin", np.int64).tolist() for i in (0, 1)]
    assert labels == [[0, 1], [2]]
    (tmp_path / "crops/b/2.png").unlink()
    pack_crop_folder(tmp_path / "crops", tmp_path / "packed", 2, silent)
    assert read_index(tmp_path / "packed").keys == ("a/1.png", "a x/1.png")
    assert len(list((tmp_path / "packed/xb_results").iterdir())) == 1


def test_a_crop_of_another_size_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "crops/a").mkdir(parents=True)
    with pytest.raises(DataError, match="no photograph in it"):
        pack_crop_folder(tmp_path / "crops", tmp_path / "packed", 2, silent)
    noise(112, 112).save(tmp_path / "crops/a/1.png")
    with pytest.raises(TensorError, match=r"crop of 'a/1\.png': is uint8 \[112, 112, 3\]"):
        pack_crop_folder(tmp_path / "crops", tmp_path / "packed", 2, silent)


def test_a_jpeg_crop_is_off_by_at_most_a_few_levels(tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage", reason="the portrait is one that scikit-image ships")
    crop = np.ascontiguousarray(skimage.data.astronaut()[40:200, 140:300])
    write_crop(tmp_path / "a.jpg", crop)
    write_crop(tmp_path / "a.png", crop)
    off = np.abs(read(tmp_path / "a.jpg").astype(int) - crop)
    assert off.max() <= 4 and off.mean() < 0.7
    assert np.array_equal(read(tmp_path / "a.png"), crop)
    with pytest.raises(DataError, match=r"cannot be written as '\.bmp', expected \.png or \.jpg"):
        write_crop(tmp_path / "a.bmp", crop)


def test_the_list_for_benchmark_is_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 0, 1):
        (tmp_path / f"{number}.bin").touch()
    assert write_bin_info(tmp_path, tmp_path / "b.info", 160, 112) == 4
    lines = (tmp_path / "b.info").read_text().splitlines()
    assert lines == [f"{i} {tmp_path}/{name}.bin 160 112" for i, name in enumerate((0, 1, 2, 10))]


def test_the_list_of_photographs_holds_each_ones_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise(20, 30).save(tmp_path / "b.JPG")
    noise(50, 40).save(tmp_path / "a.jpeg")
    info = tmp_path / "out.info"
    assert write_photograph_info(tmp_path, info) == 2
    assert info.read_text() == f"0 {tmp_path}/a.jpeg 40 50\n1 {tmp_path}/b.JPG 30 20\n"
    noise(20, 30).save(tmp_path / "c d.jpg")
    with pytest.raises(DataError, match=r"c d\.jpg: has a blank in its path"):
        write_photograph_info(tmp_path, info)
    with pytest.raises(DataError, match="holds no such file"):
        write_bin_info(tmp_path, info, 1, 1)
    command = ["vendor", "gen-dataset-info", "bin", str(tmp_path), str(info)]
    assert main(command) == 2
    assert "bin takes 2 sizes, 0 are given" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Pnet", "PNet", "pnet"])
def test_any_case_of_a_networks_name_is_taken_and_another_name_is_not(
    name: str, tmp_path: Path, weights_dir: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(weights_dir)
    arguments = ["vendor", "mtcnn-preprocess", "--data_dir", str(photographs), "--batch_size", "16", "--model"]
    assert main([*arguments, name]) == 0
    assert (tmp_path / "data/output/split_bs16/pnet.json").is_file()
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "Qnet"])


def test_the_environment_chooses_the_back_end(
    tmp_path: Path, weights_dir: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(weights_dir)
    arguments = ["vendor", "mtcnn-preprocess", "--data_dir", str(photographs), "--model", "Pnet"]
    monkeypatch.setenv("BACKEND", "abacus")
    assert main(arguments) == 1
    assert "backend 'abacus' is not known, expected one of onnxruntime" in capsys.readouterr().err
    monkeypatch.setenv("BACKEND", "null")
    assert main(arguments) == 0
    assert "pnet.simplified.onnx on null" in capsys.readouterr().err
