# SPDX-License-Identifier: Apache-2.0
"""Files and names that want more than to be read: nothing is executed, nothing outside is touched, words come back."""

from __future__ import annotations

import io
import pickle
import shutil
import socket
import tarfile
from pathlib import Path
from typing import Any

import load
import numpy as np
import pytest
import torch
import victims
from measured import facepipe
from onnx import TensorProto, helper, numpy_helper
from small_networks import write_onnx

from facepipe.assets.archive import extract_folder
from facepipe.backends import backend_by_name
from facepipe.backends.base import RuntimeOptions, open_session
from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.convert.onnx.checkpoint import read_state
from facepipe.datasets.images import list_keys
from facepipe.datasets.lfw import read_pairs
from facepipe.errors import AssetError, BackendError, DataError, TensorError, WeightsError

ODD_NAMES = (
    "--help.jpg",
    "-rf.jpg",
    "$(touch pwned).jpg",
    "; rm -rf x.jpg",
    "a b\tc.jpg",
    "ü\u202e.jpg",
    "'\".jpg",
    "*.jpg",
)


def program(folder: Path) -> Any:
    class Program:
        def __reduce__(self) -> tuple[Any, tuple[str, str]]:
            return open, (str(folder / "it ran"), "w")

    return Program()


def test_a_checkpoint_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    for content in (program(tmp_path), {"a": program(tmp_path)}, {"a": torch.zeros(1), "b": [program(tmp_path)]}):
        torch.save(content, path)
        with pytest.raises(WeightsError, match="expected a plain state dict of tensors"):
            read_state(path)
        path.write_bytes(pickle.dumps(content, protocol=2) if not isinstance(content, dict) else b"\x80\x02}q\x00.")
        with pytest.raises(WeightsError):
            read_state(path)
    assert not (tmp_path / "it ran").exists()


def onnx_file(path: Path, nodes: list[Any], initialisers: list[Any] | None = None) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 24, 24]) for name in ("image", "out")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initialisers or [])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def outside(path: Path) -> Path:
    """A model whose numbers lie in a file that is none of its business."""
    tensor = numpy_helper.from_array(np.zeros((1, 3, 24, 24), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    return onnx_file(path, [helper.make_node("Add", ["image", "w"], ["out"])], [tensor])


def huge(path: Path) -> Path:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20], raw_data=b"\0" * 16)
    return onnx_file(path, [helper.make_node("Add", ["image", "w"], ["out"])], [tensor])


MODELS = {
    "external data outside its folder": outside,
    "a huge initialiser": huge,
    "an operator nobody knows": lambda p: onnx_file(p, [helper.make_node("Explode", ["image"], ["out"])]),
    "a cycle": lambda p: onnx_file(
        p, [helper.make_node("Add", ["image", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Relu", ["b"], ["out"])]
    ),
    "no ONNX": lambda p: p.write_bytes(b"\x08\x07" + bytes(range(256))) and p,
    "nothing": lambda p: p.write_bytes(b"") or p,
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_a_hostile_onnx_file_is_refused_in_words(kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(3 * 24 * 24 * 4))
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "rnet.simplified.onnx"
    MODELS[kind](path)
    with (
        pytest.raises((BackendError, TensorError)),
        open_session(backend_by_name("onnxruntime", RuntimeOptions()), model("rnet"), path) as session,
    ):
        session.run(np.zeros((1, 3, 24, 24), np.float32))


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind not in ("an operator nobody knows", "a cycle")])
def test_the_preflight_names_a_hostile_onnx_file(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "x.onnx"
    MODELS[kind](path)
    assert main(["check", str(path), "--soc", "Ascend310"]) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_network_of_other_shapes_is_named(tmp_path: Path) -> None:
    path = write_onnx(model("onet"), tmp_path / "rnet.simplified.onnx")
    with (
        pytest.raises((BackendError, TensorError)),
        open_session(backend_by_name("onnxruntime", RuntimeOptions()), model("rnet"), path) as session,
    ):
        session.run(np.zeros((1, 3, 24, 24), np.float32))


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "/etc/passwd", "a\\b", "x\0y", "."])
def test_pairs_that_climb_out_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(f"1\t1\n{name}\t1\t2\nA\t1\tB\t1\n")
    with pytest.raises(DataError, match=r"pairs\.txt, line 2"):
        read_pairs(path)


@pytest.mark.parametrize("trick", ["../out", "/tmp/out", "lfw/../../out", "link", "device", "twice"])
def test_an_archive_that_climbs_out_leaves_nothing(tmp_path: Path, trick: str) -> None:
    archive = tmp_path / "a" / "lfw.tgz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        names = [
            "lfw/a/a_0001.jpg",
            {"link": "lfw/link", "device": "lfw/null", "twice": "lfw/a/a_0001.jpg"}.get(trick, trick),
        ]
        for name in names:
            member = tarfile.TarInfo(name)
            if name == "lfw/link":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            elif name == "lfw/null":
                member.type = tarfile.CHRTYPE
            tar.addfile(member, io.BytesIO())
    with pytest.raises(AssetError, match="nothing was kept"):
        extract_folder(archive, "lfw", tmp_path / "a" / "lfw")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "lfw.tgz"]


def test_names_that_look_like_options_or_shell_are_names(work: Path, tmp_path: Path) -> None:
    face = next(iter(sorted((work / "sample/images").rglob("*.jpg"))))
    place = tmp_path / "pictures"
    place.mkdir()
    for name in ODD_NAMES:
        shutil.copy(face, place / name)
    (place / "loop").symlink_to(place)
    (place / "broken.jpg").symlink_to("nowhere")
    (place / "up.jpg").symlink_to("/etc/passwd")
    keys = list_keys(place)
    assert set(keys) == {*ODD_NAMES, "broken.jpg", "up.jpg"}
    words = ["embed", str(place), "--out", str(tmp_path / "run"), "--weights", str(work / "weights")]
    assert main([*words, "--embedder", "facenet.seeded", "--min-face", "40", "--workers", "1"]) == 0
    text = (tmp_path / "run/faces.jsonl").read_text(encoding="utf-8")
    assert text.count('"row"') == len(ODD_NAMES) and text.count('"unread"') == 2
    assert "root:" not in text and not list(tmp_path.rglob("pwned"))


def test_nothing_but_fetch_uses_the_network(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, closed)
    monkeypatch.setattr(socket, "getaddrinfo", closed)
    monkeypatch.setattr(socket, "create_connection", closed)
    face = str(next(iter(sorted((work / "sample/images").rglob("*.jpg")))))
    base = ["--weights", str(work / "weights")]
    own = [*base, "--embedder", "facenet.seeded", "--min-face", "40"]
    commands = [
        victims.lfw(work, staged=False, workers=1).words(tmp_path / "a"),
        victims.lfw(work, staged=True, workers=1).words(tmp_path / "b"),
        ["embed", str(Path(face).parent), "--out", str(tmp_path / "c"), "--workers", "1", *own],
        ["detect", face, *base],
        ["verify", face, face, *own],
        ["models"],
        ["backends"],
        ["check", str(tmp_path / "a")],
        ["check", "rnet", "--soc", "Ascend310", *base],
        ["om", "rnet", "--soc", "Ascend310", "--dry-run"],
    ]
    for words in commands:
        assert main(words) in (0, 1), words
    assert "the network was used" not in capfd.readouterr().err
    monkeypatch.setenv("FACEPIPE_ASSETS", "")
    with pytest.raises(AssertionError, match="the network was used"):  # the test can fail
        main(["fetch", "mobilefacenet.ms1m", "--weights", str(tmp_path / "w"), "--data", str(tmp_path / "d")])


def test_two_thousand_photographs_in_flat_memory_with_no_file_left_open(weights_dir: Path, tmp_path: Path) -> None:
    figures = load.run_load(tmp_path, weights_dir, 2000, shard=100, warm_up=0.5)
    load.judge(figures, speed_tolerance=None)  # seconds tell no speed; `make load` holds 25 % over 100,000


def test_a_load_that_leaks_is_seen() -> None:
    flat = {
        "status": 0, "photographs": 9, "lines": 9, "megabytes_by_half": [100.0, 101.0], "open_files_by_half": [9, 9],
        "temporary_left": [], "parts_left": 0, "per_processor_second_by_half": [100.0, 95.0],
    }  # fmt: skip
    load.judge(flat)
    for leak in (
        {"megabytes_by_half": [100.0, 140.0]}, {"open_files_by_half": [9, 11]}, {"temporary_left": ["x"]},
        {"parts_left": 1}, {"per_processor_second_by_half": [100.0, 50.0]}, {"lines": 8},
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            load.judge({**flat, **leak})


def test_the_measuring_ends_a_command_that_hangs(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="still running"):
        facepipe(["embed", "/", "--out", str(tmp_path / "run")], timeout_s=0.2)
