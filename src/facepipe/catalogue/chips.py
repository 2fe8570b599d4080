# SPDX-License-Identifier: Apache-2.0
"""Ascend chips, and what each CANN release's compiler documents: frozen data, each line with its source.

"ATC guide" is Huawei's ATC user guide of the release named (hiascend.com, "ATC tool"); "GE" is the published source of
the compiler (hicann/ge), and its guides of 2026; "RT" that of the runtime (hicann/runtime), whose
src/platform/platform_config/cann/<chip>.ini lists what a chip multiplies. Nothing here was measured on a device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from facepipe.errors import DataError, did_you_mean

Family = Literal["310", "310P", "310B", "910", "910B", "910_93", "950"]

MOST_GEARS, LEAST_GEARS = 100, 2
"""How many gears one .om may have: ATC guide, --dynamic_image_size and its two sisters (E10035, E10036)."""

MOST_GEARS_OF_950 = 256
"""GE, --dynamic_image_size: 2 to 256 gears on Ascend 950PR and 950DT."""

ADVISED_BATCH_GEAR = 2048
"""ATC guide, --dynamic_batch_size: larger gears are not advised."""

FP16_MAX, FP16_NORMAL, FP16_TINY = 65504.0, 2.0**-14, 2.0**-24
"""The greatest finite half-precision number; the least normal one, below which digits are lost or hardware flushes to
zero; and the least positive one (a subnormal). IEEE 754 binary16."""

SET_ENV = "source /usr/local/Ascend/cann/set_env.sh (before CANN 8.5: /usr/local/Ascend/ascend-toolkit/set_env.sh)"
"""What a shell needs. GE docs/zh/build.md and environment_setup.md: the folder is called cann in today's releases."""


@dataclass(frozen=True, slots=True)
class Soc:
    """One value of ATC's --soc_version; see `HOW_TO_NAME`.

    `ranges_from` is the first CANN release whose guide allows shape ranges on it; None: no release does.
    `last_cann` is the last release whose guide names the chip; None: still named.
    `f32_matrices` says whether its matrix unit multiplies float32 numbers: RT, [AICoreintrinsicDtypeMap],
    Intrinsic_mmad. Of 310P3 and 910A the list has f16f16f16 and f32f16f16 (float32 sums of half-precision products) and
    integers; of 910B4, 910_9392 and 310B1 it has f322f32 or f32f32f32 as well.
    """

    name: str
    family: Family
    products: str
    ranges_from: str | None
    bf16: bool
    f32_matrices: bool
    last_cann: str | None
    source: str

    @property
    def most_gears(self) -> int:
        """How many gears one .om for it may have."""
        return MOST_GEARS_OF_950 if self.family == "950" else MOST_GEARS


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the compiler of one CANN release, and those after it, spells what changed over the years.

    `range_option` "--input_shape_range" wants brackets, "--input_shape" refuses them.
    `opsets` are those that the guide documents for ONNX; `clip_needs_both` and `host_suffix` are parser and file facts.
    """

    since: str
    range_option: Literal["--input_shape_range", "--input_shape"]
    precision_v2: bool
    opsets: tuple[int, int]
    clip_needs_both: bool
    ops_package: bool
    source: str


_F32_MATRICES = frozenset(("310B", "910B", "910_93", "950"))
_BF16 = _F32_MATRICES  # GE, --precision_mode_v2: bfloat16 is for Atlas A2, A3, 200I/500 A2 and 950 alone


def _family(family: Family, products: str, names: str, ranges_from: str | None, source: str) -> tuple[Soc, ...]:
    last = "8.3" if family == "310" else None
    bf16, f32 = family in _BF16, family in _F32_MATRICES
    return tuple(Soc(name, family, products, ranges_from, bf16, f32, last, source) for name in names.split())


SOCS: dict[str, Soc] = {
    soc.name: soc
    for soc in (
        *_family(
            "310",
            "Atlas 200/300/500 inference products",
            "Ascend310",
            None,
            "ATC guide 6.3.RC2, --input_shape: ranges are not supported on Atlas 200/300/500; "
            "last named in the 8.2 and 8.3.RC1alpha guides",
        ),
        *_family(
            "310P",
            "Atlas 300I Pro, 300I Duo, 300V Pro",
            "Ascend310P1 Ascend310P3 Ascend310P5 Ascend310P7",
            "6.3.RC1",
            "ATC guide 6.3.RC1, --input_shape_range: supported on 310P and 910",
        ),
        *_family(
            "310B",
            "Atlas 200I DK A2, 500 A2, Orange Pi AIpro",
            "Ascend310B1 Ascend310B2 Ascend310B3 Ascend310B4",
            None,
            "ATC guide of 2026 (GE, --input_shape): a shape range is not supported on Atlas 200I/500 A2",
        ),
        *_family(
            "910",
            "Atlas training products",
            "Ascend910A Ascend910ProA Ascend910B Ascend910ProB",
            "6.3.RC1",
            "ATC guide 6.3.RC1, --input_shape_range: supported on 310P and 910",
        ),
        *_family(
            "910B",
            "Atlas A2",
            "Ascend910B1 Ascend910B2 Ascend910B2C Ascend910B3 Ascend910B4 Ascend910B4-1",
            "7.0",
            "AscendCL guide 7.0: aclmdlSetDatasetTensorDesc is excluded on 310 and 310B only",
        ),
        *_family(
            "910_93",
            "Atlas A3",
            "Ascend910_9362 Ascend910_9363 Ascend910_9372 Ascend910_9381 Ascend910_9382 Ascend910_9391 Ascend910_9392",
            "8.0",
            "ATC guide 8.x, --soc_version: Ascend910_93xx; RT platform_config and GE dvpp_constexpr.h name them",
        ),
        *_family(
            "950",
            "Ascend 950PR, 950DT",
            "Ascend950PR_9579 Ascend950PR_9589 Ascend950PR_9599",
            "9.0",
            "ATC guide of 2026 (GE, --soc_version and --input_shape): 950PR and 950DT, ranges are excluded on 310B",
        ),
    )
}

_OF_950 = re.compile(r"Ascend950(PR|DT)_95\w\w")  # RT has dozens of them, which differ in clock and memory

HOW_TO_NAME = (
    "'Ascend' and the Name of `npu-smi info`, as Ascend310P3; for A3 and 950 the Chip Name, '_' and the NPU Name of "
    "`npu-smi info -t board -i 0 -c 0`, as Ascend910_9382"
)
"""How a board tells its --soc_version: GE docs/zh/user_guides/atc_tools/CLI_options/--soc_version.md."""

DIALECTS: tuple[Dialect, ...] = (
    Dialect("5.0", "--input_shape_range", False, (8, 13), True, False,
            "ATC guide 5.0.4.6, 6.0.RC1, 6.0.1: --input_shape_range is reserved, not supported in this version"),
    Dialect("6.3.RC1", "--input_shape_range", False, (8, 13), True, False,
            "ATC guide 6.3.RC1: --input_shape_range on 310P and 910 only; brackets are required (E10048)"),
    Dialect("6.3.RC2", "--input_shape", True, (8, 18), False, False,
            "ATC guide 6.3.RC2: --input_shape_range is deprecated, ranges go into --input_shape, no brackets; "
            "--precision_mode_v2 appears"),
    Dialect("8.5", "--input_shape", True, (11, 18), False, True,
            "ATC guide 8.5: the target chip's ops package must be installed, or compiling fails"),
)  # fmt: skip

CANN_NAMES = {"old": "6.3.RC1", "new": "8.0"}
"""Short names for the two spellings of a range."""

DEFAULT_CANN = "8.0"
"""Assumed where no CANN is installed and none was named: it takes Ascend310 and spells ranges the new way."""

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.?RC(\d+))?(?:\.?(alpha|beta)\d*)?(?:[.\-]\w+)*", re.IGNORECASE)
_RELEASED = 99  # after every release candidate


def soc_by_name(name: str) -> Soc:
    """The chip of that --soc_version value.

    Raises:
        DataError: no such chip; the nearest name is guessed, never used.
    """
    if name in SOCS:
        return SOCS[name]
    if _OF_950.fullmatch(name):
        return replace(SOCS["Ascend950PR_9599"], name=name)
    near = did_you_mean(name, SOCS)
    raise DataError(
        f"chip '{name}' is not known, expected one of {', '.join(SOCS)}.",
        f"{near} " * (near is not None) + f"{HOW_TO_NAME}.",
    )


def cann_key(version: str) -> tuple[int, int, int, int, int]:
    """Sort key of a CANN version: 6.0.1 < 6.3.RC1 < 6.3.RC2 < 6.3 < 8.3.RC1alpha < 8.3.RC1.

    Raises:
        DataError: not a CANN version.
    """
    match = _VERSION.fullmatch(CANN_NAMES.get(version, version).strip())
    if match is None:
        raise DataError(f"CANN version '{version}' has no known form, expected something like 6.3.RC1 or 8.0.")
    major, minor, patch, candidate, early = match.groups()
    return int(major), int(minor), int(patch or 0), int(candidate or _RELEASED), 0 if early else 1


def dialect(version: str) -> Dialect:
    """What the compiler of this CANN release takes: the newest dialect that is not newer than it.

    Raises:
        DataError: not a CANN version, or one from before 5.0, of which nothing is known here.
    """
    known = [entry for entry in DIALECTS if cann_key(entry.since) <= cann_key(version)]
    if not known:
        raise DataError(f"CANN {version} is older than anything known here, expected {DIALECTS[0].since} or newer.")
    return known[-1]


def takes_ranges(soc: Soc, version: str) -> bool:
    """Whether this release's guide allows shape ranges on this chip."""
    return soc.ranges_from is not None and cann_key(soc.ranges_from) <= cann_key(version)


def is_named(soc: Soc, version: str) -> bool:
    """Whether this release's guide still names the chip."""
    return soc.last_cann is None or cann_key(version)[:2] <= cann_key(soc.last_cann)[:2]
