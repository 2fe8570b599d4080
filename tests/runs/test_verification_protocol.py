# SPDX-License-Identifier: Apache-2.0
"""insightface's protocol on faces and their mirror images: same figures from a folder and from a .bin, at any batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from album import album_pairs

from facepipe.catalogue import model
from facepipe.cli import main
from facepipe.datasets.lfw import Pair, VerificationSet, read_pairs
from facepipe.embed.embedder import Embedder
from facepipe.errors import DataError
from facepipe.runs.score_verification import MirroredEmbeddings, embed_mirrored, keys_in_order, score
from facepipe.store.made_from import weights_behind

SPEC = model("mobilefacenet.paddle")


def _colours(images: np.ndarray) -> tuple[np.ndarray]:
    """A network of one layer: the mean of 128 fixed patches, weighted so that a mirror image gives something else."""
    patches = images.reshape(len(images), 3, 16, 7, 16, 7).mean(axis=(3, 5)).reshape(len(images), -1)  # (N, 768)
    return ((patches @ np.random.default_rng(0).normal(size=(768, 128))).astype(np.float32),)


def _set(pair_count: int = 40, people: int = 8) -> tuple[VerificationSet, dict[str, np.ndarray]]:
    """Faces that are noise around one picture for each person; ten folds."""
    rng = np.random.default_rng(1)
    base = rng.uniform(0, 256, (people, 16, 16, 3))
    coarse = {
        (p, i): np.clip(base[p] + rng.normal(0, 110, (16, 16, 3)), 0, 255) for p in range(people) for i in range(3)
    }
    faces = {f"p{p}/{i}": np.kron(face, np.ones((7, 7, 1))).astype(np.uint8) for (p, i), face in coarse.items()}
    pairs = []
    for i in range(pair_count):
        one, two = int(rng.integers(people)), int(rng.integers(people - 1))
        other = one if i % 2 else (one + 1 + two) % people
        pairs.append(Pair(f"p{one}/0", f"p{other}/{rng.integers(1, 3)}", bool(i % 2), i * 10 // pair_count))
    return VerificationSet("made", tuple(pairs), 10), faces


def test_the_figures_are_those_of_the_protocol_written_out_as_loops() -> None:
    pairs, faces = _set()
    keys = keys_in_order(pairs)
    embeddings = embed_mirrored(keys, faces.__getitem__, Embedder(SPEC, _colours, 16))
    figures = score(pairs, embeddings)

    def unit(row: np.ndarray) -> np.ndarray:
        return row / np.linalg.norm(row)

    rows = dict(
        zip(keys, zip(embeddings.plain.astype(float), embeddings.mirrored.astype(float), strict=True), strict=True)
    )
    lengths, distances = [], []
    for pair in pairs.pairs:
        a, b = (rows[key] for key in (pair.first, pair.second))
        lengths += [np.linalg.norm(row) for row in (*a, *b)]
        distances.append(np.sum((unit(a[0] + a[1]) - unit(b[0] + b[1])) ** 2))
    truth = np.array([pair.same for pair in pairs.pairs])
    per_fold = []
    for fold in range(10):
        inside = np.array([pair.fold == fold for pair in pairs.pairs])
        right = [((np.array(distances) < t) == truth) for t in np.arange(0, 4, 0.01)]
        best = int(np.argmax([answers[~inside].mean() for answers in right]))
        per_fold.append(right[best][inside].mean())
    assert figures["accuracy_flip"]["per_fold"] == pytest.approx(per_fold)
    assert figures["xnorm"] == pytest.approx(np.mean(lengths), rel=1e-6)
    assert figures["accuracy_flip"]["mean"] == pytest.approx(np.mean(per_fold))
    assert 0.8 < figures["accuracy_flip"]["mean"] < 1.0, "a set that is neither hopeless nor trivial"
    assert figures["accuracy"] != figures["accuracy_flip"]


@pytest.mark.parametrize("batch", [1, 7, 11, 32])
def test_every_batch_size_gives_the_same_embeddings_and_the_network_sees_full_batches_alone(batch: int) -> None:
    pairs, faces = _set()
    keys = keys_in_order(pairs)
    seen = []

    def network(images: np.ndarray) -> tuple[np.ndarray]:
        seen.append(len(images))
        return _colours(images)

    whole = embed_mirrored(keys, faces.__getitem__, Embedder(SPEC, _colours, len(keys)))
    told: list[int] = []
    parts = embed_mirrored(keys, faces.__getitem__, Embedder(SPEC, network, batch), told.append)
    assert set(seen) == {batch}
    assert sum(told) == len(keys)
    np.testing.assert_allclose(parts.plain, whole.plain, rtol=1e-5)
    np.testing.assert_allclose(parts.mirrored, whole.mirrored, rtol=1e-5)
    assert score(pairs, parts)["accuracy_flip"] == score(pairs, whole)["accuracy_flip"]


def test_a_pair_without_an_embedding_is_named() -> None:
    pairs, _ = _set()
    blank = MirroredEmbeddings(("p0/0",), np.ones((1, 128), np.float32), np.ones((1, 128), np.float32))
    with pytest.raises(DataError, match=r"made: \d+ faces have no embedding \(first: p"):
        score(pairs, blank)


def test_no_face_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no face to embed"):
        embed_mirrored((), {}.__getitem__, Embedder(SPEC, _colours, 4))


def test_a_folder_and_the_set_that_was_packed_from_it_score_alike_to_the_last_digit(
    album: Path, seeded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces, weights, pairs = album / "aligned", seeded("mobilefacenet.ms1m"), tmp_path / "pairs.txt"
    pairs.write_text(album_pairs(10, 4))
    packed = tmp_path / "lfw.bin"
    common = ["--weights", str(weights), "--embedder", "mobilefacenet.ms1m"]
    assert main(["verification", str(faces), "--pairs", str(pairs), "--pack", str(packed)]) == 0
    folder = ["verification", str(faces), "--pairs", str(pairs), "--run", str(tmp_path / "a"), *common]
    assert main([*folder, "--batch", "32"]) == 0
    assert main(["verification", str(packed), "--run", str(tmp_path / "b"), *common, "--batch", "32"]) == 0
    assert main(["verification", str(packed), "--run", str(tmp_path / "c"), *common, "--batch", "7"]) == 0
    one, two, three = (json.loads((tmp_path / name / "verification.json").read_text()) for name in "abc")
    for name in ("accuracy_flip", "accuracy", "xnorm", "tar_at_far_1e-3", "auc", "eer"):
        assert one[name] == two[name], name
    assert three["accuracy_flip"] == two["accuracy_flip"], "the short last batch counts like a full one"
    assert one["accuracy_flip"]["mean"] >= 0.95
    assert len(one["accuracy_flip"]["per_fold"]) == 10
    assert one["weights"]["mobilefacenet.ms1m"] == weights_behind(model("mobilefacenet.ms1m").final(weights))["weights"]
    assert one["set"]["pairs"] == 80 == len(read_pairs(pairs).pairs)
    assert "Accuracy-Flip: " in capsys.readouterr().out


def test_what_cannot_be_scored_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verification", str(tmp_path / "agedb_30.bin")]) == 1
    assert "agedb_30.bin: cannot be opened" in capsys.readouterr().err
    assert main(["verification", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such file or folder, expected a verification set." in capsys.readouterr().err
    (tmp_path / "evil.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main(["verification", str(tmp_path / "evil.bin")]) == 1
    assert "it names 'os.system'" in capsys.readouterr().err
