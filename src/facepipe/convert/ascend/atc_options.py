# SPDX-License-Identifier: Apache-2.0
"""What may be added to ATC's command line: the options that matter for these networks by name, any other as it is.

Sources: GE docs/zh/user_guides/atc_tools/CLI_options (--keep_dtype, --host_env_cpu, --mdl_bank_path, --op_bank_path);
ModelZoo's FaceBoxes and Retinaface (--enable_small_channel), Ecapa_Tdnn (AOE's banks).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facepipe.errors import ConversionError
from facepipe.store.files import sha256_of_file

OURS = frozenset(
    ("framework", "model", "output", "input_format", "input_shape", "input_shape_range", "dynamic_batch_size",
     "dynamic_image_size", "dynamic_dims", "soc_version", "precision_mode", "precision_mode_v2", "insert_op_conf",
     "log", "enable_small_channel", "keep_dtype", "host_env_os", "host_env_cpu", "mdl_bank_path", "op_bank_path",
     "mode", "input_fp16_nodes", "output_type", "out_nodes")
)  # fmt: skip
"""Options that an order sets itself, or that would change what the back ends expect of the .om."""

_OTHER = re.compile(r"--([a-z]\w*)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AtcOptions:
    """Additions to an order.

    Attributes:
        small_channel: --enable_small_channel=1, for the first convolution of an image's three channels.
        keep_dtype: a file of operators that keep float32 ("OpType::Clip", or a node's name, one a line).
        host_cpu: of the machine that will load it. A model of a range is bound to an operating system and a processor:
            compiled on x86_64 it does not load on a Kunpeng server or an Orange Pi.
        model_bank, operator_bank: folders of what AOE tuned (`aoe --job_type=1` and `2`).
        others: "--name=value" each, as ATC takes them.
    """

    small_channel: bool = False
    keep_dtype: Path | None = None
    host_cpu: Literal["aarch64", "x86_64"] | None = None
    model_bank: Path | None = None
    operator_bank: Path | None = None
    others: tuple[str, ...] = ()

    def words(self, keeps_f32: bool, seen: Callable[[Path], Path]) -> tuple[str, ...]:
        """As ATC's command line has them.

        Args:
            seen: a path as ATC sees it from where it runs.
            keeps_f32: the precision mode keeps float32 anyway.

        Raises:
            ConversionError: one is set by the order itself, has another form, names no file, or would do nothing.
        """
        if self.keep_dtype is not None and keeps_f32:
            raise ConversionError(
                f"{self.keep_dtype}: --keep_dtype does nothing where every operator keeps its type.",
                "leave it off, or another PRECISION.",
            )
        for path, is_right, what in (
            (self.keep_dtype, Path.is_file, "file"),
            (self.model_bank, Path.is_dir, "folder"),
            (self.operator_bank, Path.is_dir, "folder"),
        ):
            if path is not None and not is_right(path):
                raise ConversionError(f"{path}: no such {what}, which ATC was to read.")
        for word in self.others:
            match = _OTHER.fullmatch(word)
            if match is None:
                raise ConversionError(f"ATC_OPTIONS: '{word}', expected --name=value.")
            if match[1] in OURS:
                raise ConversionError(
                    f"ATC_OPTIONS: --{match[1]} is set by `facepipe om` itself.", "`facepipe om --help`"
                )
        return (*self._named(seen), *self.others)

    def _named(self, seen: Callable[[Path], Path]) -> Iterator[str]:
        if self.small_channel:
            yield "--enable_small_channel=1"
        if self.keep_dtype is not None:
            yield f"--keep_dtype={seen(self.keep_dtype)}"
        if self.host_cpu is not None:
            yield from ("--host_env_os=linux", f"--host_env_cpu={self.host_cpu}")
        if self.model_bank is not None:
            yield f"--mdl_bank_path={seen(self.model_bank)}"
        if self.operator_bank is not None:
            yield f"--op_bank_path={seen(self.operator_bank)}"

    def digests(self) -> dict[str, str]:
        """The sha256 of what is read beside the ONNX; of a folder, of its files' names and digests."""
        found = {} if self.keep_dtype is None else {"keep_dtype": sha256_of_file(self.keep_dtype)}
        for name, folder in (("model_bank", self.model_bank), ("operator_bank", self.operator_bank)):
            if folder is not None:
                files = sorted(path for path in folder.rglob("*") if path.is_file())
                lines = "".join(f"{path.relative_to(folder)} {sha256_of_file(path)}\n" for path in files)
                found[name] = hashlib.sha256(lines.encode()).hexdigest()
        return found


def split_options(text: str) -> tuple[str, ...]:
    """ATC_OPTIONS as a shell would read it.

    Raises:
        ConversionError: a quotation mark is not closed.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConversionError(f"ATC_OPTIONS: {error}.") from error
