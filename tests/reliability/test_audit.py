# SPDX-License-Identifier: Apache-2.0
"""An audit passes only when every package was looked up."""

from __future__ import annotations

import json
from pathlib import Path

import audit
import pytest
from audit import Answer, read_report, verdict

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}
HIT = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}


def answer(*packages: object) -> Answer:
    return read_report("pypi", json.dumps({"dependencies": packages, "fixes": []}), "")


def test_packages_without_a_known_vulnerability_pass() -> None:
    assert verdict([answer(CLEAN)]) == (0, ["audit: 1 packages, no known vulnerability (asked: pypi)"])


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    status, lines = verdict([answer(CLEAN, HIT, SKIPPED)])
    assert (status, lines[0]) == (1, "pillow 1.0: CVE-1, mended in 1.1")


def test_a_package_that_was_not_looked_up_is_no_pass() -> None:
    status, (line,) = verdict([answer(CLEAN, SKIPPED)])
    assert status == 2
    assert "pypi: 1 of 2 packages looked up (Dependency not found on PyPI" in line


def test_a_second_database_that_knows_every_package_is_enough() -> None:
    assert verdict([answer(SKIPPED), Answer("osv", {"torch 2.13.0": ()})])[0] == 0


@pytest.mark.parametrize("report", ["", "[]", "{}", '{"dependencies": []}'])
def test_no_report_is_no_pass(report: str) -> None:
    status, (line,) = verdict([read_report("osv", report, "Traceback\nConnectionError: no such host")])
    assert status == 2 and line.startswith("audit: no result, the advisory databases did not answer.")


def test_a_database_that_cannot_be_reached_is_one_line_and_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pip_audit", reason="make audit installs the extra [audit]")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(audit, "SERVICES", ("osv",))
    (tmp_path / "pinned.txt").write_text("numpy==2.4.6\n")
    assert audit.main(tmp_path / "pinned.txt") == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "did not answer" in err
