# SPDX-License-Identifier: Apache-2.0
"""Known vulnerabilities of the versions in constraints.txt, by pip-audit: what it knows, and what it could not learn.

    python tests/reliability/audit.py [REQUIREMENTS]

pip-audit itself passes packages over that the advisory database does not answer for, and ends with "No known
vulnerabilities found". Here that is no pass. Status: 0 every package was looked up and nothing is known against it;
1 something is; 2 packages could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PINNED = Path(__file__).resolve().parents[2] / "constraints.txt"
SERVICES = ("pypi", "osv")  # one that answers for every package is enough


@dataclass(frozen=True)
class Answer:
    """What one advisory database said.

    Attributes:
        known: packages that were looked up: name and version, then a line for each vulnerability.
        unknown: packages that were not.
        why: the first reason for that, or why there is no answer at all.
    """

    service: str
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    why: str = ""


def ask(requirements: Path, service: str) -> Answer:
    """Let pip-audit ask one database about pinned requirements."""
    words = ["-r", str(requirements), "--no-deps", "--disable-pip", "-f", "json", "-s", service]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *words, "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    return read_report(service, done.stdout, done.stderr)


def read_report(service: str, report: str, said: str) -> Answer:
    """pip-audit's JSON report; `said` is what it wrote beside, which has the reason where there is none."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Answer(service, why=(said.strip().splitlines() or ["pip-audit said nothing"])[-1])
    skipped = [package for package in packages if "skip_reason" in package]
    known = {
        f"{package['name']} {package['version']}": tuple(
            f"{found['id']}, mended in {', '.join(found['fix_versions']) or 'no version yet'}"
            for found in package["vulns"]
        )
        for package in packages
        if "skip_reason" not in package
    }
    unknown = tuple(package["name"] for package in skipped)
    return Answer(service, known, unknown, skipped[0]["skip_reason"] if skipped else "")


def verdict(answers: Sequence[Answer]) -> tuple[int, list[str]]:
    """The status, and what to print."""
    lines = sorted({f"{name}: {line}" for answer in answers for name, found in answer.known.items() for line in found})
    if lines:
        return 1, [*lines, f"audit: {len(lines)} known vulnerabilities"]
    for answer in answers:
        if answer.known and not answer.unknown:
            return 0, [f"audit: {len(answer.known)} packages, no known vulnerability (asked: {answer.service})"]
    reasons = "; ".join(
        f"{answer.service}: {len(answer.known)} of {len(answer.known) + len(answer.unknown)} packages looked up"
        f" ({answer.why[:200]})"
        for answer in answers
    )
    return 2, [f"audit: no result, the advisory databases did not answer. {reasons}. Try: a network that reaches them."]


def main(requirements: Path) -> int:
    answers = []
    for service in SERVICES:
        answers.append(ask(requirements, service))
        if answers[-1].known and not answers[-1].unknown:
            break
    status, lines = verdict(answers)
    print(*lines, sep="\n", file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else PINNED))
