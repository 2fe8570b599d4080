# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of `python -m benchmarks` and its two sides, with a peer whose speed is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.__main__ import main
from benchmarks.breakdown import measure_profile
from benchmarks.chart import write_chart
from benchmarks.child import ask, environment
from benchmarks.end_to_end import Configuration, Peer, Plan, measure_end_to_end, spread
from benchmarks.networks import LARGEST, measure_networks
from benchmarks.page import section
from benchmarks.sides import open_side

from facepipe.datasets.images import list_keys
from facepipe.errors import BackendError
from facepipe.store.files import write_json

REPOSITORY = Path(__file__).resolve().parents[2]

# Takes its settings and says it is ready; then burns 20 ms of processor time for every photograph of a shard.
TWENTY_MS_A_PHOTOGRAPH = """
import json, sys, time
settings = json.loads(sys.stdin.readline())
print(json.dumps({"versions": {}}), flush=True)
for line in sys.stdin:
    first = json.loads(line)["shard"] * settings["shard_size"]
    count = len(settings["photographs"][first : first + settings["shard_size"]])
    end = time.process_time() + 0.02 * count
    while time.process_time() < end:
        pass
    print(json.dumps({"faces": count}), flush=True)
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


def configuration_of(backend: str = "onnxruntime", *, workers: int = 1) -> Configuration:
    return Configuration(backend, "f32", "mtcnn", "facenet.seeded", batch=2, workers=workers, threads=1)


def test_rounds_go_through_all_photographs_and_begin_again() -> None:
    plan = Plan(Path(), [str(number) for number in range(150)], Path(), cores=2, rounds=4, each=64)
    assert plan.shard_size == 32
    assert plan.shards_by_round() == [[0, 1], [2, 3], [4, 0], [1, 2]]
    assert [plan.photographs_of(shards) for shards in plan.shards_by_round()] == [64, 64, 54, 64]
    few = Plan(Path(), ["a", "b", "c"], Path(), cores=2, rounds=6, each=64)
    assert (few.shard_size, few.shards_by_round()[0]) == (2, [0, 1])


@pytest.mark.weights
@pytest.mark.parametrize("workers", [1, 2])
def test_both_sides_are_measured_and_the_ratio_is_that_of_the_rounds(
    workers: int, weights_dir: Path, sample: Path, tmp_path: Path
) -> None:
    script = tmp_path / "peer.py"
    script.write_text(TWENTY_MS_A_PHOTOGRAPH)
    plan = Plan(sample, spread(list_keys(sample), 6), weights_dir, cores=workers, rounds=6, each=4)
    told = list[str]()
    peer_side = Peer(Path(sys.executable), script)
    found = measure_end_to_end(plan, [configuration_of(workers=workers)], peer_side, told.append)
    own, peer = found["onnxruntime_f32"], found["peer"]
    assert 20 <= peer["cpu_ms"] < 22
    assert found["peer_per_second"] == peer["per_second"] <= 50
    for ratio, figure in (("ratio", "per_second"), ("cpu_ratio", "cpu_ms")):
        each = zip(own[f"{figure}_each_round"], peer[f"{figure}_each_round"], strict=True)
        ratios = sorted(mine / theirs if figure == "per_second" else theirs / mine for mine, theirs in each)
        assert own[ratio] == pytest.approx((ratios[2] + ratios[3]) / 2)
        assert own[f"{ratio}_interval"] == pytest.approx([ratios[0], ratios[-1]])
    assert own["peak_memory_bytes"] > workers << 26
    assert (found["photographs"], found["rounds"], found["photographs_each_round"]) == (6, 6, 4)
    assert 0 < own["faces_each"] <= 1 == peer["faces_each"]
    assert all(len(values) == 7 for values in found["limits_gflops"].values())
    assert [line.split()[0] for line in told] == ["facenet-pytorch:", "onnxruntime_f32:", *["round"] * 6]
    assert f"| `onnxruntime_f32` | {own['per_second']:.1f} | {own['ratio']:.2f} (" in section("end_to_end", found)


@pytest.mark.weights
def test_a_checkout_beside_itself_takes_the_same_time(
    weights_dir: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another folder with the same sources is a side of its own, which imports just those."""
    shutil.copytree(REPOSITORY / "src" / "facepipe", tmp_path / "older" / "src" / "facepipe")
    small = ["--photographs", "4", "--each", "4", "--rounds", "6", "--workers", "1", "--data", str(sample)]
    where = ["--weights", str(weights_dir), "--out", str(tmp_path), "--against", str(tmp_path / "older")]
    assert main(["end_to_end", *small, *where, "--pair", "onnxruntime:f32=onnxruntime"]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())["against"]
    new = found["onnxruntime_f32"]
    low, high = new["cpu_time_ratio_interval"]
    assert low <= new["cpu_time_ratio"] <= high
    assert 0.5 < new["cpu_time_ratio"] < 2
    assert new["old"] == "old onnxruntime_f32" and new["old"] in found
    assert found["checkout"] == str(tmp_path / "older")
    assert "onnxruntime_f32             old onnxruntime_f32" in capsys.readouterr().out


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.jpg").touch()
    arguments = ["--against", str(tmp_path), "--data", str(tmp_path), "--backend", "null", "--out", str(tmp_path)]
    assert main(["end_to_end", *arguments]) == 1
    assert "no src/facepipe, expected a checkout" in capsys.readouterr().err


def test_a_side_that_would_run_other_sources_is_refused(tmp_path: Path) -> None:
    settings = {"sources": str(tmp_path / "facepipe")}
    with (
        pytest.raises(BackendError, match=r"facepipe was imported from .*, expected"),
        open_side("old", [sys.executable, "-m", "benchmarks.side_facepipe"], [settings], environment()),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "5"], "--rounds 5, expected 6 or more"),
        (["--photographs", "0"], "must be at least 1"),
        (["--pair", "onnxruntime"], "--pair names settings of another checkout"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["end_to_end", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_it_runs_from_any_folder_and_its_help_begins_with_an_example(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("python -m benchmarks end_to_end --photographs")
    assert environment()["PYTHONPATH"].split(os.pathsep)[0] == str(REPOSITORY)


def test_no_file_hides_one_of_the_standard_library() -> None:
    """The peer's script runs as a file: its folder is searched first, by torch as well."""
    names = {path.stem for path in (REPOSITORY / "benchmarks").glob("*.py")}
    assert not names & sys.stdlib_module_names


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
    assert f"| facenet-pytorch | facenet.seeded | {LARGEST} | 1280.0 | 25 | 1 |" in section("networks", found)
    write_chart({"networks": found}, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 5000


@pytest.mark.weights
def test_a_profile_accounts_for_all_of_the_time(weights_dir: Path, sample: Path) -> None:
    keys = spread(list_keys(sample), 6)
    found = measure_profile(sample, keys, weights_dir, [configuration_of(workers=2)], lambda _: None)
    row = found["onnxruntime_f32"]
    parts = sum(row["steps"].values()) + sum(network["ms"] for network in row["networks"].values())
    assert parts == pytest.approx(row["ms"])
    assert all(spent > 0 for spent in row["steps"].values())
    # FaceNet's arithmetic is known: 1.42 billion multiply-adds for a crop.
    facenet = row["networks"]["facenet.seeded"]
    assert facenet["gflop"] / facenet["rows"] == pytest.approx(2.84, abs=0.01)
    assert facenet["gflops"] < 1.5 * found["limits_gflops"]["f32"]
    assert "`facenet.seeded`" in section("profile", found)


@pytest.mark.weights
@pytest.mark.parametrize("detector", ["ultraface.slim-320", "retinaface.mobilenet0.25", "blazeface.front"])
def test_a_profile_is_of_the_detector_that_is_named(detector: str, seeded: Callable[..., Path], sample: Path) -> None:
    keys, weights = spread(list_keys(sample), 2), seeded(detector)
    found = measure_profile(sample, keys, weights, [replace(configuration_of(), detector=detector)], lambda _: None)
    networks = found["onnxruntime_f32"]["networks"]
    assert set(networks) - {"facenet.seeded"} == {detector}  # of seeded weights, which may see no face
    assert networks[detector]["ms"] > 0
    assert f"`{detector}`" in section("profile", found)


def test_a_part_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy"]) == 1
    assert "'accuracy' is no part, expected one of end_to_end, profile" in capsys.readouterr().err


def test_a_precision_that_the_back_end_has_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["networks", "--backend", "onnxruntime:bf16"]) == 1
    assert "precision bf16 was asked for" in capsys.readouterr().err


@pytest.mark.weights
def test_figures_of_one_part_stay_when_another_is_measured(weights_dir: Path, sample: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "bench.json", {"networks": {"kept": 1}})
    small = ["--photographs", "2", "--rounds", "6", "--workers", "1", "--batch", "2", "--backend", "onnxruntime"]
    where = ["--data", str(sample), "--weights", str(weights_dir), "--out", str(tmp_path), "--no-peer"]
    assert main(["end_to_end", *small, *where]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["networks"] == {"kept": 1}
    assert found["end_to_end"]["onnxruntime_f32"]["per_second"] > 0
    assert "ratio" not in found["end_to_end"]["onnxruntime_f32"]
    assert found["end_to_end"]["measured"]["machine"]["cores"] >= 1
