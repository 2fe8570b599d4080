# SPDX-License-Identifier: Apache-2.0
"""Rules that a test holds, asked for here so that the record names them."""

from __future__ import annotations

import sys

from checks import Check, Measured, call, golden


def golden_stays_out() -> Measured:
    golden()
    said = call([sys.executable, "-m", "pytest", "-q", "tests/test_house.py", "-k", "golden"], log="house")
    last = said.strip().splitlines()[-1]
    return Measured(last, "passed" in last and "skipped" not in last and "failed" not in last)


CHECKS = (
    Check(
        "no_golden_in_src", "no key, file name or number of the golden files is under src/", "0 found", golden_stays_out
    ),
)
