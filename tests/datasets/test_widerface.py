# SPDX-License-Identifier: Apache-2.0
"""WIDER FACE's files: ground truth, size lists, predictions in the official layout, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facepipe.datasets.widerface import (
    SETTINGS,
    find_photographs,
    read_predictions,
    read_sizes,
    read_truth,
    write_prediction,
)
from facepipe.errors import DataError
from facepipe.metrics.detection import detection_curve, held_against

savemat = pytest.importorskip("scipy.io", reason="scipy reads the .mat files").savemat

from wider_truth import column, write_truth  # noqa: E402

EVENTS = {
    "0--Parade": {"0_Parade_a_1": [[1, 2, 30, 40], [50, 60, 8, 9]], "0_Parade_b_2": [[5, 5, 20, 20]]},
    "1--Handshaking": {"1_Handshaking_c_3": []},
}
COUNTED = {
    "easy": {"0_Parade_a_1": [1]},
    "medium": {"0_Parade_a_1": [1], "0_Parade_b_2": [1]},
    "hard": {"0_Parade_a_1": [1, 2], "0_Parade_b_2": [1]},
}


@pytest.fixture
def truth_folder(tmp_path: Path) -> Path:
    """Ground truth of the official form for three photographs."""
    return write_truth(tmp_path / "ground_truth", EVENTS, COUNTED)


def _write(folder: Path, key: str, text: str) -> Path:
    path = folder / f"{key}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


A = "0--Parade/0_Parade_a_1"


def test_ground_truth_is_read_with_the_faces_that_count(truth_folder: Path) -> None:
    photographs = read_truth(truth_folder).photographs
    assert [photograph.key for photograph in photographs] == [
        A,
        "0--Parade/0_Parade_b_2",
        "1--Handshaking/1_Handshaking_c_3",
    ]
    assert photographs[0].faces.tolist() == EVENTS["0--Parade"]["0_Parade_a_1"]
    assert photographs[0].counted["easy"].tolist() == [True, False]
    assert photographs[0].counted["hard"].tolist() == [True, True]
    assert photographs[2].faces.shape == (0, 4)


def test_what_is_written_is_read_back_best_score_first(truth_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    boxes = np.array([[1, 2, 31, 42], [50.5, 60.25, 58, 69]], np.float32)
    write_prediction(folder, A, boxes, np.array([0.25, 0.75], np.float32))
    assert (folder / f"{A}.txt").read_text().splitlines()[:2] == ["0_Parade_a_1", "2"]
    (prediction,) = read_predictions(folder, read_truth(truth_folder))
    assert prediction.key == A
    assert prediction.rows.tolist() == [[50.5, 60.25, 7.5, 8.75, 0.75], [1, 2, 30, 40, 0.25]]
    assert prediction.is_sorted


def test_a_photograph_with_no_face_is_a_file_with_none(truth_folder: Path, tmp_path: Path) -> None:
    write_prediction(tmp_path / "p", A, np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    (prediction,) = read_predictions(tmp_path / "p", read_truth(truth_folder))
    assert prediction.rows.shape == (0, 5)


def test_a_file_of_another_tool_is_read_unsorted_as_it_is(truth_folder: Path, tmp_path: Path) -> None:
    _write(tmp_path, A, "0_Parade_a_1.jpg\n2\n1 2 30 40 0.5 \n9 9 3 3 0.9 \n\n")
    (prediction,) = read_predictions(tmp_path, read_truth(truth_folder))
    assert prediction.rows[:, 4].tolist() == [0.5, 0.9]
    assert not prediction.is_sorted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it begins with '', expected the line '0_Parade_a_1'"),
        ("0_Parade_b_2\n0\n", "it begins with '0_Parade_b_2', expected the line '0_Parade_a_1'"),
        ("0_Parade_a_1\n2\n1 2 3 4 .5\n", "line 2: it says '2' faces, and 1 follow"),
        ("0_Parade_a_1\n1\n1 2 3 4\n", "line 3: it is '1 2 3 4', expected 'x y width height score'"),
        ("0_Parade_a_1\n1\n1 2 3 four .5\n", "line 3: it is '1 2 3 four .5'"),
        ("0_Parade_a_1\n1\n1 2 3 nan .5\n", "line 3: it is '1 2 3 nan .5'"),
        ("0_Parade_a_1\n1\n1 2 -3 4 .5\n", "line 3: the box is -3 x 4, expected no negative side"),
        ("0_Parade_a_1\n1\n1 2 3 4 1.5\n", r"line 3: the score is 1\.5, expected 0 to 1"),
        ("0_Parade_a_1\n1\n1 2 3 4 -0.1\n", r"line 3: the score is -0\.1, expected 0 to 1"),
    ],
)
def test_a_prediction_of_another_form_is_refused_with_its_line(
    text: str, message: str, truth_folder: Path, tmp_path: Path
) -> None:
    _write(tmp_path / "p", A, text)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "p", read_truth(truth_folder))


def test_a_prediction_for_a_photograph_that_is_not_listed_is_refused(truth_folder: Path, tmp_path: Path) -> None:
    _write(tmp_path / "p", "0--Parade/0_Parade_z_9", "0_Parade_z_9\n0\n")
    with pytest.raises(DataError, match=r"1 files are for no photograph .* \(first: 0--Parade/0_Parade_z_9\.txt\)"):
        read_predictions(tmp_path / "p", read_truth(truth_folder))


def test_missing_events_are_named_when_the_whole_set_is_asked_for(truth_folder: Path, tmp_path: Path) -> None:
    _write(tmp_path / "p", A, "0_Parade_a_1\n0\n")
    truth = read_truth(truth_folder)
    with pytest.raises(DataError, match=r"2 of 3 photographs have no prediction .* missing: 1--Handshaking\)"):
        read_predictions(tmp_path / "p", truth, whole=True)
    assert len(read_predictions(tmp_path / "p", truth)) == 1


def test_no_predictions_and_no_folder_are_refused(truth_folder: Path, tmp_path: Path) -> None:
    truth = read_truth(truth_folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no prediction in it"):
        read_predictions(tmp_path / "empty", truth)
    with pytest.raises(DataError, match="no such folder"):
        read_predictions(tmp_path / "nowhere", truth)


def test_a_mat_of_another_kind_is_refused(truth_folder: Path) -> None:
    path = truth_folder / "wider_hard_val.mat"
    savemat(path, {"something": np.eye(3)})
    with pytest.raises(
        DataError, match=r"wider_hard_val\.mat: it holds something, expected a column of cells 'gt_list'"
    ):
        read_truth(truth_folder)
    savemat(path, {"gt_list": np.eye(3)})
    with pytest.raises(DataError, match="expected a column of cells 'gt_list'"):
        read_truth(truth_folder)
    path.write_bytes(b"no matlab file at all")
    with pytest.raises(DataError, match="cannot be read as a MATLAB 5 file"):
        read_truth(truth_folder)
    # The header of a MATLAB 7.3 file: version 0x0200, which is HDF5.
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(512))
    with pytest.raises(DataError, match=r"it is a MATLAB 7\.3 \(HDF5\) file, expected MATLAB 5"):
        read_truth(truth_folder)
    path.unlink()
    with pytest.raises(DataError, match="no such file, expected WIDER FACE's ground truth"):
        read_truth(truth_folder)


def test_lists_that_do_not_agree_are_refused(truth_folder: Path) -> None:
    short = column([column([np.array([1], np.uint8)])])
    savemat(truth_folder / "wider_easy_val.mat", {"gt_list": short})
    with pytest.raises(DataError, match="another form or length"):
        read_truth(truth_folder)
    beyond = [column([np.array([9], np.uint8) for _ in event]) for event in EVENTS.values()]
    savemat(truth_folder / "wider_easy_val.mat", {"gt_list": column(beyond)})
    with pytest.raises(DataError, match="faces 9 to 9 of 2 count"):
        read_truth(truth_folder)


def test_a_size_list_is_read_and_duplicates_and_other_forms_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# 0--Parade/a.jpg 1024 678\n1 2 3 4\n# 0--Parade/b c.jpg 10 20\n")
    assert read_sizes(path) == {"0--Parade/a": (678, 1024), "0--Parade/b c": (20, 10)}
    path.write_text("# 0--Parade/a.jpg 1024 678\n# 0--Parade/a.jpg 1024 678\n")
    with pytest.raises(DataError, match=r"1 photographs are listed twice \(first: 0--Parade/a\)"):
        read_sizes(path)
    path.write_text("# 0--Parade/a.jpg 1024\n")
    with pytest.raises(DataError, match=r"line 1: it is '# 0--Parade/a\.jpg 1024'"):
        read_sizes(path)
    path.write_text("1 2 3 4\n")
    with pytest.raises(DataError, match="no line begins with '#'"):
        read_sizes(path)


def test_photographs_are_found_by_event_and_by_flat_name_and_each_once(truth_folder: Path, tmp_path: Path) -> None:
    truth = read_truth(truth_folder)
    found = find_photographs(tmp_path, ["images/0--Parade/0_Parade_a_1.jpg", "0_Parade_b_2.jpg"], truth)
    assert found == {A: "images/0--Parade/0_Parade_a_1.jpg", "0--Parade/0_Parade_b_2": "0_Parade_b_2.jpg"}
    with pytest.raises(DataError, match=r"other\.jpg: WIDER FACE's validation list has no such photograph"):
        find_photographs(tmp_path, ["other.jpg"], truth)
    with pytest.raises(DataError, match="are the same photograph"):
        find_photographs(tmp_path, ["0_Parade_a_1.jpg", "0--Parade/0_Parade_a_1.png"], truth)


def test_the_official_ground_truth_has_the_published_counts_and_finds_itself(assets: Path) -> None:
    truth = read_truth(assets / "widerface" / "ground_truth")
    assert len(truth.photographs) == 3226
    assert len({photograph.key.split("/")[0] for photograph in truth.photographs}) == 61
    counts = {name: sum(int(p.counted[name].sum()) for p in truth.photographs) for name in SETTINGS}
    assert counts == {"easy": 7211, "medium": 13319, "hard": 31958}
    assert set(read_sizes(assets / "widerface" / "val_labelv2.txt")) == {p.key for p in truth.photographs}

    # Two photographs cannot be answered in full: one lists a face twice, one has a face of width -2.
    damaged = {"21--Festival/21_Festival_Festival_21_604", "39--Ice_Skating/39_Ice_Skating_iceskiing_39_583"}
    for photographs, least in (
        ([p for p in truth.photographs if p.key not in damaged], 1.0),
        (list(truth.photographs), 0.9998),
    ):
        itself = [np.column_stack([p.faces, np.ones(len(p.faces))]) for p in photographs]
        held = held_against(itself, [p.faces for p in photographs])
        for name in SETTINGS:
            ap = detection_curve(held, [p.counted[name] for p in photographs], 0.5).average_precision
            assert ap is not None
            assert least <= ap <= 1.0
