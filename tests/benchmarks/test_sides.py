# SPDX-License-Identifier: Apache-2.0
"""Processes that are kept: their processor time is counted from outside, and their end is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.child import environment
from benchmarks.paired import paired, take_turns
from benchmarks.sides import cpu_seconds_of_process, open_side

from facepipe.errors import BackendError

# Burns processor time, as much as the settings say for each shard: in this process, or in one that it starts and waits
# for. Waiting burns none, and the answer comes only after `wait` seconds.
BURNER = """
import json, subprocess, sys, time
LOOP = "import time\\nwhile time.process_time() < %r: pass"
settings = json.loads(sys.stdin.readline())
print(json.dumps({"versions": {}}), flush=True)
for line in sys.stdin:
    time.sleep(settings.get("wait", 0))
    if settings.get("in_a_child"):
        subprocess.run([sys.executable, "-S", "-c", LOOP % settings["burn"]], check=True)
    else:
        end = time.process_time() + settings["burn"]
        while time.process_time() < end:
            pass
    print(json.dumps({"faces": json.loads(line)["shard"]}), flush=True)
"""


def command(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_the_ratio_of_two_processes_is_that_of_their_work() -> None:
    with (
        open_side("slow", command(BURNER), [{"burn": 0.06}], environment()) as slow,
        open_side("fast", command(BURNER), [{"burn": 0.02, "wait": 0.03}], environment()) as fast,
    ):
        spent = take_turns([slow, fast], [[0, 1]] * 7, lambda: None, lambda _: None)
    found = paired([row.cpu_seconds for row in spent["slow"]], [row.cpu_seconds for row in spent["fast"]])
    # Exactly as much is burnt, and a little for JSON and the sleep: no wait for a busy machine is in it.
    assert found.median == pytest.approx(3, rel=0.05)
    assert all(row.seconds > 0.1 > row.cpu_seconds for row in spent["fast"])


def test_shards_are_shared_by_the_processes_of_a_side_and_all_are_counted() -> None:
    with open_side("two", command(BURNER), [{"burn": 0.03, "wait": 0.05}] * 2, environment()) as side:
        spent = side.work([3, 4, 5, 6])
        assert side.faces == {3: 3, 4: 4, 5: 5, 6: 6}
        assert side.peak_memory() > 2 * (1 << 22)
    assert spent.cpu_seconds == pytest.approx(4 * 0.03, rel=0.15)


def test_the_time_of_a_process_that_a_side_starts_is_its_own() -> None:
    with open_side("parent", command(BURNER), [{"burn": 0.3, "in_a_child": True}], environment()) as side:
        assert side.work([0]).cpu_seconds > 0.28


def test_a_living_child_is_counted_too() -> None:
    script = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-S', '-c', %r]); child.wait()"
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script % busy], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "burnt\n"
        assert cpu_seconds_of_process(process.pid) > 0.3
    finally:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in [*map(int, children), process.pid]:
            os.kill(child, 9)
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    "script",
    [
        "import sys; sys.exit('out of luck')",
        "import sys; sys.stdin.readline(); print('{}', flush=True); sys.stdin.readline(); sys.exit('out of luck')",
    ],
)
def test_a_side_that_ends_is_named_with_its_last_words(script: str) -> None:
    with (
        pytest.raises(BackendError, match="bench: unlucky ended with status 1: out of luck"),
        open_side("unlucky", command(script), [{}], environment()) as side,
    ):
        side.work([0])


def test_a_program_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(BackendError, match="/no/such/python is not there"),
        open_side("x", ["/no/such/python"], [{}], {}),
    ):
        pass


def test_a_process_that_is_gone_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with pytest.raises(BackendError, match="cannot be read"):
        cpu_seconds_of_process(int(done.stdout))
