# SPDX-License-Identifier: Apache-2.0
"""What a board says of itself: its chip through pyACL, its memory through npu-smi."""

from __future__ import annotations

import subprocess

import pytest
from stand_ins import PROGRAMS, environment, stand_in

from facepipe.backends.ascend.board import board_soc, memory_of_devices
from facepipe.errors import DataError


def table(**board: str) -> str:
    return subprocess.run(
        (str(PROGRAMS / "npu-smi"), "info"), env=environment(**board), capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("soc", "total"),
    # 310P prints huge pages "15 / 15" in the first row, 910B "0 / 0" of DDR before HBM in the second.
    [("Ascend310", 8192), ("Ascend310P3", 8192), ("Ascend910B4", 65536)],
)
def test_memory_is_read_for_each_device_and_never_huge_pages(soc: str, total: int) -> None:
    found = memory_of_devices(table(FAKE_SOC=soc, FAKE_DEVICES="2"))
    assert [all_ for _, all_ in found] == [total, total]
    assert [used for used, _ in found] == ([3436, 3437] if total == 65536 else [2621, 2622])


def test_a_text_without_a_table_has_no_devices() -> None:
    assert memory_of_devices("npu-smi: command not found") == []


def test_the_chip_is_asked_of_pyacl_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert board_soc() is None  # no CANN here
    stand_in(monkeypatch, FAKE_SOC="Ascend910_9382")
    soc = board_soc()
    assert soc is not None and soc.name == "Ascend910_9382"
    stand_in(monkeypatch, FAKE_SOC="Ascend9000")
    with pytest.raises(DataError, match="chip 'Ascend9000' is not known"):
        board_soc()
