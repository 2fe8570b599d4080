# SPDX-License-Identifier: Apache-2.0
"""AIPP: the file, and that bytes plus folded constants are the network's input to the last bit of half precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aipp_formula import aipp_output
from small_networks import EMBEDDER, write_onnx
from stand_ins import stand_in

from facepipe.backends.ascend.om import bytes_of_normalised
from facepipe.catalogue import model
from facepipe.catalogue.chips import SOCS
from facepipe.convert.ascend.aipp import aipp_config
from facepipe.convert.ascend.atc import Order, atc_command, om_from_onnx
from facepipe.errors import ConversionError, TensorError
from facepipe.geometry.normalise import normalise

FACENET = model("facenet.vggface2")
ALL_BYTES = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 16, 16, 3)


def test_the_file_is_the_documented_recipe() -> None:
    # ATC guide, AIPP: mean_chn takes whole numbers, so 127.5 goes into min_chn; y = (x - mean - min) * var_reci.
    assert aipp_config(FACENET).split("\n") == [
        "aipp_op {",
        "    aipp_mode: static",
        "    related_input_rank: 0",
        "    input_format: RGB888_U8",
        "    src_image_size_w: 160",
        "    src_image_size_h: 160",
        "    crop: false",
        "    rbuv_swap_switch: false",
        "    csc_switch: false",
        "    mean_chn_0: 0",
        "    mean_chn_1: 0",
        "    mean_chn_2: 0",
        "    min_chn_0: 127.5",
        "    min_chn_1: 127.5",
        "    min_chn_2: 127.5",
        "    var_reci_chn_0: 0.0078125",
        "    var_reci_chn_1: 0.0078125",
        "    var_reci_chn_2: 0.0078125",
        "}",
        "",
    ]


def test_all_256_bytes_give_the_same_input_bit_for_bit() -> None:
    host = normalise(ALL_BYTES, FACENET.pixels)
    np.testing.assert_array_equal(aipp_output(ALL_BYTES, FACENET), host.astype(np.float16))
    np.testing.assert_array_equal(aipp_output(ALL_BYTES, FACENET).astype(np.float32), host)  # and fp16 loses nothing


def test_real_crops_give_the_same_input_bit_for_bit(sample: Path) -> None:
    from facepipe.datasets.images import list_keys, read

    folder = sample / "images"
    images = np.stack([read(folder / key)[70:182, 70:182] for key in list_keys(folder)[:24]])
    host = normalise(images, FACENET.pixels).astype(np.float16)
    np.testing.assert_array_equal(aipp_output(images, FACENET), host)


def test_bgr_networks_get_their_channels_swapped_on_the_chip() -> None:
    spec = replace(FACENET, pixels=replace(FACENET.pixels, order="BGR"))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 4, 3), np.uint8)
    assert "rbuv_swap_switch: true" in aipp_config(spec)
    np.testing.assert_array_equal(aipp_output(images, spec).astype(np.float32), normalise(images, spec.pixels))


def test_constants_that_half_precision_does_not_hold_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"mobilefacenet.ms1m: its mean 123\.675 is no half-precision number"):
        aipp_config(model("mobilefacenet.ms1m"))


def test_a_network_of_many_image_sizes_is_refused() -> None:
    with pytest.raises(ConversionError, match="pnet: its image size is 12~65536 x 12~65536, expected a fixed one"):
        aipp_config(model("pnet"))


def test_aipp_and_a_range_exclude_each_other() -> None:
    spec = replace(model("rnet"), atc=replace(model("rnet").atc, aipp=True))
    ranged = Order(spec, Path("a.onnx"), Path("a.om"), SOCS["Ascend310P3"], "8.0", shapes="range", aipp=True)
    with pytest.raises(ConversionError, match="rnet: static AIPP and a shape range exclude each other"):
        atc_command(ranged)


def test_the_compiler_takes_the_file_and_the_sidecar_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    onnx = write_onnx(EMBEDDER, EMBEDDER.final(tmp_path))
    om = EMBEDDER.compiled(tmp_path, "Ascend310", 4)
    record = om_from_onnx(Order(EMBEDDER, onnx, om, SOCS["Ascend310"], "8.0", 4, aipp=True), tmp_path / "log")
    assert record.facts["aipp"] is True and (tmp_path / "small.embedder.bs4.Ascend310.aipp.cfg").is_file()


def test_bytes_come_back_from_a_normalised_batch() -> None:
    host = normalise(ALL_BYTES, FACENET.pixels)
    np.testing.assert_array_equal(bytes_of_normalised(host, FACENET.pixels, "x"), ALL_BYTES)


@pytest.mark.parametrize("value", [0.003, 1.2, -1.2])
def test_an_input_that_never_was_bytes_is_refused(value: float) -> None:
    with pytest.raises(TensorError, match="x: the input does not come from bytes 0 to 255"):
        bytes_of_normalised(np.full((1, 3, 2, 2), value, np.float32), FACENET.pixels, "x")
