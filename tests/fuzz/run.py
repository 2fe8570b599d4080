# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of one parser by atheris:

python tests/fuzz/run.py pairs -max_total_time=60       any option of libFuzzer may follow the name
python tests/fuzz/run.py --list
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fakes")]


def main() -> None:
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit("fuzz: atheris is not installed. Try: pip install 'facepipe[fuzz]'")
    with atheris.instrument_imports(include=["facepipe"]):
        from targets import TARGETS, survives
        from targets import corpus as found_before
    if sys.argv[1:] == ["--list"]:
        print(*TARGETS, sep="\n")
        return
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"fuzz: '{name}' is no target, expected one of {', '.join(TARGETS)}")
    target, folder = TARGETS[name], Path(tempfile.mkdtemp(prefix="facepipe-fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate([*target.seeds(folder), *found_before(name)]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = ["-rss_limit_mb=1024", "-timeout=10", "-max_len=4096", f"-artifact_prefix={folder}/", *sys.argv[2:]]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: survives(target, content, folder) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
