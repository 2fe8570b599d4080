# SPDX-License-Identifier: Apache-2.0
"""A program of LLVM's to machine code of this processor, which is kept on disk where there is a folder for it."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llvmlite import binding, ir

from facepipe.backends.cache import kept
from facepipe.backends.native.emit import Program


@dataclass(frozen=True, slots=True)
class MachineCode:
    """Functions in memory, which is freed with the library; `jit` is what made it."""

    jit: Any
    library: Any  # address of each function by its name

    def function(self, name: str, arguments: Sequence[type]) -> Callable[..., None]:
        return ctypes.CFUNCTYPE(None, *arguments)(self.library[name])


def new_program(width: int | None = None) -> Program:
    """An empty program for this processor: its vectors and how many registers it has for them.

    Args:
        width: floats of a vector, where it is not to be the processor's own; slower, with the same answers.
    """
    if width is not None:
        return Program(ir.Module("facepipe"), width, 32 if width == 16 else 16)
    features = dict(binding.get_host_cpu_features())
    if features.get("avx512f"):
        return Program(ir.Module("facepipe"), 16, 32)
    if features.get("avx"):
        return Program(ir.Module("facepipe"), 8, 16)
    return Program(ir.Module("facepipe"), 4, 32 if platform.machine() in ("aarch64", "arm64") else 16)


def compiled(program: Program, cache: Path | None) -> MachineCode:
    """The program as machine code.

    Args:
        cache: a folder of compiled programs, by what they were made of: program, processor and compiler. None: none.
    """
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    text = str(program.module)
    made_of = "\n".join([text, cpu, features, str(binding.llvm_version_info)])
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)

    def make() -> bytes:
        return _object_code(text, target, machine)

    return _linked(program, make() if cache is None else kept(cache, "native", made_of, ".o", make), machine)


def _linked(program: Program, code: bytes, machine: Any) -> MachineCode:
    """Object code in memory, by LLVM's ORC (LLJIT) and its linker JITLink."""
    jit = binding.create_lljit_compiler(machine, use_jit_link=True)
    # What LLVM makes of a loop that copies is a call of the C library's memcpy: of the current process.
    builder = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
    for function in program.module.functions:
        if not function.is_declaration:
            builder.export_symbol(function.name)
    return MachineCode(jit, builder.link(jit, "facepipe"))


def _object_code(text: str, target: Any, machine: Any) -> bytes:
    module = binding.parse_assembly(text)
    module.verify()
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    # The loops are vectors already, and unrolled as they should be.
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))
