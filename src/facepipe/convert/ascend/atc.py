# SPDX-License-Identifier: Apache-2.0
"""ONNX to .om: Ascend's compiler ATC, told from the catalogue, in the dialect of the installed CANN.

What the guide forbids is refused here, in words, before ATC is started: it takes minutes to fail, and answers in
numbers. An .om appears whole or not at all, and its sidecar (see `backends.ascend.om`) after it.
Sources: ATC guide of the CANN releases named in `catalogue.chips`, and the compiler's published source (hicann/ge).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facepipe.backends.ascend.om import OmShapes, OmSidecar
from facepipe.catalogue.chip_precision import DEFAULT as DEFAULT_PRECISION
from facepipe.catalogue.chip_precision import INT8, precision_option, rounding
from facepipe.catalogue.chips import (
    ADVISED_BATCH_GEAR,
    LEAST_GEARS,
    SET_ENV,
    Soc,
    dialect,
    is_named,
    takes_ranges,
)
from facepipe.convert.ascend.aipp import aipp_config
from facepipe.convert.ascend.amct import PREFIX, deploy, deployed_name
from facepipe.convert.ascend.atc_options import AtcOptions
from facepipe.errors import ConversionError
from facepipe.geometry.shape_plan import Size
from facepipe.specs import ModelSpec
from facepipe.store.files import sha256_of_file, sidecar_of, write_text
from facepipe.store.made_from import MadeFrom, Record, require_own, weights_behind, write_record
from facepipe.store.owned import keep_record, place, remove, require_free
from facepipe.store.parts import part_of, remove_parts

_HAL = "libascend_hal.so"
DRIVER = Path("/usr/local/Ascend/driver/lib64")

_PATH = re.compile(r"[A-Za-z0-9_.\-/\u4e00-\u9fff]+")  # ATC guide, --model and --output: nothing else in a path
_INSTALL_INFO = re.compile(r"^version=(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Order:
    """One .om to be made.

    Attributes:
        spec: the model.
        onnx: its final ONNX file; in eight bits, its quantised one.
        om: the file to be made; its name is ATC's --output and ".om".
        soc: the chip.
        cann: the CANN release whose dialect is spoken.
        batch: rows of one execution, where the batch is compiled in; the most rows, for a range.
        shapes: "gears", "range" or "static", which is one shape: this batch, this image size. A model without a free
            axis is static anyway.
        image_sizes: (height, width) of every gear of a network that takes many; ignored for others.
        letterbox: whether the plan pads sizes that are no gear; recorded in the sidecar.
        precision: a value of --precision_mode or --precision_mode_v2; None leaves ATC's default, half precision; "int8"
            sends the quantised file through AMCT first.
        aipp: fold (x - mean) * scale into the .om.
        options: what else goes onto ATC's command line.
    """

    spec: ModelSpec
    onnx: Path
    om: Path
    soc: Soc
    cann: str
    batch: int = 1
    shapes: Literal["gears", "range", "static"] = "gears"
    image_sizes: tuple[Size, ...] = ()
    letterbox: bool = False
    precision: str | None = None
    aipp: bool = False
    options: AtcOptions = field(default_factory=AtcOptions)


def orders_of(
    specs: Sequence[ModelSpec],
    weights: Path,
    soc: Soc,
    cann: str,
    batch: int,
    shapes: Literal["gears", "range", "static"],
    image_sizes: tuple[Size, ...],
    letterbox: bool,
    precision: str | None,
    aipp: bool,
    options: AtcOptions,
) -> list[Order]:
    """One order for each model, from its final ONNX in `weights` to the .om beside it; the rest as in `Order`.

    Eight bits are the recogniser's, as everywhere; detectors beside it are compiled in the default.

    Raises:
        ConversionError: AIPP is asked for, and the catalogue offers it for none of them.
    """
    if aipp and not any(spec.atc.aipp for spec in specs):
        names = ", ".join(spec.name for spec in specs)
        raise ConversionError(f"{names}: the catalogue offers AIPP for none of them.", "leave --aipp off.")
    eight_bits = [precision == INT8 and spec.task == "embed" for spec in specs]
    return [
        Order(
            spec,
            spec.quantised(weights) if is_int8 else spec.final(weights),
            spec.compiled(weights, soc.name, batch),
            soc,
            cann,
            batch,
            shapes,
            image_sizes,
            letterbox,
            None if precision == INT8 and not is_int8 else precision,
            aipp and spec.atc.aipp,  # MTCNN's resized images are no whole bytes: for AIPP they would have to be rounded
            options,
        )
        for spec, is_int8 in zip(specs, eight_bits, strict=True)
    ]


def om_shapes(order: Order) -> OmShapes:
    """The input shapes that the order compiles for.

    Raises:
        ConversionError: the guide forbids them on this chip, in this release, or at all.
    """
    dims = order.spec.input.dims
    low, high = dims[0].low, dims[0].high
    axis = order.spec.atc.gears
    if not low <= order.batch <= high:
        raise ConversionError(f"{order.spec.name}: batch is {order.batch}, expected {low} to {high}.")
    if axis == "none":
        # A detector of one network is compiled for the size that it was trained for; drivers fill inputs up to it.
        shot = order.spec.single_shot
        sides = shot.size if shot is not None else (dims[2].low, dims[3].low)
        return OmShapes("static", ((order.batch, dims[1].low, *sides),))
    if axis == "image":
        _check_image_sizes(order)
    if order.shapes == "range":
        return _range(order)
    if order.shapes == "static":
        return _static(order)
    if axis == "batch":
        _check_batch_gears(order)
        return OmShapes("batch", tuple((gear, *(dim.low for dim in dims[1:])) for gear in order.spec.atc.batch_gears))
    gears = tuple((order.batch, dims[1].low, *size) for size in order.image_sizes)
    # One size needs no gears, and --dynamic_image_size takes no fewer than two.
    return OmShapes("static" if len(gears) == 1 else "image", gears, letterbox=order.letterbox)


def shapes_in_words(order: Order) -> str:
    """What the order compiles for, for people."""
    shapes = om_shapes(order)
    if shapes.kind == "range":
        return "a range from " + "x".join(map(str, shapes.low)) + " to " + "x".join(map(str, shapes.high))
    if shapes.kind == "static":
        return "one shape, " + "x".join(map(str, shapes.gears[0]))
    if shapes.kind == "batch":
        return f"{len(shapes.gears)} gears over the batch, " + " ".join(str(gear[0]) for gear in shapes.gears)
    sizes = " ".join(f"{gear[2]}x{gear[3]}" for gear in shapes.gears)
    return f"{len(shapes.gears)} gears over the image at batch {order.batch}, {sizes}"


def _check_image_sizes(order: Order) -> None:
    name, sizes = order.spec.name, order.image_sizes
    if not sizes:
        raise ConversionError(
            f"{name}: no image sizes are planned, expected 1 to {order.soc.most_gears}.",
            "`facepipe plan` with your photographs.",
        )
    for axis, side in ((axis, side) for size in sizes for axis, side in zip((2, 3), size, strict=True)):
        dim = order.spec.input.dims[axis]
        if not dim.low <= side <= dim.high:
            raise ConversionError(f"{name}: an image side is {side}, expected {dim.low} to {dim.high}.")
    if len(set(sizes)) != len(sizes):
        raise ConversionError(f"{name}: an image size is listed twice, expected each gear once (E10039).")
    if order.shapes == "gears" and len(sizes) > order.soc.most_gears:
        raise ConversionError(
            f"{name}: {len(sizes)} gears, expected at most {order.soc.most_gears} (E10036).",
            "`facepipe plan` letterboxes sizes until they fit.",
        )


def _check_batch_gears(order: Order) -> None:
    gears, most = order.spec.atc.batch_gears, order.soc.most_gears
    if not LEAST_GEARS <= len(set(gears)) == len(gears) <= most:
        raise ConversionError(
            f"{order.spec.name}: batch gears are {gears}, expected {LEAST_GEARS} to {most} different ones "
            "(E10035, E10036)."
        )
    if min(gears) < 1 or max(gears) > ADVISED_BATCH_GEAR:
        raise ConversionError(
            f"{order.spec.name}: batch gears are {gears}, expected each to be 1 to {ADVISED_BATCH_GEAR} (E10038)."
        )


def _static(order: Order) -> OmShapes:
    """One shape of a network that has gears otherwise: what a measurement at that very shape wants."""
    dims = order.spec.input.dims
    sizes = order.image_sizes if order.spec.atc.gears == "image" else ((dims[2].low, dims[3].low),)
    if len(sizes) != 1:
        raise ConversionError(
            f"{order.spec.name}: {len(sizes)} image sizes, and a static model has one.", "--image-sizes HxW"
        )
    return OmShapes("static", ((order.batch, dims[1].low, *sizes[0]),))


def _range(order: Order) -> OmShapes:
    soc, spec = order.soc, order.spec
    if not takes_ranges(soc, order.cann):
        since = f"from CANN {soc.ranges_from} on" if soc.ranges_from else "in no release"
        raise ConversionError(
            f"{spec.name}: {soc.name} takes shape ranges {since}, this is {order.cann} ({soc.source}).",
            "SHAPES=gears, the default: fixed steps are planned instead.",
        )
    dims = spec.input.dims
    low = tuple(dim.low for dim in dims)
    if spec.atc.gears == "batch":
        return OmShapes("range", (), low, tuple(dim.high for dim in dims))
    sides = tuple(max(size[axis] for size in order.image_sizes) for axis in (0, 1))
    return OmShapes("range", (), low, (order.batch, dims[1].low, *sides))


def shape_options(order: Order) -> tuple[str, ...]:
    """--input_shape and what goes with it.

    Raises:
        ConversionError: see `om_shapes`.
    """
    shapes, name = om_shapes(order), order.spec.input.name
    if shapes.kind == "static":
        return (f"--input_shape={name}:{','.join(map(str, shapes.gears[0]))}",)
    if shapes.kind == "batch":
        rest = ",".join(map(str, shapes.gears[0][1:]))
        gears = ",".join(str(gear[0]) for gear in shapes.gears)
        return (f"--input_shape={name}:-1,{rest}", f"--dynamic_batch_size={gears}")
    if shapes.kind == "image":
        gears = ";".join(f"{gear[2]},{gear[3]}" for gear in shapes.gears)
        return (f"--input_shape={name}:{order.batch},{shapes.gears[0][1]},-1,-1", f"--dynamic_image_size={gears}")
    sides = ",".join(
        str(low) if low == high else f"{low}~{high}" for low, high in zip(shapes.low, shapes.high, strict=True)
    )
    option = dialect(order.cann).range_option
    # The old option wants brackets (E10048 without them), and drops --input_shape; the new one refuses them (E10002).
    return (f"{option}={name}:[{sides}]",) if option == "--input_shape_range" else (f"{option}={name}:{sides}",)


def atc_command(order: Order, folder: Path | None = None) -> tuple[str, ...]:
    """ATC's command line for an order, as a list for `subprocess`.

    Args:
        order: what to make.
        folder: where ATC runs, if not here: it leaves its output there, and finds files from there.

    Raises:
        ConversionError: the guide forbids the order; nothing was started.
    """
    spec, soc = order.spec, order.soc
    if not is_named(soc, order.cann):
        raise ConversionError(
            f"{spec.name}: CANN {order.cann} does not name {soc.name}, the last that did is {soc.last_cann}.",
            "CANN 8.0 compiles for it, without a device; --cann names the release that is spoken to.",
        )

    def seen(path: Path) -> Path:
        if folder is None:
            return path
        return Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve()))

    stem = order.om.with_suffix("") if folder is None else Path(order.om.stem)
    shapes = shape_options(order)
    aipp = (f"--insert_op_conf={seen(aipp_path(order))}",) if _has_aipp(order) else ()
    more = order.options.words(rounding(order.precision) == "nothing", seen)
    source = order.onnx if order.precision != INT8 else order.om.parent / deployed_name(PREFIX)
    if order.precision == INT8 and folder is not None:
        source = folder / deployed_name(PREFIX)
    for path in (order.onnx, stem):
        if not _PATH.fullmatch(str(path)):
            raise ConversionError(
                f"{path}: a path for ATC holds letters, digits and _ - . / only, this one has others.",
                "move the weights folder.",
            )
    return (
        "atc",
        "--framework=5",
        f"--model={seen(source)}",
        f"--output={stem}",
        "--input_format=NCHW",
        *shapes,
        f"--soc_version={soc.name}",
        *precision_option(order.precision, soc, order.cann),
        *aipp,
        *more,
        "--log=error",
    )


def _has_aipp(order: Order) -> bool:
    """Whether AIPP is folded in.

    Raises:
        ConversionError: it is asked for where it cannot be.
    """
    if not order.aipp:
        return False
    spec = order.spec
    if not spec.atc.aipp:
        raise ConversionError(
            f"{spec.name}: AIPP is not offered for it; the catalogue allows it where the input is whole bytes and its "
            "constants are exact in half precision.",
            "leave AIPP off for this model.",
        )
    if om_shapes(order).kind == "range":
        raise ConversionError(f"{spec.name}: static AIPP and a shape range exclude each other for one input.")
    return True


def aipp_path(order: Order) -> Path:
    """Where the AIPP file of an order lies."""
    return order.om.with_suffix(".aipp.cfg")


def render(command: tuple[str, ...]) -> str:
    """A command line for a shell, values quoted where a shell would read something into them."""
    words = []
    for word in command:
        option, equals, value = word.partition("=")
        words.append(f'{option}="{value}"' if equals and not _PATH.fullmatch(value) else word)
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class LogFinding:
    """One error code of ATC's output: the code, what it means, what to try, and the line it stands in."""

    code: str
    meaning: str
    attempt: str
    line: str


_NO_PARSER = ("no ONNX parser for an operator at this opset", "`facepipe check` names the operator and the repair.")
_SHAPE = "`facepipe plan` and `facepipe om --dry-run` show the shapes that are asked for."
_OPTION = "`facepipe om --dry-run` shows the command; --cann names the release it is spelled for."
_DEVLIB = (
    'export LD_LIBRARY_PATH="$ASCEND_TOOLKIT_HOME/$(uname -m)-linux/devlib:$LD_LIBRARY_PATH" after set_env.sh: a '
    "machine without a device has no driver, and devlib holds the stub of its library."
)
_PYTHON = "pip install numpy decorator sympy scipy attrs psutil into the Python that ATC uses."

ERRORS: dict[str, tuple[str, str]] = {
    # GE base/common/error_registry/error_registry.cc. Wording differs between releases; codes do not.
    "E10001": ("an option has an illegal value", _OPTION),
    "E10002": ("--input_shape has a syntax error, such as brackets", _OPTION),
    "E10003": ("an option has an illegal value", _OPTION),
    "E10004": ("an option is empty", _OPTION),
    "E10005": ("an option must be true or false", _OPTION),
    "E10006": ("an option must be 0 or 1", _OPTION),
    "E10007": ("a required option is missing", _OPTION),
    "E10009": ("gears of two kinds, or gears and a range, exclude each other", _OPTION),
    "E10010": ("--log has an illegal value", _OPTION),
    "E10011": ("a dimension is not positive and there are no gears", _SHAPE),
    "E10012": ("an input with batch gears has no dimension", _SHAPE),
    "E10013": ("a number is out of range", _OPTION),
    "E10014": ("a number was expected", _OPTION),
    "E10016": ("the model has no input of that name", "`facepipe onnx` exports with the catalogue's names."),
    "E10017": ("that name is not an input", "`facepipe onnx` exports with the catalogue's names."),
    "E10018": ("with batch gears only the first dimension may be -1", _SHAPE),
    "E10019": ("with image gears only height and width may be -1", _SHAPE),
    "E10020": ("--dynamic_image_size is malformed", _SHAPE),
    "E10021": ("a path is too long", "move the weights folder."),
    "E10022": ("--output names no file", _OPTION),
    "E10031": ("there are batch gears, and no -1 for them in --input_shape", _SHAPE),
    "E10034": ("an input is declared fp16 and given to AIPP", "leave one of the two off."),
    "E10035": ("too few gears, ATC wants at least 2", _SHAPE),
    "E10036": ("too many gears, ATC takes at most 100, for 950 256", _SHAPE),
    "E10037": ("gears have different numbers of dimensions", _SHAPE),
    "E10038": ("a gear's dimension is not above 0", _SHAPE),
    "E10039": ("two gears are the same", _SHAPE),
    "E10040": ("'~' and gears exclude each other, and gears need a -1", _SHAPE),
    "E10041": ("the model cannot be loaded", "`facepipe onnx` makes it anew."),
    "E10048": ("--input_shape_range has a syntax error; brackets are required and ranges are written a~b", _OPTION),
    "E10049": ("--input_shape has another number of dimensions than the model's input", _SHAPE),
    "E10050": ("a size is outside the range of --input_shape", _SHAPE),
    "E10052": ("the AIPP file is refused", "`facepipe om --dry-run` names it; leave AIPP off."),
    "E10054": ("a required option is empty, or a value is not in quotation marks", _OPTION),
    "E10055": ("this release or chip does not support what is asked for", _OPTION),
    "E10056": ("--precision_mode and --precision_mode_v2 exclude each other", _OPTION),
    "E10410": ("a file is missing", "`facepipe onnx` makes the ONNX files."),
    "E10501": ("an operator is not registered", "`facepipe check` names it; is ASCEND_OPP_PATH set?"),
    "E11005": ("--input_shape leaves an input of the model out", "`facepipe onnx` exports with one input."),
    "E13005": ("the ONNX file cannot be parsed", "`facepipe onnx` makes it anew."),
    "E13010": _NO_PARSER,
    "E14001": ("a node's attribute or input is invalid", "`facepipe check` names the node and the repair."),
    "E16001": ("the ONNX file has no input or no output", "`facepipe onnx` makes it anew."),
    "E16002": _NO_PARSER,
    "E16004": ("the ONNX file cannot be parsed", "`facepipe onnx` makes it anew."),
    "E16005": ("the ONNX file names several opset domains", "`facepipe fix` drops those that no node uses."),
    "E19010": _NO_PARSER,
    "E19999": ("an internal error of the compiler", "the log and ~/ascend/log/debug/plog tell more."),
    "EZ0501": ("an operator is not registered", "`facepipe check` names it and the repair."),
    "EZ3002": ("an operator does not meet its specification", "`facepipe check` names it and the repair."),
    "EZ3003": ("no engine supports an operator", "`facepipe check` names it and the repair."),
    "EZ9010": _NO_PARSER,
}

_FAMILIES = (
    ("E104", "an input's count or shape is inconsistent", _SHAPE),
    ("E13", "a file cannot be opened or read", "check the file and the folder's permissions."),
)
_PATTERNS = (
    (re.compile(r"No module named '?([\w.]+)"), "Python", "a Python module that ATC needs is missing", _PYTHON),
    (
        re.compile(r"libascend_hal\.so: cannot open shared object file"),
        "driver",
        "the driver's library is not found, of which a machine without a device needs the stub",
        _DEVLIB,
    ),
    (
        re.compile(r"(?i)(?<!libascend_hal\.so: )cannot open shared object file"),
        "library",
        "a library of CANN is not found",
        SET_ENV,
    ),
    (
        re.compile(r"(?i)out of memory|std::bad_alloc|\bKilled\b"),
        "memory",
        "the compiler ran out of memory",
        "export TE_PARALLEL_COMPILER=1 MAX_COMPILE_CORE_NUMBER=1, and fewer gears.",
    ),
)
_CODE = re.compile(r"\bE(?:[A-Z]\d{4}|\d{5})\b")


def decode_log(text: str) -> tuple[LogFinding, ...]:
    """The error codes and known troubles in ATC's output, each once, in the order in which they appear."""
    found: dict[str, LogFinding] = {}
    for line in text.splitlines():
        for code in _CODE.findall(line):
            found.setdefault(code, LogFinding(code, *_meaning(code), line.strip()))
        for pattern, name, meaning, attempt in _PATTERNS:
            if pattern.search(line):
                found.setdefault(name, LogFinding(name, meaning, attempt, line.strip()))
    return tuple(found.values())


def _meaning(code: str) -> tuple[str, str]:
    if code in ERRORS:
        return ERRORS[code]
    for family, meaning, attempt in _FAMILIES:
        if code.startswith(family):
            return meaning, attempt
    return "a code that is not known here", "the log and ~/ascend/log/debug/plog tell more."


def installed_cann(environ: Mapping[str, str]) -> str | None:
    """The version of the CANN that the environment points at; None where there is none.

    Source: CANN installation guide, "file paths": <toolkit>/<arch>-linux/ascend_toolkit_install.info, "version=".
    """
    for variable in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"):
        home = environ.get(variable)
        if home is None:
            continue
        places = (f"{platform.machine()}-linux", "*-linux", ".")
        for info in (info for where in places for info in sorted(Path(home).glob(f"{where}/*_install.info"))):
            match = _INSTALL_INFO.search(info.read_text(encoding="utf-8", errors="replace"))
            if match:
                return match[1]
    return None


def find_atc(environ: Mapping[str, str], devices: Path = Path("/dev"), driver: Path = DRIVER) -> str:
    """The path of ATC.

    Args:
        environ: its PATH is searched, and its LD_LIBRARY_PATH for libascend_hal.so where there is no device: without
            the driver or its stub in the toolkit's devlib ATC does not start (GE
            docs/zh/user_guides/atc_tools/overview/environment_setup.md).
        devices: where davinci0 and its like lie.
        driver: the driver's folder of libraries, which the system knows without LD_LIBRARY_PATH.

    Raises:
        ConversionError: it is not on PATH, or would not start.
    """
    found = shutil.which("atc", path=environ.get("PATH", ""))
    if found is None:
        raise ConversionError(
            "atc: the compiler is not on PATH; it is part of the CANN toolkit, and needs no device.",
            f"{SET_ENV} after installing the toolkit; `facepipe om --dry-run` shows the commands.",
        )
    folders = [Path(folder) for folder in environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    has_driver = any((folder / _HAL).is_file() for folder in (*folders, driver, driver / "driver"))
    if not has_driver and not any(devices.glob("davinci*")):
        raise ConversionError(f"atc: there is no device here and no {_HAL}, without which it does not start.", _DEVLIB)
    return found


def made_from(order: Order) -> MadeFrom:
    """What the .om of an order is made from: this ONNX, by this very order. The ONNX is there."""
    inputs = {"onnx": sha256_of_file(order.onnx), **weights_behind(order.onnx), **order.options.digests()}
    return MadeFrom(inputs, {"command": atc_command(order), "cann": order.cann})


def om_from_onnx(order: Order, log: Path) -> Record:
    """Run ATC; the .om and its record are there when this returns, and neither is when it raises.

    Args:
        order: what to make.
        log: the file that ATC's output goes to, whatever becomes of it.

    Raises:
        ConversionError: the order is illegal, ATC is absent, ATC failed (its codes decoded), or it reported success
            and left no .om.
    """
    atc_command(order)  # refuses what is illegal
    atc = find_atc(os.environ)
    if not order.onnx.is_file():
        again = "quantise" if order.precision == INT8 else "onnx"
        raise ConversionError(f"{order.onnx}: no such file.", f"`facepipe {again} {order.spec.name}`")
    origin = made_from(order)
    require_own(order.om)
    keep_record(order.om)
    keep_record(log)
    require_free((log, *((aipp_path(order),) if order.aipp else ())), overwrite=False, attempt="move it away.")
    for folder in {order.om.parent, log.parent}:
        remove_parts(folder)
    if order.aipp:
        write_text(aipp_path(order), aipp_config(order.spec))
    remove(sidecar_of(order.om))  # from here on the old .om is not vouched for
    remove(order.om)
    scratch = part_of(order.om)
    scratch.mkdir()
    try:
        adapted = deploy(order.onnx, scratch)[1] if order.precision == INT8 else ""
        # It leaves kernel_meta and fusion_result.json where it runs: in a folder that goes, where two do not meet.
        ran = atc_command(order, scratch)
        made = subprocess.run(
            (Path(atc).absolute(), *ran[1:]), cwd=scratch, capture_output=True, text=True, errors="replace", check=False
        )
        output = adapted + made.stdout + made.stderr
        write_text(log, f"{render(ran)}\n\n{output}\nexit status {made.returncode}\n")
        files = sorted(scratch.glob("*.om"))
        if made.returncode != 0:
            raise _failure(order, log, output, made.returncode)
        # Newer releases append the host's system and architecture, so the file is looked for, not assumed.
        if len(files) != 1 or files[0].stat().st_size == 0:
            names = ", ".join(path.name for path in files) or "no .om"
            raise ConversionError(
                f"atc: exit status 0 for {order.spec.name} ({order.soc.name}), and it left {names}, expected one .om "
                f"with content; the log is {log}.",
                "free disk space, and read the log.",
            )
        facts = OmSidecar(
            model=order.spec.name,
            written_as=files[0].name,
            soc=order.soc.name,
            precision=order.precision or f"{DEFAULT_PRECISION} (the compiler's default)",
            aipp=order.aipp,
            shapes=om_shapes(order),
        )
        place(files[0], order.om)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return write_record(order.om, order.spec.name, origin, facts.to_json(), again="make om")


def _failure(order: Order, log: Path, output: str, status: int) -> ConversionError:
    """ATC's failure in one line: the codes decoded, else the last lines."""
    what = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    findings = decode_log(output)
    if findings:
        causes = "; ".join(f"{finding.code}: {finding.meaning} ({finding.line[:160]})" for finding in findings)
        return ConversionError(
            f"atc: {what} for {order.spec.name} ({order.soc.name}). {causes}. The log is {log}.", findings[0].attempt
        )
    last = " / ".join(output.strip().splitlines()[-2:]) or "nothing was printed"
    return ConversionError(
        f"atc: {what} for {order.spec.name} ({order.soc.name}). Last lines: {last}. The log is {log}.",
        "~/ascend/log/debug/plog tells more; ASCEND_SLOG_PRINT_TO_STDOUT=1 prints it.",
    )
