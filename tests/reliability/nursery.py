# SPDX-License-Identifier: Apache-2.0
"""Runs facepipe's commands in forks of a process that has imported everything: a trial costs its own work alone.

    python nursery.py MODULE ...        modules to import beforehand

Orders come on standard input, one JSON object each: {"call": "lfw" | "fetch", "words": [...], "log": path,
"environment": {...}}. For each come two lines back: the number of the process that was started, and how it ended
(its exit status, or minus the signal).

The environment can break facepipe on purpose (`plant`), so that what looks for lost work can be tested itself, and can
end the process at an exact moment (`die_at`). Worker processes import this file too and are treated alike.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
"""Audit events that change a folder; each is a moment before which a process can die."""

_MOST_MEMORY = 16 << 30  # of a process with a deadly decoder, in addresses: what it asks for at once cannot be had


def die_at(number: int, folder: str, once: str | None = None) -> None:
    """From now on: SIGKILL to this process just before its `number`-th change (from 1) below `folder`; where the file
    `once` is named, not to a second process that is told the same."""
    left = [number]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not isinstance(arguments[0], str) or not arguments[0].startswith(folder):
            return
        if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
            return
        left[0] -= 1
        if left[0] == 0 and not (once and Path(once).exists()):
            if once:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def plant(bug: str) -> None:
    """Break facepipe in one way that loses or repeats work."""
    if bug == "not atomic":
        from contextlib import contextmanager

        import facepipe.store.files as files
        from facepipe.store import owned

        @contextmanager
        def in_place(path: Path, *, overwrite: bool = False) -> Any:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half of it")  # as a long write would leave it for a while
            yield path
            owned.adopt(path)

        files.atomic_path = in_place
        import facepipe.store.run_faces as faces

        faces.atomic_path = in_place
    elif bug == "swallowed exception":
        import facepipe.runs.faces_run as fused

        do_shard = fused.do_shard

        def forgiving(job: Any, shard: Any, *more: Any) -> Any:
            try:
                if shard.number == 1:
                    raise OSError("the disk is full")
                return do_shard(job, shard, *more)
            except OSError:
                import numpy as np

                from facepipe.store.shard import write_shard

                like = dict(np.load(shard.path.with_name("shard-00000.npz")))
                empty = {name: array[:0] for name, array in like.items()}
                write_shard(shard, {**empty, **_by_key(like, len(shard.keys))}, [""] * len(shard.keys))
                return fused.ShardReport(len(shard.keys), 0, {})

        fused.do_shard = forgiving
    elif bug == "finished twice":
        import facepipe.runs.faces_run as fused
        from facepipe.store.stage import begin

        def everything(stage: Any, path_of: Any, **how: bool) -> list[int]:
            done = set(range(stage.shard_count)) - set(begin(stage, path_of, **how))
            for shard in stage.shards():
                if shard.number in done:  # what is there already, to the byte, would not be written again
                    shard.path.unlink()
                    shard.record.unlink()
            return list(range(stage.shard_count))

        fused.begin = everything
    elif bug == "slow shard":
        import facepipe.runs.faces_run as fused

        def slow(job: Any, shard: Any, *more: Any) -> Any:
            (job.run / "begun-a-shard").touch()
            time.sleep(60)

        fused.do_shard = slow
    elif bug == "deadly decoder":
        import facepipe.faces.photographs as photographs

        decode = photographs.decode_or_reason

        def deadly(content: bytes, *limits: int) -> Any:
            """Dies at a photograph that ends with a word that says how, as a decoder's own fault would have it."""
            word = content[-8:].strip(b".").decode(errors="replace")
            if word in ("SIGSEGV", "SIGKILL"):
                os.kill(os.getpid(), getattr(signal, word))
            if word == "MEMORY":
                bytearray(_MOST_MEMORY)
            return decode(content, *limits)

        photographs.decode_or_reason = deadly
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    elif bug:
        raise ValueError(f"no such bug: {bug}")


def _by_key(like: dict[str, Any], count: int) -> dict[str, Any]:
    """A reason for every photograph, in whatever arrays have one entry for each."""
    import numpy as np

    texts = {
        name: np.array(["no face found"] * count if name == "reasons" else [""] * count, np.str_)
        for name, array in like.items()
        if array.dtype.kind == "U"
    }
    return {**texts, "unread": np.zeros(count, np.bool_), "killed": np.zeros(count, np.bool_)}


def prepare(environment: Any) -> None:
    """Break what the environment says."""
    plant(environment.get("PLANTED_BUG", ""))
    number, worker = int(environment.get("DIE_AT", 0)), environment.get("DIE_IN_WORKER") == "1"
    if number and worker == (__name__ == "__mp_main__"):
        die_at(number, environment["DIE_BELOW"], environment.get("DIE_ONCE"))


def call(kind: str, words: list[str]) -> int:
    """One command, as its own process would run it."""
    if kind == "fetch":
        return _fetch_lfw(*words)
    from facepipe.cli import main as facepipe

    return facepipe(words)


def _fetch_lfw(folder: str, url: str, images_sha256: str, pairs_sha256: str) -> int:
    """`facepipe fetch lfw`, from another address."""
    from facepipe.assets.lfw import Remote, fetch_lfw
    from facepipe.assets.workspace import Workspace

    ws = Workspace(Path(folder) / "weights", Path(folder) / "data", None)
    fetch_lfw(
        ws,
        images=Remote(f"{url}/lfw.tgz", images_sha256, None),
        pairs=Remote(f"{url}/pairs.txt", pairs_sha256, None),
    )
    return 0


def obey(order: dict[str, Any]) -> None:
    """In the fork: run the order and end."""
    os.setpgid(0, 0)
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 70
    try:
        prepare(os.environ)
        status = call(order["call"], order["words"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 71
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _load_kernels() -> None:
    """Call each compiled kernel once: what is loaded here need not be loaded in every fork."""
    import numpy as np

    from facepipe.geometry.kernels import kernels_by_name

    kernels = kernels_by_name("fastest")
    sums = kernels.integral(np.zeros((30, 30, 3), np.uint8))
    one, out = np.ones(3, np.float32), np.empty((1, 3, 12, 12), np.float32)
    kernels.regions(sums, np.array([[0, 30, 0, 30]], np.int64), 12, 12, one, one, out)
    boxes = np.array([[0, 0, 9, 9]], np.float32)
    for over_minimum in (False, True):
        kernels.suppress(boxes, one[:1], np.zeros(1, np.intp), 0.5, over_minimum, over_minimum)


def main() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    if "facepipe.geometry.kernels" in sys.modules:
        _load_kernels()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            obey(json.loads(line))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__mp_main__":
    prepare(os.environ)
elif __name__ == "__main__":
    main()
