# SPDX-License-Identifier: Apache-2.0
"""Compiled models (.om) through ais_bench, Huawei's Python runner (github.com/Ascend/tools, ais-bench_workload).

It is started as `python -m ais_bench`, in a process of its own. Its summary lies beside the result folder, not in it;
results are called `<name up to the first dot>_<output index>.bin`. A file that is smaller than the model's input would
be joined with others into a batch, so every file here is exactly of the gear's size.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from facepipe.backends.ascend.om import why_not_compiled
from facepipe.backends.ascend.om_runner import RunnerCall, gear_options, open_runner_session, run_program
from facepipe.backends.base import RuntimeOptions, Session, Traits
from facepipe.backends.timing import Spread, Stages
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

RESULT = "result"


@dataclass(frozen=True, slots=True)
class AisBench:
    """The back end `ais_bench`, and a folder runner."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "ais_bench"
    traits: Traits = Traits(process_per_call=True, compiled=True)

    def why_unavailable(self) -> str | None:
        absent = [name for name in ("ais_bench", "aclruntime") if importlib.util.find_spec(name) is None]
        if absent:
            return (
                f"no module named '{absent[0]}'; install the wheels aclruntime and ais_bench from "
                "github.com/Ascend/tools (ais-bench_workload/tool/ais_bench), they are not on the package index."
            )
        return why_not_compiled(self.options)

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session whose every call runs ais_bench over a folder.

        Raises:
            BackendError: the .om has no sidecar, or is of another model or batch.
        """
        return open_runner_session(spec, model, self)

    def execute(self, call: RunnerCall) -> Path:
        return self._run(call.model, call.inputs, call.outputs, gear_options(call))

    def time(self, call: RunnerCall, loops: int) -> Stages:
        """From its summary beside the result folder; it warms up once by itself, and makes its own input."""
        command = (
            *(sys.executable, "-m", "ais_bench", "--model", str(call.model), "--pure_data_type", "random"),
            *("--output", str(call.outputs), "--output_dirname", RESULT, "--loop", str(loops)),
            *("--device", str(self.options.device), *gear_options(call)),
        )
        run_program(command, call.outputs, self.name, None)
        summary = call.outputs / f"{RESULT}_summary.json"
        try:
            told = json.loads(summary.read_text(encoding="utf-8"))
            h2d, npu, d2h = (
                Spread(stage["mean"], stage["median"], stage["min"])
                for stage in (told["H2D_latency"], told["NPU_compute_time"], told["D2H_latency"])
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"ais_bench: {summary} tells no times ({error!r}).") from error
        return Stages(h2d, npu, d2h)

    def output_name(self, stem: str, index: int) -> str:
        return f"{stem.partition('.')[0]}_{index}.bin"

    def run_folder(self, model: Path, inputs: Path, outputs: Path, say: Callable[[str], None]) -> Path:
        """Run a static .om over every file of a folder; results get msame's names, see `bin_folder.FolderRunner`."""
        say(f"ais_bench: {model} over {inputs}")
        results = self._run(model.resolve(), inputs.resolve(), outputs.resolve(), ())
        for path in sorted(results.glob("*_*.bin")):
            stem, _, index = path.stem.rpartition("_")
            path.rename(path.with_name(f"{stem}_output_{index}.bin"))
        return results

    def _run(self, model: Path, inputs: Path, outputs: Path, gear: tuple[str, ...]) -> Path:
        command = (
            *(sys.executable, "-m", "ais_bench", "--model", str(model), "--input", str(inputs)),
            *("--output", str(outputs), "--output_dirname", RESULT, "--outfmt", "BIN"),
            *("--device", str(self.options.device), *gear),
        )
        run_program(command, outputs, self.name, None)
        results = outputs / RESULT
        if not results.is_dir() or not any(results.iterdir()):
            raise BackendError(
                f"ais_bench: exit status 0, and {results} has no results.",
                "free disk space; aclruntime and ais_bench must be of one version.",
            )
        return results
