# SPDX-License-Identifier: Apache-2.0
"""Verification during a training: the figures of `facepipe verification`, whatever the number of processes."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from album import album_pairs  # noqa: E402
from torch import distributed, nn  # noqa: E402

from facepipe.catalogue import model  # noqa: E402
from facepipe.cli import main  # noqa: E402
from facepipe.convert.onnx.checkpoint import load  # noqa: E402
from facepipe.datasets.images import read  # noqa: E402
from facepipe.datasets.lfw import read_verification_set  # noqa: E402
from facepipe.errors import DataError, FacepipeError  # noqa: E402
from facepipe.runs.score_verification import keys_in_order  # noqa: E402
from facepipe.train.processes import ALONE, Processes  # noqa: E402
from facepipe.train.verify import Accuracy, log_lines, open_verification, verify  # noqa: E402

SPEC = model("mobilefacenet.ms1m")


@pytest.fixture
def aligned(album: Path, tmp_path: Path) -> Path:
    """The album's aligned faces, each half noise so that they are mistaken, with a pairs.txt of eighty pairs."""
    folder, draw = tmp_path / "faces", np.random.default_rng(7)
    for path in sorted((album / "aligned").rglob("*.jpg")):
        noise = np.kron(draw.uniform(0, 255, (16, 16, 3)), np.ones((7, 7, 1)))
        face = folder / path.relative_to(album / "aligned")
        face.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((0.5 * read(path) + 0.5 * noise).astype(np.uint8)).save(face)
    (folder / "pairs.txt").write_text(album_pairs(10, 4))
    return folder


class Patches(nn.Module):
    """A network of one batch normalisation and one product: patches' means to 128 numbers; a mirror image differs."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)
        self.register_buffer("weight", torch.randn(768, 128, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.bn(images)
        return x.reshape(len(x), 3, 16, 7, 16, 7).mean(dim=(3, 5)).reshape(len(x), 768) @ self.weight  # [N, 128]


def test_published_weights_get_what_facepipe_verification_says_of_their_onnx(
    assets: Path, weights_dir: Path, tmp_path: Path
) -> None:
    faces, lfw = tmp_path / "faces", assets / "lfw" / "pairs.txt"
    lines = lfw.read_text().splitlines()
    kept = [line for start in range(1, 6001, 300) for line in lines[start : start + 1]]  # one of each 300
    faces.mkdir()
    (faces / "pairs.txt").write_text("\n".join(["10\t1", *kept]) + "\n")
    for key in read_verification_set(faces / "pairs.txt", faces).keys():  # noqa: SIM118 - no mapping
        (faces / key).parent.mkdir(exist_ok=True)
        (faces / key).symlink_to(assets / "lfw_aligned112" / "images" / key)
    packed, run = tmp_path / "lfw.bin", tmp_path / "run"
    assert main(["verification", str(faces), "--pack", str(packed)]) == 0
    assert main(["verification", str(faces), "--weights", str(weights_dir), "--run", str(run)]) == 0
    said = json.loads((run / "verification.json").read_text())
    network = load(SPEC, assets / "weights" / "mobilefacenet" / "mobilefacenet.pt").network
    (found,) = verify(network, [open_verification(packed, SPEC)], SPEC, batch=32)
    assert (found.accuracy, found.deviation) == (said["accuracy_flip"]["mean"], said["accuracy_flip"]["std"])
    assert found.threshold == pytest.approx(np.mean(said["accuracy_flip"]["thresholds"]), abs=1e-12)
    assert found.x_norm == pytest.approx(said["xnorm"], rel=1e-5), "the pixels are the catalogue's"
    assert found.accuracy > 0.9


def test_a_network_is_put_back_as_it_was_module_by_module(aligned: Path) -> None:
    network = Patches()
    network.train()
    network.bn.eval()  # as one whose statistics are frozen
    before = {name: value.clone() for name, value in network.state_dict().items()}
    (found,) = verify(network, [open_verification(aligned, SPEC)], SPEC)
    assert (network.training, network.bn.training) == (True, False)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert found.name == "pairs" and 0.5 <= found.accuracy <= 1


def test_the_lines_are_those_of_arcface_torchs_log() -> None:
    found = Accuracy("lfw", 0.590166666, 0.020311, 1.2, 9.8905618)
    assert log_lines(found, 2000, 0.6) == (
        "[lfw][2000]XNorm: 9.890562",
        "[lfw][2000]Accuracy-Flip: 0.59017+-0.02031",
        "[lfw][2000]Accuracy-Highest: 0.60000",
    )


def _in_a_group(rank: int, world: int, folder: Path, path: Path) -> None:
    """What one of the processes writes: its accuracy, its network afterwards, and what it is told of a spoilt face."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'met'}", rank=rank, world_size=world)
    network = Patches()
    network.bn.running_mean.fill_(0.1 + rank)  # ranks 1 and on have other statistics, which nobody saves
    faces = open_verification(path, SPEC)
    (found,) = verify(network, [faces], SPEC, Processes(rank, world), 8)
    if rank == world - 1:
        (path / keys_in_order(faces.pairs)[-1]).write_bytes(b"no picture")  # of the last share
    distributed.barrier()
    with pytest.raises(DataError) as told:
        verify(network, [faces], SPEC, Processes(rank, world), 8)
    answers = {"found": asdict(found), "mean": float(network.bn.running_mean[0]), "told": str(told.value)}
    (folder / f"{rank}.json").write_text(json.dumps(answers))
    distributed.destroy_process_group()


@pytest.mark.process
def test_three_processes_tell_what_one_tells_and_end_together(aligned: Path, tmp_path: Path) -> None:
    """44 faces on three processes do not come out even, and batches of eight do not on any."""
    network = Patches()
    network.bn.running_mean.fill_(0.1)
    (alone,) = verify(network, [open_verification(aligned, SPEC)], SPEC, ALONE, batch=8)
    assert 0.5 < alone.accuracy < 1, "a set that is neither hopeless nor trivial"
    context = multiprocessing.get_context("spawn")
    group = [context.Process(target=_in_a_group, args=(rank, 3, tmp_path, aligned)) for rank in range(3)]
    for process in group:
        process.start()
    for process in group:
        process.join(120)
    assert [process.exitcode for process in group] == [0, 0, 0]
    answers = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert [answer["found"] for answer in answers] == [asdict(alone)] * 3, "by the first one's statistics"
    assert [answer["mean"] for answer in answers] == pytest.approx([0.1, 1.1, 2.1]), "each has its own again"
    assert ["another process cannot read" in answer["told"] for answer in answers] == [True, True, False]
    assert "is no picture in a format known here" in answers[2]["told"]


def test_photographs_are_refused_and_the_command_that_aligns_them_is_told(album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    shutil.copytree(album / "people", folder)
    (folder / "pairs.txt").write_text(album_pairs(10, 4))
    with pytest.raises(DataError, match=r"_0001\.jpg: is 250x250, expected a face that is aligned to 112x112") as told:
        open_verification(folder, SPEC)
    assert "facepipe train-data align" in (told.value.attempt or "")


def test_a_set_that_would_end_the_training_later_is_refused_at_once(aligned: Path, tmp_path: Path) -> None:
    face = aligned / "Person_03" / "Person_03_0004.jpg"
    content = face.read_bytes()
    face.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="Person_03_0004"):
        open_verification(aligned, SPEC)
    face.unlink()
    with pytest.raises(DataError, match="Person_03_0004"):
        open_verification(aligned, SPEC)


def test_a_network_that_has_diverged_says_so(aligned: Path) -> None:
    network = Patches()
    network.weight.fill_(float("nan"))
    with pytest.raises(FacepipeError, match="the embedding of row 0 has length nan"):
        verify(network, [open_verification(aligned, SPEC)], SPEC)
