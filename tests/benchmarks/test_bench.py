# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of `python -m benchmarks` and its two sides, with a peer whose speed is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import main
from benchmarks.breakdown import measure_profile
from benchmarks.chart import write_chart
from benchmarks.child import ask
from benchmarks.end_to_end import Configuration, Peer, measure_end_to_end, spread
from benchmarks.networks import LARGEST, measure_networks
from benchmarks.page import page

from facepipe.datasets.images import list_keys
from facepipe.errors import BackendError

TEN_PER_SECOND = """
import json, sys
question = json.load(sys.stdin)
count = len(question["photographs"])
answer = {"photographs": count, "faces": count, "seconds": [count / 10], "peak_memory_bytes": 1, "versions": {}}
json.dump(answer, sys.stdout)
"""


def test_a_process_that_fails_is_named_with_its_last_words() -> None:
    with pytest.raises(BackendError, match="ended with status 3: out of luck"):
        ask([sys.executable, "-c", "import sys; sys.stderr.write('first\\nout of luck\\n'); sys.exit(3)"], {})


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(BackendError, match="/no/such/python is not there"):
        ask(["/no/such/python"], {})


@pytest.mark.parametrize(
    ("count", "expected"), [(3, ["a", "d", "g"]), (10, list("abcdefghij")), (99, list("abcdefghij"))]
)
def test_photographs_are_taken_at_even_distances(count: int, expected: list[str]) -> None:
    assert spread(list("abcdefghij"), count) == expected


@pytest.mark.weights
@pytest.mark.parametrize("workers", [1, 2])
def test_both_sides_are_measured_and_the_ratio_is_of_their_medians(
    workers: int, weights_dir: Path, sample: Path, tmp_path: Path
) -> None:
    script = tmp_path / "peer.py"
    script.write_text(TEN_PER_SECOND)
    keys = spread(list_keys(sample), 6)
    configuration = Configuration("onnxruntime", "f32", "mtcnn", "facenet.seeded", batch=2, workers=workers, threads=1)
    told = list[str]()
    found = measure_end_to_end(
        sample, keys, weights_dir, [configuration], Peer(Path(sys.executable), script), 2, 1, told.append
    )
    own = found["onnxruntime_f32"]
    assert found["peer_per_second"] == pytest.approx(10)
    assert own["ratio"] == pytest.approx(own["per_second"] / 10)
    assert own["peak_memory_bytes"] > 1 << 26
    assert found["photographs"] == 6 and 0 < own["faces"] <= 6
    assert len(told) == 2


FORTY_MILLISECONDS_A_CROP = """
import json, sys
json.dump({"latency_ms": {count: 40 * count for count in json.load(sys.stdin)["crops"]}}, sys.stdout)
"""


@pytest.mark.weights
def test_the_peers_recogniser_stands_beside_ours(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "peer.py"
    script.write_text(FORTY_MILLISECONDS_A_CROP)
    monkeypatch.setattr("benchmarks.networks.SHAPES", {"facenet.seeded": ((32, 3, 160, 160),)})
    found = measure_networks(
        weights_dir, [("onnxruntime", "f32")], 1, Peer(Path(sys.executable), script), lambda _: None
    )
    row = found["onnxruntime_f32"]["facenet.seeded"][LARGEST]
    assert found["peer"]["facenet.seeded"][LARGEST]["per_second"] == pytest.approx(25)
    assert row["ratio"] == pytest.approx(row["per_second"] / 25)
    assert f"| facenet-pytorch | facenet.seeded | {LARGEST} | 1280.0 | 25 | 1 |" in page({"networks": found})
    write_chart({"networks": found}, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 5000


@pytest.mark.weights
def test_a_profile_accounts_for_all_of_the_time(weights_dir: Path, sample: Path) -> None:
    keys = spread(list_keys(sample), 6)
    configuration = Configuration("onnxruntime", "f32", "mtcnn", "facenet.seeded", batch=4, workers=2, threads=2)
    found = measure_profile(sample, keys, weights_dir, [configuration], lambda _: None)
    row = found["onnxruntime_f32"]
    parts = sum(row["steps"].values()) + sum(network["ms"] for network in row["networks"].values())
    assert parts == pytest.approx(row["ms"])
    assert all(spent > 0 for spent in row["steps"].values())
    # FaceNet's arithmetic is known: 1.42 billion multiply-adds for a crop.
    facenet = row["networks"]["facenet.seeded"]
    assert facenet["gflop"] / facenet["rows"] == pytest.approx(2.84, abs=0.01)
    assert facenet["gflops"] < 1.5 * found["limits_gflops"]["f32"]
    assert "`facenet.seeded`" in page({"profile": found})


def test_a_part_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy"]) == 1
    assert "'accuracy' is no part, expected one of end_to_end, profile" in capsys.readouterr().err


def test_a_precision_that_the_back_end_has_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["networks", "--backend", "onnxruntime:bf16"]) == 1
    assert "precision bf16 was asked for" in capsys.readouterr().err


@pytest.mark.weights
def test_figures_of_one_part_stay_when_another_is_measured(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text('{"networks": {"kept": 1}}')
    small = ["--photographs", "2", "--repeats", "1", "--workers", "1", "--batch", "2", "--backend", "onnxruntime"]
    where = ["--data", str(sample), "--weights", str(weights_dir), "--out", str(tmp_path), "--no-peer"]
    assert main(["end_to_end", *small, *where]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["networks"] == {"kept": 1}
    assert found["end_to_end"]["onnxruntime_f32"]["per_second"] > 0
    assert "ratio" not in found["end_to_end"]["onnxruntime_f32"]
    assert found["end_to_end"]["measured"]["machine"]["cores"] >= 1
