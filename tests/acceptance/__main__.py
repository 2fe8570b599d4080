# SPDX-License-Identifier: Apache-2.0
"""python tests/acceptance [NAME ...]: every promise of the project in full, or those that are named.

Every other file of this folder that has `CHECKS` adds its checks. Writes runs/accept.json, where checks that were not
made now keep what was last measured; prints a table; ends with 1 when a check fails.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from checks import REPOSITORY, Check, Measured, NotRun

from facepipe.store.files import write_json

RESULT = REPOSITORY / "runs" / "accept.json"


def all_checks(folder: Path) -> dict[str, Check]:
    """Every check of every file in `folder`, by name, files in alphabetical order."""
    found: dict[str, Check] = {}
    for path in sorted(folder.glob("*.py")):
        if path.stem in ("__main__", "checks"):
            continue
        for check in importlib.import_module(path.stem).CHECKS:
            assert check.name not in found, f"two checks are called {check.name}"
            found[check.name] = check
    return found


def verdict_of(check: Check) -> dict[str, Any]:
    """Make one check; an error in it is a failure with its text, never the end of the others."""
    began = time.perf_counter()
    try:
        measured = check.measure()
        verdict, why = ("pass" if measured.passed else "FAIL"), measured.note
    except NotRun as reason:
        measured, verdict, why = Measured(None, False), "not run", str(reason)
    except Exception as error:
        traceback.print_exc()
        measured, verdict, why = Measured(None, False), "FAIL", f"{type(error).__name__}: {error}"
    return {
        "promise": check.promise,
        "bound": check.bound,
        "measured": measured.value,
        "verdict": verdict,
        "note": why,
        "seconds": round(time.perf_counter() - began, 1),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
    }


def commit() -> str:
    """The commit that was measured; with a + when files differ from it."""
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=False, capture_output=True, text=True)
    dirty = subprocess.run([*git, "status", "--porcelain"], check=False, capture_output=True, text=True)
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def main(names: list[str]) -> int:
    checks = all_checks(Path(__file__).parent)
    unknown = [name for name in names if name not in checks]
    if unknown:
        print(f"accept: '{unknown[0]}' is no check, expected some of {', '.join(checks)}.", file=sys.stderr)
        return 2
    results: dict[str, Any] = {}
    print(f"{'check':<34}{'verdict':<9}{'measured':<42}bound")
    for name in names or checks:
        results[name] = verdict_of(checks[name])
        print(row(name, results[name]), flush=True)
        keep(checks, {name: results[name]})
    failed = [name for name in names or checks if results[name]["verdict"] == "FAIL"]
    print(f"{RESULT}: all figures. {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}.")
    return 1 if failed else 0


def keep(checks: Iterable[str], found: Mapping[str, Any]) -> None:
    """Put results into the file as it is now: another acceptance may have put its own there meanwhile."""
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULT.read_text(encoding="utf-8"))["checks"] if RESULT.is_file() else {}
    merged = {**known, **found}
    ordered = {name: merged[name] for name in checks if name in merged}
    write_json(RESULT, {"checks": ordered}, overwrite=True)


def row(name: str, result: dict[str, Any]) -> str:
    """One line of the table, and the note below it."""
    value = json.dumps(result["measured"], ensure_ascii=False) if result["measured"] is not None else ""
    short = value if len(value) <= 40 else value[:37] + "..."
    note = f"\n{'':<34}{result['note']}" if result["note"] else ""
    return f"{name:<34}{result['verdict']:<9}{short:<42}{result['bound']}{note}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
