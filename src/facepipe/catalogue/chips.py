# SPDX-License-Identifier: Apache-2.0
"""Ascend chips, and what each CANN release's compiler documents: frozen data, each line with its source.

"ATC guide" is Huawei's ATC user guide of the release named (hiascend.com, "ATC tool"); "GE" is the published source of
the compiler (hicann/ge). Nothing here was measured on a device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from facepipe.errors import DataError, did_you_mean

Family = Literal["310", "310P", "310B", "910", "910B", "910_93"]

MOST_GEARS, LEAST_GEARS = 100, 2
"""How many gears one .om may have: ATC guide, --dynamic_image_size and its two sisters (E10035, E10036)."""

ADVISED_BATCH_GEAR = 2048
"""ATC guide, --dynamic_batch_size: larger gears are not advised."""

FP16_MAX, FP16_NORMAL, FP16_TINY = 65504.0, 2.0**-14, 2.0**-24
"""The greatest finite half-precision number; the least normal one, below which digits are lost or hardware flushes to
zero; and the least positive one (a subnormal). IEEE 754 binary16."""


@dataclass(frozen=True, slots=True)
class Soc:
    """One value of ATC's --soc_version: "Ascend" and the Name column of `npu-smi info`.

    `ranges_from` is the first CANN release whose guide allows shape ranges on it; None: no release does.
    `last_cann` is the last release whose guide names the chip; None: still named.
    """

    name: str
    family: Family
    products: str
    ranges_from: str | None
    bf16: bool
    last_cann: str | None
    source: str


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


def _family(
    family: Family, products: str, names: str, ranges_from: str | None, bf16: bool, source: str
) -> tuple[Soc, ...]:
    last = "8.3" if family == "310" else None
    return tuple(Soc(name, family, products, ranges_from, bf16, last, source) for name in names.split())


SOCS: dict[str, Soc] = {
    soc.name: soc
    for soc in (
        *_family(
            "310",
            "Atlas 200/300/500 inference products",
            "Ascend310",
            None,
            False,
            "ATC guide 6.3.RC2, --input_shape: ranges are not supported on Atlas 200/300/500; "
            "last named in the 8.2 and 8.3.RC1alpha guides",
        ),
        *_family(
            "310P",
            "Atlas inference series",
            "Ascend310P1 Ascend310P3 Ascend310P5 Ascend310P7",
            "6.3.RC1",
            False,
            "ATC guide 6.3.RC1, --input_shape_range: supported on 310P and 910",
        ),
        *_family(
            "310B",
            "Atlas 200I/500 A2",
            "Ascend310B1 Ascend310B2 Ascend310B3 Ascend310B4",
            "9.2.0beta1",
            True,
            "AscendCL guide 7.0-8.0: aclmdlSetDatasetTensorDesc is not supported on 200I/500 A2; ticked in 9.2.0beta1",
        ),
        *_family(
            "910",
            "Atlas training products",
            "Ascend910A Ascend910ProA Ascend910B Ascend910ProB",
            "6.3.RC1",
            False,
            "ATC guide 6.3.RC1, --input_shape_range: supported on 310P and 910",
        ),
        *_family(
            "910B",
            "Atlas A2",
            "Ascend910B1 Ascend910B2 Ascend910B2C Ascend910B3 Ascend910B4 Ascend910B4-1",
            "7.0",
            True,
            "AscendCL guide 7.0: aclmdlSetDatasetTensorDesc is excluded on 310 and 310B only",
        ),
        *_family(
            "910_93",
            "Atlas A3",
            "Ascend910_9362 Ascend910_9372 Ascend910_9381 Ascend910_9391 Ascend910_9392",
            "8.0",
            True,
            "ATC guide 8.x, --soc_version: Ascend910_93xx",
        ),
    )
}

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
    near = did_you_mean(name, SOCS)
    raise DataError(
        f"chip '{name}' is not known, expected one of {', '.join(SOCS)}.",
        f"{near} " * (near is not None) + "`npu-smi info` shows the Name to put after 'Ascend'.",
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
