# SPDX-License-Identifier: Apache-2.0
"""Loading weights: strict by name and shape, by digest, and one clear error for each wrong file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from facepipe.catalogue import MODELS  # noqa: E402
from facepipe.convert.onnx.checkpoint import load, read_state  # noqa: E402
from facepipe.convert.onnx.report import finished  # noqa: E402
from facepipe.errors import WeightsError  # noqa: E402
from facepipe.networks import build  # noqa: E402

PNET = MODELS["pnet"]


class Foreign:
    """A class that a plain state dict cannot hold."""


def _saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_weights_arrive_as_they_were_saved(tmp_path: Path) -> None:
    state = build("pnet").state_dict()
    loaded = load(PNET, _saved(state, tmp_path / "mine.pt"), any_digest=True)
    for key, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, state[key])
    assert loaded.sha256 == hashlib.sha256((tmp_path / "mine.pt").read_bytes()).hexdigest()
    assert not loaded.network.training


def test_a_digest_that_is_not_the_catalogues_is_refused(tmp_path: Path) -> None:
    path = _saved(build("pnet").state_dict(), tmp_path / "pnet.pt")
    with pytest.raises(
        WeightsError, match=rf"sha256 is [0-9a-f]{{64}}, expected {PNET.weights.sha256} for pnet\..*fetch pnet"
    ):
        load(PNET, path)


def test_a_digest_that_nobody_published_is_recorded(tmp_path: Path) -> None:
    unpinned = replace(PNET, weights=replace(PNET.weights, sha256=None))
    path = _saved(build("pnet").state_dict(), tmp_path / "pnet.pt")
    assert load(unpinned, path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_prefix_of_parallel_training_is_stripped(tmp_path: Path) -> None:
    state = {f"module.{key}": tensor for key, tensor in build("pnet").state_dict().items()}
    load(PNET, _saved(state, tmp_path / "parallel.pt"), any_digest=True)


@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        ("state_dict", "model."),
        ("state_dict_backbone", "module."),
        ("model", ""),
        ("model_state_dict", "module.backbone."),
        ("net", ""),
    ],
)
def test_a_trainers_checkpoint_is_unwrapped(wrapper: str, prefix: str, tmp_path: Path) -> None:
    state = build("pnet").state_dict()
    named = {prefix + key: tensor for key, tensor in state.items()}
    whole = {"epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, wrapper: named}
    found = read_state(_saved(whole, tmp_path / "resume.ckpt"))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_a_checkpoint_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    state = build("pnet").state_dict()
    whole = {"model": {"state_dict": state, "epoch": 1}}
    with pytest.raises(WeightsError, match="a dict with model, expected a plain state dict"):
        read_state(_saved(whole, tmp_path / "deep.pt"))


def test_two_sets_of_weights_in_one_checkpoint_are_refused_by_name(tmp_path: Path) -> None:
    state = build("pnet").state_dict()
    with pytest.raises(WeightsError, match=r"weights in 2 of them.*checkpoint\['state_dict'\]"):
        read_state(_saved({"model": state, "state_dict": state}, tmp_path / "two.pt"))


def test_a_prefix_that_only_some_names_have_stays(tmp_path: Path) -> None:
    state = build("pnet").state_dict()
    mixed = {("module." if number else "") + key: tensor for number, (key, tensor) in enumerate(state.items())}
    assert list(read_state(_saved(mixed, tmp_path / "mixed.pt"))) == list(mixed)


def test_weights_of_another_network_name_what_is_missing_and_unexpected(tmp_path: Path) -> None:
    path = _saved(build("onet").state_dict(), tmp_path / "onet.pt")
    with pytest.raises(WeightsError) as caught:
        load(PNET, path, any_digest=True)
    text = str(caught.value)
    assert "onet.pt: these are the weights of another network than pnet" in text
    assert "4 (conv4_1.weight, conv4_1.bias, conv4_2.weight, …) missing" in text
    assert "unexpected" in text
    assert "conv4.weight" in text


def test_an_entry_of_another_shape_is_named(tmp_path: Path) -> None:
    state = build("pnet").state_dict() | {"conv1.bias": torch.zeros(11)}
    with pytest.raises(WeightsError, match=r"'conv1.bias' has shape \[11\], expected \[10\] for pnet"):
        load(PNET, _saved(state, tmp_path / "wide.pt"), any_digest=True)


def test_facenets_classifier_is_dropped_by_name_and_nothing_else_is(tmp_path: Path) -> None:
    spec = MODELS["facenet.vggface2"]
    state = build(spec.network).state_dict()
    head = {"logits.weight": torch.zeros(3, 512), "logits.bias": torch.zeros(3)}
    load(spec, _saved(state | head, tmp_path / "with.pt"), any_digest=True)
    with pytest.raises(WeightsError, match=r"none missing, 1 \(logits.scale\) unexpected"):
        load(spec, _saved(state | {"logits.scale": torch.zeros(1)}, tmp_path / "more.pt"), any_digest=True)
    pnet = build("pnet").state_dict() | head
    with pytest.raises(WeightsError, match=r"2 \(logits.weight, logits.bias\) unexpected"):
        load(PNET, _saved(pnet, tmp_path / "pnet.pt"), any_digest=True)


def test_batch_counters_are_entries_like_others(tmp_path: Path) -> None:
    spec = MODELS["mobilefacenet.ms1m"]
    state = {k: v for k, v in build(spec.network).state_dict().items() if k != "bn.num_batches_tracked"}
    with pytest.raises(WeightsError, match=r"1 \(bn.num_batches_tracked\) missing, none unexpected"):
        load(spec, _saved(state, tmp_path / "old.pt"), any_digest=True)


def test_a_recipe_needs_no_file_and_has_the_same_digest_in_every_run(weights_dir: Path) -> None:
    spec = MODELS["facenet.seeded"]
    report = finished(spec, None, weights_dir)
    assert report is not None
    assert load(spec, None).sha256 == report.weights_sha256


@pytest.mark.parametrize("kept", [0, 1, 100, 5000])
def test_a_truncated_file_is_told_from_a_whole_one(kept: int, tmp_path: Path) -> None:
    path = _saved(build("pnet").state_dict(), tmp_path / "pnet.pt")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"pnet.pt: .*(cannot be read as PyTorch weights|is damaged)"):
        read_state(path)


def test_a_truncated_file_of_the_older_format_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save(build("pnet").state_dict(), path, _use_new_zipfile_serialization=False)
    assert set(read_state(path)) == set(build("pnet").state_dict())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(WeightsError, match=r"cannot be read as PyTorch weights|is damaged"):
        read_state(path)


def test_a_file_that_is_no_pytorch_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.pt"
    path.write_text("<html>404</html>" * 100)
    with pytest.raises(WeightsError, match=r"page\.pt: it "):
        read_state(path)


def test_a_pickle_with_foreign_classes_is_never_executed(tmp_path: Path) -> None:
    path = _saved({"conv1.weight": torch.zeros(1), "trainer": Foreign()}, tmp_path / "trainer.pt")
    with pytest.raises(
        WeightsError, match=r"an object of the class \S*Foreign, expected a plain state dict.*state_dict\(\)"
    ):
        read_state(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"best": {"a": torch.zeros(1)}, "epoch": 3}, "a dict with best, epoch"),
        (torch.zeros(3), "a Tensor"),
        ([torch.zeros(3)], "a list"),
        ({}, "a dict with no entries"),
    ],
)
def test_what_is_no_flat_state_dict_is_named(content: object, kind: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"it holds {kind}, expected a plain state dict"):
        read_state(_saved(content, tmp_path / "other.pt"))
