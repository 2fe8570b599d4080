# SPDX-License-Identifier: Apache-2.0
"""A PyTorch network of one's own by `--module`: converted with parity, imported, or refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from own_networks import Small
from seeded_weights import write_checkpoint

from facepipe.backends.ort import OnnxRuntime
from facepipe.catalogue import embedder, model
from facepipe.cli import main
from facepipe.convert.onnx.conversion import convert_model
from facepipe.embed import open_embedder
from facepipe.errors import FacepipeError
from facepipe.networks import build
from facepipe.runs.import_model import Told, import_detector, import_network
from facepipe.store.files import sha256_of_file

LIKE = "arcface.iresnet50"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Seeded weights of Small; its running means are not those of a fresh one."""
    torch.manual_seed(0)
    network = Small()
    network(torch.randn(16, 3, 112, 112))
    path = tmp_path / "small.pth"
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}, "epoch": 3}, path
    )
    return path


def test_it_is_converted_with_parity_and_imported(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    spec, steps = import_network(weights, "own_networks:small", LIKE, folder, "mine", Told(licence="ours"))
    assert [step.step for step in steps] == ["export", "match_prelu_slope", "simplify"]
    assert max(step.max_abs_difference for step in steps) < 1e-5
    assert spec == embedder("mine", folder)
    assert spec.network == "own_networks:small"
    assert spec.outputs[0].dims[1].low == 64
    assert spec.imported is not None
    assert spec.imported.checkpoint == sha256_of_file(weights)
    network = Small()
    state = torch.load(weights, weights_only=True)["state_dict"]
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    images = (torch.from_numpy(crops).permute(0, 3, 1, 2).float() - 127.5) / 127.5
    with torch.inference_mode():
        rows = torch.nn.functional.normalize(network.eval()(images)).numpy()
    with open_embedder(spec, OnnxRuntime(), folder, 2) as recogniser:
        assert np.allclose(recogniser.embed(crops), rows, atol=1e-6)


def test_iresnet_by_module_is_the_catalogues(tmp_path: Path) -> None:
    """The catalogue's own network, given as if it were somebody else's: the same operators, parity after every step."""
    torch.manual_seed(0)
    network = build("iresnet18")
    torch.save(network.state_dict(), tmp_path / "r18.pth")
    (tmp_path / "my_iresnet.py").write_text(
        "from facepipe.networks import build as network\n\n\ndef build():\n    return network('iresnet18')\n"
    )
    sys.modules.pop("my_iresnet", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        before = list(sys.path)
        spec, steps = import_network(tmp_path / "r18.pth", "my_iresnet:build", "arcface.iresnet18", tmp_path / "w")
        assert sys.path == before
    assert spec.name == "r18"
    assert {"export", "match_prelu_slope", "simplify"} <= {step.step for step in steps}
    assert spec.outputs[0].dims == model("arcface.iresnet18").outputs[0].dims


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("own_networks", "'own_networks': names no function, expected package.module:function."),
        ("nowhere_at_all:build", "no module named 'nowhere_at_all', expected one in this folder or an installed one"),
        ("own_networks:gone", "the module has no function 'gone'"),
        ("own_networks:NO_FUNCTION", "the module has no function 'NO_FUNCTION'"),
        ("own_networks:needs", "called without arguments it fails (needs() missing 1 required positional argument"),
        ("own_networks:text", "returns a str, expected a torch.nn.Module"),
        ("own_networks:two", "for two pictures the network returns tuple, expected [2, D], embeddings"),
        (
            "own_networks:other",
            "weights of another network than mine: 2 (neck.weight, neck.bias) missing",
        ),
        ("own_networks:loose", "the final ONNX holds"),
    ],
)
def test_what_is_no_network_is_refused(factory: str, told: str, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FacepipeError) as refused:
        import_network(weights, factory, LIKE, tmp_path / "w", "mine")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "w").glob("mine*"))


def test_a_network_of_another_size_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FacepipeError, match=r"the network does not take \[2, 3, 160, 160\]"):
        import_network(weights, "own_networks:small", "facenet.vggface2", tmp_path / "w")


def test_a_module_that_fails_is_refused(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "breaks_at_once.py").write_text("import math\n\nmath.sqrt(-1)\n")
    with pytest.raises(FacepipeError, match=r"breaks_at_once:build: cannot be imported \(math domain error\)"):
        import_network(weights, "breaks_at_once:build", LIKE, tmp_path / "w")
    (tmp_path / "wants_more.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(FacepipeError, match="no module named 'a_package_that_is_not_there'"):
        import_network(weights, "wants_more:build", LIKE, tmp_path / "w")


def test_weights_are_no_detector(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FacepipeError, match=r"holds weights of a network, expected an ONNX model. Try: its ONNX"):
        import_detector(weights, "scrfd", tmp_path / "w")


def test_weights_of_another_network_than_the_one_it_is_like_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FacepipeError, match=r"weights of another network than arcface.iresnet50: .* Try: --like"):
        import_network(weights, None, LIKE, tmp_path / "w", "mine")
    assert not (tmp_path / "w").exists()
    import_network(weights, "own_networks:small", LIKE, tmp_path / "w", "mine")
    with pytest.raises(FacepipeError, match=r"mine: its network is own_networks:small, .* Try: --module own_networks"):
        import_network(weights, None, "mine", tmp_path / "w", "other")


@pytest.mark.parametrize("form", ["pt", "checkpoint"])
def test_trained_weights_are_the_network_of_what_they_are_like(form: str, tmp_path: Path) -> None:
    """The same graph and the same answers as the catalogue's own conversion of these weights."""
    like, folder = model("mobilefacenet.paddle"), tmp_path / "w"
    written = write_checkpoint(like.network, tmp_path / "seeded.pt")
    state = torch.load(written, weights_only=True)
    path = tmp_path / "trained.pt"
    torch.save({"state_dict_backbone": state, "epoch": 3} if form == "checkpoint" else state, path)
    spec, steps = import_network(path, None, like.name, folder)
    convert_model(like, written, tmp_path / "catalogue")
    assert [step.step for step in steps] == ["export", "match_prelu_slope", "simplify"]
    assert spec == embedder("trained", folder)
    assert (spec.network, spec.pixels, spec.alignment) == (like.network, like.pixels, like.alignment)
    assert spec.imported is not None and spec.imported.checkpoint == sha256_of_file(path)
    assert spec.final(folder).read_bytes() == like.final(tmp_path / "catalogue").read_bytes()
    if form == "pt":  # what was imported is itself something to be like
        again, steps = import_network(path, None, "trained", folder, "again")
        assert [step.step for step in steps] == ["export", "match_prelu_slope", "simplify"]
        assert again.imported is not None and again.imported.sha256 == spec.imported.sha256


def test_the_command(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", str(weights), "--module", "own_networks:small", "--weights", str(tmp_path / "w")]
    assert main([*command, "--like", LIKE, "--name", "mine"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:-1]] == ["export", "match_prelu_slope", "simplify", "mine"]
    assert "from PyTorch at most" in printed[0]
    assert main([*command, "--detector", "scrfd"]) == 1
    assert "--module: a detector was asked for, expected a recogniser." in capsys.readouterr().err
