# SPDX-License-Identifier: Apache-2.0
"""Compiled models (.om) through msame, Huawei's small C++ runner (github.com/Ascend/tools, msame).

What is known of it and answered here: it exits with 0 on wrong arguments, so its last line and its files are looked at;
it names its folder by a time that does not sort, so the new folder is told by what was there before; it takes every
visible file of a folder, sorted as text, so the folder is ours and names are filled with zeros; it uses and deletes
acl.json of the current folder, so it runs in a folder of its own; it does not cut outputs to an image gear.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from facepipe.backends.ascend.bin_folder import folders, newest_folder
from facepipe.backends.ascend.om import why_not_compiled
from facepipe.backends.ascend.om_runner import RunnerCall, gear_options, open_runner_session, run_program
from facepipe.backends.base import RuntimeOptions, Session, Traits
from facepipe.backends.timing import Spread, Stages
from facepipe.errors import BackendError
from facepipe.specs import ModelSpec
from facepipe.store.model_content import ModelContent

SUCCESS = "Execute sample success"
_TIME = re.compile(r"^Inference time: ([\d.]+) ?ms", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Msame:
    """The back end `msame`, and a folder runner."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "msame"
    traits: Traits = Traits(process_per_call=True, compiled=True)

    def why_unavailable(self) -> str | None:
        if shutil.which("msame") is None:
            return "no program 'msame' on PATH; build it from github.com/Ascend/tools (msame/build.sh)."
        return why_not_compiled(self.options)

    def load(self, spec: ModelSpec, model: ModelContent) -> Session:
        """A session whose every call runs msame over a folder.

        Raises:
            BackendError: the .om has no sidecar, or is of another model or batch.
        """
        return open_runner_session(spec, model, self)

    def execute(self, call: RunnerCall) -> Path:
        return self._run(call.model, call.inputs, call.outputs, gear_options(call))

    def time(self, call: RunnerCall, loops: int) -> Stages:
        """From the line that it prints for each execution of a single file; a folder ignores --loop."""
        (file,) = call.inputs.iterdir()
        command = (*self._words(call.model, file, call.outputs), "--loop", str(loops + 1), *gear_options(call))
        printed = [float(ms) for ms in _TIME.findall(run_program(command, call.outputs, self.name, SUCCESS))]
        if len(printed) != loops + 1:
            raise BackendError(f"msame: it printed {len(printed)} times of execution, expected {loops + 1}.")
        return Stages(None, Spread.of(printed[1:]), None)

    def output_name(self, stem: str, index: int) -> str:
        return f"{stem}_output_{index}.bin"

    def run_folder(self, model: Path, inputs: Path, outputs: Path, say: Callable[[str], None]) -> Path:
        """Run a static .om over every visible file of a folder; see `bin_folder.FolderRunner`."""
        say(f"msame: {model} over {inputs}")
        return self._run(model.resolve(), inputs.resolve(), outputs.resolve(), ())

    def _run(self, model: Path, inputs: Path, outputs: Path, gear: tuple[str, ...]) -> Path:
        if ".om" not in model.name:
            raise BackendError(f"{model}: msame takes files with '.om' in their name alone.")
        before = folders(outputs)
        command = (*self._words(model, inputs, outputs), *gear)
        run_program(command, outputs, self.name, SUCCESS)
        return newest_folder(outputs, before)

    def _words(self, model: Path, inputs: Path, outputs: Path) -> tuple[str, ...]:
        return (
            *("msame", "--model", str(model), "--input", str(inputs), "--output", str(outputs)),
            *("--outfmt", "BIN", "--device", str(self.options.device)),
        )
