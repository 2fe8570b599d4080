# SPDX-License-Identifier: Apache-2.0
"""Pairs are joined by key, missing ones treated as the policy says, and accuracy.json holds what the contract names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from facepipe.datasets.lfw import Pair, VerificationSet
from facepipe.errors import DataError
from facepipe.metrics.verification import ACCURACY_THRESHOLDS
from facepipe.results import Face, FaceLine, NoFace, Unread
from facepipe.runs.score import Policies, Provenance, accuracy_content, figures, join, score_run
from facepipe.store.files import read_json
from facepipe.store.owned import claim
from facepipe.store.run_faces import write_embeddings, write_faces

FOLDS, PER_KIND, PHOTOGRAPHS = 10, 4, 3
PROVENANCE = Provenance(
    detector="mtcnn",
    embedder="somebody.else",
    backend="onnxruntime",
    batch=16,
    weights={"pnet": "a" * 64, "somebody.else": None},
    versions={"python": "3.11"},
)


def _people() -> int:
    return FOLDS * 2


def _key(person: int, number: int) -> str:
    return f"P_{person:02d}/P_{person:02d}_{number:04d}.jpg"


def _pairs() -> VerificationSet:
    """In each fold, two people of its own: four pairs of one person, four of two."""
    pairs = []
    for fold in range(FOLDS):
        one, other = 2 * fold, 2 * fold + 1
        same = [(_key(p, i), _key(p, j)) for p in (one, other) for i, j in ((1, 2), (2, 3))]
        different = [(_key(one, i), _key(other, j)) for i, j in ((1, 1), (2, 2), (3, 3), (1, 3))]
        pairs += [Pair(a, b, True, fold) for a, b in same] + [Pair(a, b, False, fold) for a, b in different]
    return VerificationSet("pairs", tuple(pairs), FOLDS)


def _embedding(person: int, number: int) -> np.ndarray:
    """People lie on axes of their own; photographs of one differ a little."""
    point = np.zeros(2 * _people(), np.float32)
    point[2 * person], point[2 * person + 1] = 1.0, 0.1 * number
    return point / np.linalg.norm(point)


def _write_run(folder, without_face=(), shuffle=None, unread=()):
    """A run's two files; `shuffle` gives each photograph another one's embedding."""
    claim(folder)
    keys = sorted(_key(p, n) for p in range(_people()) for n in range(1, PHOTOGRAPHS + 1))
    face = Face(np.array([1, 2, 3, 4], np.float32), 0.5, np.zeros((5, 2), np.float32))
    reasons = dict.fromkeys(without_face, "no face found")
    gone: dict[str, NoFace | Unread] = {key: NoFace(reason) for key, reason in reasons.items()}
    gone |= {key: Unread("is empty (0 bytes)") for key in unread}
    write_faces(folder / "faces.jsonl", [FaceLine(k, gone.get(k, face)) for k in keys])
    of_face = [_embedding(int(k[2:4]), int(k[-8:-4])) for k in keys if k not in gone]
    rows = np.stack(of_face)
    if shuffle is not None:
        rows = rows[shuffle.permutation(len(rows))]
    write_embeddings(folder / "embeddings.npy", len(rows), rows.shape[1], [rows])
    return keys


def test_accuracy_json_holds_every_field_of_the_contract(tmp_path):
    keys = _write_run(tmp_path)
    returned = score_run(tmp_path, _pairs(), Policies("different"), PROVENANCE)
    written = read_json(tmp_path / "accuracy.json")
    assert written == returned
    assert written["accuracy"]["mean"] == 1.0 and written["accuracy"]["std"] == 0.0
    assert written["accuracy"]["per_fold"] == [1.0] * 10 and len(written["accuracy"]["thresholds"]) == 10
    assert written["tar_at_far_1e-3"] == 1.0 and written["auc"] == 1.0 and written["eer"] == 0.0
    assert written["pairs"] == {
        "total": 80,
        "missing": 0,
        "missing_policy": "different",
        "unread": 0,
        "unread_policy": "error",
    }
    assert written["images"]["total"] == len(keys) and written["images"]["no_face"] == []
    listed = hashlib.sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest()
    assert written["images"]["list_sha256"] == listed
    assert written["detector"] == "mtcnn" and written["embedder"] == "somebody.else"
    assert written["backend"] == "onnxruntime" and written["batch"] == 16
    assert written["weights"] == {"pnet": "a" * 64, "somebody.else": None} and written["versions"]["python"] == "3.11"


def test_a_photograph_without_face_in_the_middle_shifts_nobody(tmp_path):
    absent = _key(7, 2)
    _write_run(tmp_path, [absent])
    joined = join(tmp_path, _pairs())
    for pair, distance, missing in zip(_pairs().pairs, joined.distances, joined.missing, strict=True):
        assert missing == (absent in (pair.first, pair.second))
        one, other = (_embedding(int(k[2:4]), int(k[-8:-4])).astype(float) for k in (pair.first, pair.second))
        assert distance == (np.inf if missing else pytest.approx(((one - other) ** 2).sum(), abs=1e-6))
    assert joined.no_face == (absent,) and joined.missing.sum() == 3


def test_missing_pairs_count_as_different_by_default_policy(tmp_path):
    _write_run(tmp_path, [_key(0, 2)])  # in two same pairs and one different pair of fold 0
    content = score_run(tmp_path, _pairs(), Policies("different"), PROVENANCE)
    assert content["pairs"] == {
        "total": 80,
        "missing": 3,
        "missing_policy": "different",
        "unread": 0,
        "unread_policy": "error",
    }
    assert content["images"]["no_face"] == [_key(0, 2)]
    # Two of eight verdicts of fold 0 are wrong: the same pairs.
    assert content["accuracy"]["per_fold"] == [0.75] + [1.0] * 9
    assert content["accuracy"]["mean"] == pytest.approx(0.975)
    assert content["tar_at_far_1e-3"] == pytest.approx((0.5 + 9) / 10)


def test_missing_pairs_are_left_out_under_skip(tmp_path):
    _write_run(tmp_path, [_key(0, 2)])
    content = score_run(tmp_path, _pairs(), Policies("skip"), PROVENANCE)
    assert content["pairs"] == {
        "total": 80,
        "missing": 3,
        "missing_policy": "skip",
        "unread": 0,
        "unread_policy": "error",
    }
    assert content["accuracy"]["per_fold"] == [1.0] * 10


def test_a_missing_pair_is_an_error_under_fail_and_names_the_photograph(tmp_path):
    _write_run(tmp_path, [_key(0, 2)])
    with pytest.raises(
        DataError, match=r"3 of 80 pairs have no embedding \(first: P_00/P_00_0002\.jpg, no face found\)"
    ):
        score_run(tmp_path, _pairs(), Policies("fail"), PROVENANCE)
    assert not (tmp_path / "accuracy.json").exists()
    _write_run(tmp_path)
    assert score_run(tmp_path, _pairs(), Policies("fail"), PROVENANCE)["accuracy"]["mean"] == 1.0


def test_a_pair_whose_photograph_cannot_be_read_is_an_error_unless_said_otherwise(tmp_path):
    _write_run(tmp_path, [_key(3, 2)], unread=[_key(0, 2)])
    with pytest.raises(
        DataError,
        match=r"3 of 80 pairs name a photograph that cannot be read \(first: P_00/P_00_0002\.jpg, is empty.*--unread=",
    ):
        score_run(tmp_path, _pairs(), Policies(), PROVENANCE)
    assert not (tmp_path / "accuracy.json").exists()
    different = score_run(tmp_path, _pairs(), Policies(unread="different"), PROVENANCE)
    assert different["pairs"] == {
        "total": 80, "missing": 3, "missing_policy": "different", "unread": 3, "unread_policy": "different",
    }  # fmt: skip
    assert different["images"]["no_face"] == [_key(3, 2)] and different["images"]["unread"] == [_key(0, 2)]
    assert different["accuracy"]["per_fold"] == [0.75, 0.75] + [1.0] * 8
    skipped = score_run(tmp_path, _pairs(), Policies(unread="skip"), PROVENANCE)
    assert skipped["accuracy"]["per_fold"] == [1.0, 0.75] + [1.0] * 8


def test_a_fold_that_skip_empties_is_an_error(tmp_path):
    _write_run(tmp_path, [_key(4, 2), _key(5, 2)])  # every same pair of fold 2 has one of them
    with pytest.raises(DataError, match="fold 2: 0 same and 3 different pairs"):
        score_run(tmp_path, _pairs(), Policies("skip"), PROVENANCE)


def test_a_policy_that_is_not_known_is_refused_before_work(tmp_path):
    with pytest.raises(DataError, match="missing is 'ignore', expected one of different, skip, fail"):
        score_run(tmp_path, _pairs(), Policies("ignore"), PROVENANCE)


def test_a_photograph_that_the_run_does_not_list_is_an_error_not_a_missing_face(tmp_path):
    _write_run(tmp_path)
    pairs = _pairs()
    strange = Pair("A/A_0001.jpg", _key(1, 1), False, 0)
    with pytest.raises(
        DataError, match=r"1 of the 61 photographs that pairs names are not listed \(first: A/A_0001\.jpg\)"
    ):
        score_run(tmp_path, VerificationSet("pairs", (*pairs.pairs, strange), FOLDS), Policies("different"), PROVENANCE)


def test_files_of_two_runs_do_not_join(tmp_path):
    _write_run(tmp_path)
    rows = np.eye(40, dtype=np.float32)
    write_embeddings(tmp_path / "embeddings.npy", 40, 40, [rows])
    with pytest.raises(DataError, match=r"40 rows, expected 60, one for each face in faces\.jsonl"):
        score_run(tmp_path, _pairs(), Policies("different"), PROVENANCE)


def test_a_run_without_embeddings_says_so(tmp_path):
    face = Face(np.zeros(4, np.float32), 0.5, np.zeros((5, 2), np.float32))
    write_faces(tmp_path / "faces.jsonl", [FaceLine("a.jpg", face)], with_rows=False)
    with pytest.raises(DataError, match="the lines have no 'row', expected a run with embeddings"):
        join(tmp_path, _pairs())


def test_shuffled_keys_fall_to_chance(tmp_path):
    _write_run(tmp_path, shuffle=np.random.default_rng(0))
    content = score_run(tmp_path, _pairs(), Policies("different"), PROVENANCE)
    assert content["accuracy"]["mean"] < 0.65 and content["auc"] < 0.65


def test_further_facts_stand_beside_the_contract(tmp_path):
    _write_run(tmp_path)
    provenance = Provenance("d", "e", "b", 1, {}, {}, for_accuracy=False, details={"driver": "staged"})
    content = score_run(tmp_path, _pairs(), Policies("different"), provenance)
    assert content["driver"] == "staged" and content["for_accuracy"] is False


def test_a_threshold_is_written_as_it_judged(tmp_path):
    """51 of the 400 are not the float nearest to two digits; rounded, they would judge a pair at the limit anew."""
    _write_run(tmp_path)
    joined = join(tmp_path, _pairs())
    measured = figures(joined, Policies())
    assert float(ACCURACY_THRESHOLDS[35]) != 0.35
    accuracy = replace(measured.accuracy, thresholds=np.full(10, ACCURACY_THRESHOLDS[35]))
    content = accuracy_content(joined, replace(measured, accuracy=accuracy), Policies(), PROVENANCE)
    assert json.loads(json.dumps(content))["accuracy"]["thresholds"] == [float(ACCURACY_THRESHOLDS[35])] * 10
