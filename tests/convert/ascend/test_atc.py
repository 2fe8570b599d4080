# SPDX-License-Identifier: Apache-2.0
"""ATC: the strings, each beside the rule it follows; what is refused; what a run leaves behind; codes in words.

Rules are quoted from the ATC guide by option, and from the published compiler source by error code.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_networks import write_onnx
from stand_ins import DEVLIB, PROGRAMS, stand_in

from facepipe.backends.ascend.om import read_sidecar
from facepipe.catalogue import model
from facepipe.catalogue.chip_precision import PRECISION_V1, PRECISION_V2, finest, offered, precision_option
from facepipe.catalogue.chips import SOCS
from facepipe.cli import main
from facepipe.convert.ascend.atc import (
    Order,
    atc_command,
    decode_log,
    find_atc,
    installed_cann,
    made_from,
    om_from_onnx,
    om_shapes,
    render,
    shape_options,
)
from facepipe.convert.ascend.atc_options import AtcOptions
from facepipe.errors import ConversionError
from facepipe.store.files import sha256_of_file, sidecar_of
from facepipe.store.made_from import is_current, read_record
from facepipe.store.owned import RECORD

LFW = ((151, 151), (107, 107), (76, 76), (54, 54), (38, 38), (27, 27), (20, 20), (14, 14))


def order(name: str, soc: str = "Ascend310", cann: str = "8.0", **changes: object) -> Order:
    spec = model(name)
    weights = Path("weights")
    base = Order(spec, spec.final(weights), spec.compiled(weights, soc, 16), SOCS[soc], cann, 16, image_sizes=LFW)
    return replace(base, **changes)  # type: ignore[arg-type]


# The strings ---------------------------------------------------------------------------------------------------------


def test_four_commands_for_ascend_310_with_gears_no_range_and_the_right_input_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # neither weights nor CANN are here
    monkeypatch.delenv("ASCEND_TOOLKIT_HOME", raising=False)
    assert main(["om", "--soc", "Ascend310", "--batch", "16", "--dry-run"]) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    head = "atc --framework=5 --model=weights/{0}.simplified.onnx --output=weights/{1}.Ascend310 --input_format=NCHW "
    tail = " --soc_version=Ascend310 --log=error"
    assert commands == [
        # --dynamic_image_size: "h,w;h,w", 2 to 100 gears; only H and W are -1; the batch is compiled in.
        head.format("pnet", "pnet.bs16")
        + '--input_shape="image:16,3,-1,-1" '
        + '--dynamic_image_size="151,151;107,107;76,76;54,54;38,38;27,27;20,20;14,14"'
        + tail,
        # --dynamic_batch_size: N is first and -1; 2 to 100 gears, none above the advised 2048.
        head.format("rnet", "rnet")
        + '--input_shape="image:-1,3,24,24" --dynamic_batch_size="1,2,4,8,16,32,64,128,256"'
        + tail,
        head.format("onet", "onet")
        + '--input_shape="image:-1,3,48,48" --dynamic_batch_size="1,2,4,8,16,32,64,128,256"'
        + tail,
        # One static shape needs neither gears nor a range.
        head.format("facenet.vggface2", "facenet.vggface2.bs16") + '--input_shape="image:16,3,160,160"' + tail,
    ]
    assert not any("~" in command for command in commands)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        # --input_shape from 6.3.RC2 on: a~b, no brackets (GE CheckInputShapeValueValid: digits, space, comma, ~ and -).
        ("pnet", "--input_shape=image:1~16,3,12~151,12~151"),
        ("rnet", "--input_shape=image:1~2000,3,24,24"),
        ("onet", "--input_shape=image:1~1000,3,48,48"),
        ("facenet.vggface2", "--input_shape=image:16,3,160,160"),
    ],
)
def test_ascend_310p3_takes_ranges_in_the_new_spelling(name: str, option: str) -> None:
    assert shape_options(order(name, "Ascend310P3", shapes="range")) == (option,)


def test_the_old_dialect_spells_a_range_with_brackets_in_its_own_option() -> None:
    # --input_shape_range, 6.3.RC1: "name:[1~16,3,...]", brackets required (E10048); --input_shape beside it is dropped.
    options = shape_options(order("pnet", "Ascend310P3", "6.3.RC1", shapes="range"))
    assert options == ("--input_shape_range=image:[1~16,3,12~151,12~151]",)


def test_gears_are_spelled_alike_in_every_dialect() -> None:
    assert shape_options(order("pnet", cann="5.0.4")) == shape_options(order("pnet", cann="8.0"))


def test_the_dry_run_for_310p3_offers_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["om", "pnet", "--soc", "Ascend310P3", "--cann", "8.0", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert '--dynamic_image_size="151,151;' in out
    assert 'with --shapes range: --input_shape="image:1~16,3,12~151,12~151"' in out


@pytest.mark.parametrize(
    ("soc", "cann", "tail"),
    [
        # GE --soc_version.md: of A3 and 950 the value is <Chip Name>_<NPU Name>; of the others "Ascend" and the Name.
        # GE --dynamic_image_size.md, --dynamic_batch_size.md: gears on every chip, written alike.
        ("Ascend310", "8.0", "--soc_version=Ascend310 --log=error"),
        ("Ascend310P3", "9.1", "--soc_version=Ascend310P3 --log=error"),
        ("Ascend310B4", "9.1", "--soc_version=Ascend310B4 --log=error"),
        ("Ascend910B4-1", "9.1", "--soc_version=Ascend910B4-1 --log=error"),
        ("Ascend910_9382", "9.1", "--soc_version=Ascend910_9382 --log=error"),
        ("Ascend950PR_9599", "9.1", "--soc_version=Ascend950PR_9599 --log=error"),
    ],
)
def test_the_lines_for_todays_chips_differ_in_the_chip_alone(
    soc: str, cann: str, tail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["om", "--soc", soc, "--cann", cann, "--batch", "16", "--dry-run", "--weights", "weights"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("atc ")]
    assert [line.partition("--input_format=NCHW ")[2] for line in lines] == [
        '--input_shape="image:16,3,-1,-1" '
        f'--dynamic_image_size="151,151;107,107;76,76;54,54;38,38;27,27;20,20;14,14" {tail}',
        f'--input_shape="image:-1,3,24,24" --dynamic_batch_size="1,2,4,8,16,32,64,128,256" {tail}',
        f'--input_shape="image:-1,3,48,48" --dynamic_batch_size="1,2,4,8,16,32,64,128,256" {tail}',
        f'--input_shape="image:16,3,160,160" {tail}',
    ]


@pytest.mark.parametrize("command", [["om", "--dry-run"], ["plan", "--sizes", "250x250"], ["check", "rnet"]])
def test_without_a_name_the_board_is_asked_and_without_a_board_the_name_is_told(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_onnx(model("rnet"), model("rnet").final(Path("weights")))
    assert main(command) == 1
    err = capsys.readouterr().err
    assert "no chip is named, and here is no board that could be asked" in err and "Ascend310P3" in err
    assert len(err.strip().splitlines()) == 1 and "`npu-smi info`" in err
    stand_in(monkeypatch, FAKE_SOC="Ascend310B4")
    assert main([*command, "--cann", "9.1"]) == 0
    assert "Ascend310B4" in "".join(capsys.readouterr())


def test_950_takes_more_gears(capsys: pytest.CaptureFixture[str]) -> None:
    # GE --dynamic_image_size.md: 2 to 256 gears on 950PR and 950DT, 100 elsewhere.
    sizes = tuple((20, side) for side in range(12, 12 + 256))
    assert len(om_shapes(order("pnet", "Ascend950PR_9599", "9.1", image_sizes=sizes)).gears) == 256
    with pytest.raises(ConversionError, match=r"257 gears, expected at most 256 \(E10036\)"):
        atc_command(order("pnet", "Ascend950PR_9599", "9.1", image_sizes=(*sizes, (21, 21))))
    assert main(["plan", "--sizes", "250x250", "--most-gears", "200", "--soc", "Ascend310"]) == 1
    assert "--most-gears: it is 200, expected 2 to 100" in capsys.readouterr().err
    assert main(["plan", "--sizes", "250x250", "--most-gears", "200", "--soc", "Ascend950PR_9599"]) == 0


def test_a_detector_of_one_network_is_compiled_for_the_size_it_was_trained_for() -> None:
    assert shape_options(order("ultraface.rfb-320")) == ("--input_shape=image:16,3,240,320",)
    assert shape_options(order("blazeface.front")) == ("--input_shape=image:16,3,128,128",)


def test_one_image_size_is_a_static_shape_because_gears_begin_at_two() -> None:
    assert shape_options(order("pnet", image_sizes=((151, 151),))) == ("--input_shape=image:16,3,151,151",)


@pytest.mark.parametrize(
    ("precision", "cann", "option"),
    [
        (None, "8.0", ()),
        ("origin", "8.0", ("--precision_mode_v2=origin",)),
        ("origin", "6.0.1", ("--precision_mode=must_keep_origin_dtype",)),  # --precision_mode_v2 appears in 6.3.RC2
        ("fp16", "6.3.RC1", ("--precision_mode=force_fp16",)),
        ("mixed_float16", "5.0", ("--precision_mode=allow_mix_precision",)),
        ("force_fp32", "8.0", ("--precision_mode=force_fp32",)),
        ("must_keep_origin_dtype", "8.0", ("--precision_mode=must_keep_origin_dtype",)),
    ],
)
def test_precision_takes_the_option_that_the_release_knows(
    precision: str | None, cann: str, option: tuple[str, ...]
) -> None:
    assert precision_option(precision, SOCS["Ascend910B4"], cann) == option


@pytest.mark.parametrize("soc", ["Ascend310", "Ascend310P3", "Ascend910A"])
@pytest.mark.parametrize("precision", ["origin", "must_keep_origin_dtype"])
def test_float32_is_refused_where_no_float32_matrix_is_multiplied_and_the_right_mode_is_named(
    soc: str, precision: str
) -> None:
    # GE --precision_mode_v2.md: under origin such an operator goes to the AI CPU, "if there is none, error".
    # RT platform_config/cann/Ascend310P3.ini, Ascend910A.ini: Intrinsic_mmad without a float32 product.
    with pytest.raises(
        ConversionError, match=rf"{soc} multiplies no float32 matrices.*Try: PRECISION=cube_fp16in_fp32out"
    ):
        precision_option(precision, SOCS[soc], "8.0")


def test_the_finest_mode_of_every_chip_is_one_it_offers_and_its_compiler_takes(
    small: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CANN", "9.1")
    for soc in SOCS.values():
        cann = "8.0" if soc.family == "310" else "9.1"
        monkeypatch.setenv("FAKE_CANN", cann)
        assert finest(soc) == ("origin" if soc.f32_matrices else "cube_fp16in_fp32out")
        for precision in (
            offered(soc) if soc.name in ("Ascend310", "Ascend310B4", "Ascend950PR_9599") else [finest(soc)]
        ):
            om_from_onnx(replace(small, soc=soc, cann=cann, precision=precision), tmp_path / "log")


def test_what_a_chip_does_not_offer_its_compiler_refuses(
    small: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facepipe.catalogue.chip_precision.why_not_on", lambda *_: None)
    refused = [name for name in (*PRECISION_V2, *PRECISION_V1) if name not in set(offered_of_310())]
    assert {"origin", "must_keep_origin_dtype", "mixed_bfloat16", "cube_hif8"} <= set(refused)
    for precision in refused:
        with pytest.raises(ConversionError, match=r"E10001|E19999"):
            om_from_onnx(replace(small, precision=precision), tmp_path / "log")


def offered_of_310() -> tuple[str, ...]:
    """What the guide leaves a 310: no bfloat16, no hifloat8, no float32."""
    left = ("fp16", "cube_fp16in_fp32out", "mixed_float16", "force_fp16", "force_fp32", "allow_fp32_to_fp16")
    return (*left, "allow_mix_precision", "allow_mix_precision_fp16")


def test_an_old_release_knows_the_mixed_product_by_its_old_name_alone() -> None:
    # GE --precision_mode.md: "force_fp32 or cube_fp16in_fp32out, the effect is identical; the latter is newer".
    assert precision_option("cube_fp16in_fp32out", SOCS["Ascend310"], "6.0.1") == ("--precision_mode=force_fp32",)
    assert precision_option("cube_fp16in_fp32out", SOCS["Ascend310"], "8.0") == (
        "--precision_mode_v2=cube_fp16in_fp32out",
    )
    with pytest.raises(ConversionError, match="hifloat8; Ascend 950 has"):
        precision_option("cube_hif8", SOCS["Ascend910B4"], "9.0")
    with pytest.raises(ConversionError, match=r"CANN 6\.0\.1 has no such mode\. Try: PRECISION=origin"):
        precision_option("mixed_hif8", replace(SOCS["Ascend950PR_9599"]), "6.0.1")


def test_values_with_a_semicolon_or_a_tilde_are_quoted_for_the_shell() -> None:
    assert render(("atc", "--a=b,c;d", "--m=weights/x.onnx")) == 'atc --a="b,c;d" --m=weights/x.onnx'


# What is refused before ATC is started -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": "range"}, r"pnet: Ascend310 takes shape ranges in no release, this is 8\.0 \(ATC guide 6\.3\.RC2"),
        ({"batch": 0}, "pnet: batch is 0, expected 1 to 4096"),
        ({"image_sizes": ()}, r"pnet: no image sizes are planned, expected 1 to 100\. Try: `facepipe plan`"),
        ({"image_sizes": ((11, 30),)}, "pnet: an image side is 11, expected 12 to 65536"),
        ({"image_sizes": ((20, 20), (20, 20))}, "an image size is listed twice"),
        ({"image_sizes": tuple((20, side) for side in range(12, 113))}, r"101 gears, expected at most 100 \(E10036\)"),
        ({"aipp": True}, "pnet: AIPP is not offered for it"),
        ({"precision": "fp64"}, "precision 'fp64' is not known, expected one of fp16, cube_fp16in_fp32out"),
        ({"precision": "mixed_bfloat16"}, "Ascend310 has no bfloat16"),
        ({"onnx": Path("my weights/pnet.onnx")}, r"my weights/pnet\.onnx: a path for ATC holds letters, digits"),
        ({"shapes": "static"}, "pnet: 8 image sizes, and a static model has one. Try: --image-sizes HxW"),
    ],
)
def test_what_the_guide_forbids_is_refused_in_words(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        atc_command(order("pnet", **changes))


def test_a_range_is_refused_where_the_release_reserves_the_option() -> None:
    with pytest.raises(
        ConversionError, match=r"Ascend310P3 takes shape ranges from CANN 6\.3\.RC1 on, this is 6\.0\.1"
    ):
        atc_command(order("pnet", "Ascend310P3", "6.0.1", shapes="range"))


def test_a_chip_that_the_release_no_longer_names_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"CANN 9\.0 does not name Ascend310, the last that did is 8\.3"):
        atc_command(order("rnet", cann="9.0"))


@pytest.mark.parametrize(
    ("gears", "message"),
    [((8,), "expected 2 to 100 different ones"), ((8, 8), "different ones"), ((1, 4096), "each to be 1 to 2048")],
)
def test_batch_gears_outside_the_guide_are_refused(gears: tuple[int, ...], message: str) -> None:
    spec = model("rnet")
    with pytest.raises(ConversionError, match=message):
        atc_command(order("rnet", spec=replace(spec, atc=replace(spec.atc, batch_gears=gears))))


# What a run leaves behind --------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """An order for a small PNet in a folder of its own, with the stand-in for ATC on PATH."""
    stand_in(monkeypatch)
    spec = model("pnet")
    onnx = write_onnx(spec, spec.final(tmp_path))
    return order("pnet", onnx=onnx, om=spec.compiled(tmp_path, "Ascend310", 4), batch=4)


def test_a_run_leaves_the_om_its_sidecar_and_its_log_and_nothing_else(small: Order, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "pnet.log"
    record = om_from_onnx(small, log)
    assert {path.name for path in tmp_path.iterdir()} == {
        "pnet.simplified.onnx", "pnet.bs4.Ascend310.om", "pnet.bs4.Ascend310.om.json", "logs", RECORD,
    }  # fmt: skip
    assert read_record(small.om) == record and record.made_from.settings["cann"] == "8.0"
    assert record.sha256 == sha256_of_file(small.om) and record.made_from.inputs == {"onnx": sha256_of_file(small.onnx)}
    sidecar = read_sidecar(small.om)
    assert sidecar is not None and sidecar.model == "pnet" and sidecar.soc == "Ascend310" and not sidecar.aipp
    assert sidecar.precision.startswith("force_fp16")
    assert sidecar.shapes == om_shapes(small) and sidecar.shapes.gears[0] == (4, 3, 151, 151)
    assert "ATC run success" in log.read_text() and "exit status 0" in log.read_text()
    assert is_current(small.om, made_from(small))


def test_options_by_name_and_as_they_are_go_onto_the_line(tmp_path: Path, small: Order) -> None:
    (tmp_path / "keep.cfg").write_text("OpType::Clip\n")
    (tmp_path / "bank").mkdir()
    options = AtcOptions(
        True,
        tmp_path / "keep.cfg",
        "aarch64",
        tmp_path / "bank",
        tmp_path / "bank",
        ("--op_select_implmode=high_precision",),
    )
    asked = replace(small, options=options)
    record = om_from_onnx(asked, tmp_path / "log")
    line = (tmp_path / "log").read_text().splitlines()[0]
    for word in (
        "--enable_small_channel=1", "--keep_dtype=../keep.cfg", "--host_env_os=linux --host_env_cpu=aarch64",
        "--mdl_bank_path=../bank --op_bank_path=../bank", "--op_select_implmode=high_precision",
    ):  # fmt: skip
        assert word in line
    assert is_current(small.om, made_from(asked)) and not is_current(small.om, made_from(small))
    assert {"onnx", "keep_dtype", "model_bank", "operator_bank"} == set(record.made_from.inputs)
    (tmp_path / "bank" / "tuned").write_text("better")
    assert not is_current(small.om, made_from(asked))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AtcOptions(others=("--soc_version=Ascend310",)), "--soc_version is set by `facepipe om` itself"),
        (AtcOptions(others=("output=x",)), "'output=x', expected --name=value"),
        (AtcOptions(keep_dtype=Path("/nowhere")), "/nowhere: no such file, which ATC was to read"),
        (AtcOptions(model_bank=Path("/nowhere")), "/nowhere: no such folder"),
    ],
)
def test_an_option_that_is_ours_or_wrong_is_refused(options: AtcOptions, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        atc_command(order("rnet", options=options))


def test_types_that_are_kept_anyway_need_no_list(tmp_path: Path) -> None:
    # GE --keep_dtype.md: with origin and must_keep_origin_dtype it has no effect.
    (tmp_path / "keep.cfg").touch()
    kept = AtcOptions(keep_dtype=tmp_path / "keep.cfg")
    with pytest.raises(ConversionError, match="--keep_dtype does nothing where every operator keeps its type"):
        atc_command(order("rnet", "Ascend910B4", precision="origin", options=kept))


def test_the_command_takes_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--small-channel", "--host-cpu", "aarch64", "--atc-options=--op_select_implmode=high_precision --a='b c'"]
    assert main(["om", "rnet", "--soc", "Ascend310", "--dry-run", *words]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert '--host_env_cpu=aarch64 --op_select_implmode=high_precision --a="b c" --log=error' in line
    assert main(["om", "rnet", "--soc", "Ascend310", "--dry-run", "--atc-options=--a='b"]) == 1
    assert "ATC_OPTIONS: No closing quotation" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["onnx", "om", "precision", "cann"])
def test_an_om_is_made_again_when_anything_it_depends_on_changed(small: Order, tmp_path: Path, change: str) -> None:
    om_from_onnx(small, tmp_path / "log")
    if change == "onnx":
        write_onnx(small.spec, small.onnx, opset=12)
    if change == "om":
        small.om.write_bytes(b"torn")
    other = replace(small, precision="force_fp32") if change == "precision" else small
    assert not is_current(small.om, made_from(replace(small, cann="8.2") if change == "cann" else other))


def test_an_om_with_the_hosts_suffix_is_found(small: Order, tmp_path: Path) -> None:
    # ATC guide: newer releases append the host's system and architecture for models of dynamic shape.
    ranged = replace(small, soc=SOCS["Ascend310P3"], shapes="range")
    assert om_from_onnx(ranged, tmp_path / "log").facts["written_as"] == "pnet.bs4.Ascend310_linux_x86_64.om"
    assert ranged.om.is_file()


@pytest.mark.parametrize("cann", ["5.0.4", "6.0.1", "6.3.RC1", "6.3.RC2", "8.0", "8.2"])
def test_every_dialect_is_accepted_by_its_own_compiler(
    small: Order, tmp_path: Path, cann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CANN", cann)
    om_from_onnx(replace(small, cann=cann, precision="cube_fp16in_fp32out"), tmp_path / "log")
    if cann not in ("5.0.4", "6.0.1"):
        om_from_onnx(replace(small, cann=cann, soc=SOCS["Ascend310P3"], shapes="range"), tmp_path / "log")


@pytest.mark.parametrize(("spoken", "installed"), [("6.3.RC1", "8.0"), ("8.0", "6.3.RC1")])
def test_a_dialect_is_not_taken_for_the_other(
    small: Order, tmp_path: Path, spoken: str, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CANN", installed)
    ranged = replace(small, cann=spoken, soc=SOCS["Ascend310P3"], shapes="range")
    if installed == "8.0":  # the old option still works there, with a warning
        om_from_onnx(ranged, tmp_path / "log")
        assert "deprecated" in (tmp_path / "log").read_text()
    else:
        with pytest.raises(ConversionError, match="E10002: --input_shape has a syntax error"):
            om_from_onnx(ranged, tmp_path / "log")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("silent", "exit status 0 for pnet .*left no .om, expected one .om with content"),
        ("empty", "exit status 0 for pnet .*expected one .om with content"),
        ("two", "left pnet.bs4.Ascend310.om, pnet.bs4.Ascend310_linux_x86_64.om, expected one"),
        ("killed", "atc: signal SIGKILL for pnet"),
        ("module", "a Python module that ATC needs is missing .*Try: pip install numpy decorator"),
        ("E16002", "E16002: no ONNX parser for an operator at this opset"),
        ("E10036", "E10036: too many gears"),
    ],
)
def test_a_failed_run_is_one_clear_error_and_can_be_repeated(
    small: Order, tmp_path: Path, told: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    om_from_onnx(small, tmp_path / "log")
    monkeypatch.setenv("FAKE_ATC", told)
    with pytest.raises(ConversionError, match=message):
        om_from_onnx(small, tmp_path / "log")
    assert not small.om.exists() and not sidecar_of(small.om).exists()
    assert (tmp_path / "log").is_file() and not list(tmp_path.glob(".*"))
    monkeypatch.delenv("FAKE_ATC")
    om_from_onnx(small, tmp_path / "log")
    assert is_current(small.om, made_from(small))


def test_without_atc_one_error_says_what_to_source() -> None:
    with pytest.raises(ConversionError, match=r"not on PATH.*Try: source /usr/local/Ascend/cann/set_env\.sh \(before"):
        find_atc({"PATH": "/nowhere"})


def test_a_machine_without_a_device_needs_the_stub_of_the_drivers_library(tmp_path: Path) -> None:
    # GE environment_setup.md: without it ATC dies of libascend_hal.so, which set_env.sh does not cure.
    path = {"PATH": str(PROGRAMS)}
    with pytest.raises(ConversionError, match=r"no device here and no libascend_hal\.so.*Try: export LD_LIB.*/devlib"):
        find_atc(path, tmp_path, tmp_path)
    found = find_atc({**path, "LD_LIBRARY_PATH": f"/nowhere:{DEVLIB}"}, tmp_path, tmp_path)
    assert found == str(PROGRAMS / "atc")
    (tmp_path / "davinci0").touch()
    assert find_atc(path, tmp_path, tmp_path) == found  # with a device there is a driver, wherever it lies
    assert find_atc(path, tmp_path / "none", DEVLIB) == found


def test_the_stub_that_is_missing_is_told_apart_from_a_shell_that_lacks_set_env() -> None:
    line = "error while loading shared libraries: {}: cannot open shared object file: No such file or directory"
    (driver,) = decode_log(line.format("libascend_hal.so"))
    (library,) = decode_log(line.format("libge_compiler.so"))
    assert driver.code == "driver" and "devlib" in driver.attempt
    assert library.code == "library" and "set_env.sh" in library.attempt


@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_a_static_order_is_one_shape_at_the_batch_that_is_measured(name: str) -> None:
    # The vendor's table has RNet at 1600: with gears up to 256 that would be seven executions.
    made = order(name, shapes="static", batch=800, image_sizes=((1500, 1500),))
    side = {"pnet": 1500, "rnet": 24, "onet": 48}[name]
    assert shape_options(made) == (f"--input_shape=image:800,3,{side},{side}",)
    assert om_shapes(made).kind == "static"


def test_the_command_compiles_what_is_missing_and_skips_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, FAKE_ATC_LOG=str(tmp_path / "calls"))
    monkeypatch.chdir(tmp_path)
    for name in ("pnet", "rnet"):
        write_onnx(model(name), model(name).final(Path("weights")))
    assert main(["om", "pnet", "rnet", "--batch", "2", "--cann", "8.0"]) == 0
    assert "weights/rnet.Ascend310.om: 9 gears over the batch" in capsys.readouterr().out
    Path("weights/rnet.Ascend310.om").unlink()
    assert main(["om", "pnet", "rnet", "--batch", "2", "--cann", "8.0"]) == 0
    assert "weights/pnet.bs2.Ascend310.om: up to date" in capsys.readouterr().out
    called = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert [next(word for word in words if "--model" in word) for words in called] == [
        "--model=../pnet.simplified.onnx",
        "--model=../rnet.simplified.onnx",
        "--model=../rnet.simplified.onnx",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "runs", "weights"]  # no kernel_meta
    assert main(["om", "onet", "--cann", "8.0"]) == 1
    assert "weights/onet.simplified.onnx: no such file" in capsys.readouterr().err


def test_a_model_that_atc_would_refuse_is_not_handed_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, FAKE_ATC_LOG=str(tmp_path / "calls"))
    monkeypatch.chdir(tmp_path)
    write_onnx(model("rnet"), model("rnet").final(Path("weights")), opset=14)
    command = ["om", "rnet", "--soc", "Ascend310", "--cann", "6.0.1"]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert "is of opset 14; CANN 6.0.1 registers operators up to 13" in err and "--no-check lets ATC judge" in err
    assert not (tmp_path / "calls").exists()
    monkeypatch.setenv("FAKE_CANN", "6.0.1")
    assert main([*command, "--no-check"]) == 1
    assert "E16002: no ONNX parser" in capsys.readouterr().err


def test_a_plan_of_photographs_is_compiled_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = ["--sizes", "480x640", "250x250", "--most-gears", "9"]
    assert main(["plan", *sizes, "--soc", "Ascend310", "--out", "plan.json"]) == 0
    assert "18 image sizes, least face 20 px;" in (out := capsys.readouterr().out) and "letterboxed" in out
    assert main(["om", "pnet", "--plan", "plan.json", "--soc", "Ascend310", "--dry-run"]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.count(";") == len(json.loads(Path("plan.json").read_text())["image_sizes"]) - 1 <= 8


def test_image_gears_can_be_given_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["om", "pnet", "--image-sizes", "1500x1500", "--batch", "8", "--soc", "Ascend310", "--dry-run"]) == 0
    assert '--input_shape="image:8,3,1500,1500" --soc_version' in capsys.readouterr().out


@pytest.mark.parametrize("text", ["250", "250x", "0x10", "axb"])
def test_a_size_of_a_wrong_form_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--sizes", text, "--soc", "Ascend310"]) == 1
    assert f"size '{text}': expected HEIGHTxWIDTH in pixels" in capsys.readouterr().err


# Codes and versions --------------------------------------------------------------------------------------------------


def test_codes_are_decoded_whatever_the_wording() -> None:
    log = "ATC start\nE10016: [PID: 3] opname x\n  E10450 foo\nEZ3003: bar\nE10016 again\nValue E1001 is no code"
    found = decode_log(log)
    assert [finding.code for finding in found] == ["E10016", "E10450", "EZ3003"]
    assert found[0].meaning == "the model has no input of that name"
    assert found[1].meaning == "an input's count or shape is inconsistent"


@pytest.mark.parametrize(
    ("code", "words"),
    [  # GE base/common/error_registry/error_registry.cc
        ("E10012", "has no dimension"), ("E10022", "names no file"), ("E10037", "different numbers of dimensions"),
        ("E10038", "not above 0"), ("E10039", "two gears are the same"), ("E10049", "another number of dimensions"),
        ("E10056", "exclude each other"), ("E11005", "leaves an input"), ("E16001", "no input or no output"),
        ("E16005", "several opset domains"), ("E13005", "cannot be parsed"),
    ],
)  # fmt: skip
def test_codes_mean_what_the_compilers_registry_says(code: str, words: str) -> None:
    assert words in decode_log(f"{code}: x")[0].meaning


def test_an_unknown_code_is_reported_as_such() -> None:
    assert decode_log("E77777 x")[0].meaning == "a code that is not known here"


def test_the_installed_cann_is_read_from_its_install_file(tmp_path: Path) -> None:
    info = tmp_path / "aarch64-linux" / "ascend_toolkit_install.info"
    info.parent.mkdir()
    info.write_text("package_name=Ascend-cann-toolkit\nversion=7.0.RC1\ninnerversion=V1\n")
    assert installed_cann({"ASCEND_TOOLKIT_HOME": str(tmp_path)}) == "7.0.RC1"
    assert installed_cann({}) is None
