# SPDX-License-Identifier: Apache-2.0
"""Small .om files of every kind for the stand-ins, and what onnxruntime says about the same inputs."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from small_networks import EMBEDDER, PNET, RNET, write_onnx
from stand_ins import MODULES

from facepipe.backends.ascend.om import OmShapes, OmSidecar
from facepipe.specs import ModelSpec
from facepipe.store.made_from import MadeFrom, write_record


def _fake_om() -> ModuleType:
    """The stand-ins' own module, without putting their `acl` on anybody's path."""
    if "fake_om" not in sys.modules:
        found = importlib.util.spec_from_file_location("fake_om", MODULES / "fake_om.py")
        assert found is not None and found.loader is not None
        sys.modules["fake_om"] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules["fake_om"])
    return sys.modules["fake_om"]


fake_om = _fake_om()

IMAGE_GEARS = [[2, 3, 27, 27], [2, 3, 16, 40], [2, 3, 20, 20], [2, 3, 14, 14]]
BATCH_GEARS = [[batch, 3, 24, 24] for batch in (1, 2, 4, 8)]


@dataclass(frozen=True)
class OmFiles:
    """Paths of small .om files; each has its ONNX beside it."""

    pnet: Path
    rnet: Path
    embedder: Path
    embedder_aipp: Path
    embedder_fp16: Path
    pnet_range: Path  # for Ascend310P3, its bounds told
    pnet_unbounded: Path  # -1 instead of bounds, so that the runtime tells no sizes
    pnet_swapped: Path
    pnet_letterbox: Path  # its sidecar allows padding
    rnet_of_310p3: Path
    rnet_of_310b1: Path
    torn: Path


def make(folder: Path) -> OmFiles:
    """Write them all."""

    def om(name: str, spec: ModelSpec, onnx_file: Path, header: dict[str, Any]) -> Path:
        path = folder / name
        fake_om.write(path, {"soc": "Ascend310", "low": [], "high": [], **header}, onnx_file.read_bytes())
        return path

    pnet, rnet, embedder = (write_onnx(spec, folder / f"{spec.name}.onnx") for spec in (PNET, RNET, EMBEDDER))
    swapped = onnx.load(str(pnet))
    outputs = list(swapped.graph.output)
    del swapped.graph.output[:]
    swapped.graph.output.extend(reversed(outputs))
    onnx.save(swapped, str(folder / "swapped.onnx"))
    image = {"kind": "image", "gears": IMAGE_GEARS}
    static = {"kind": "static", "gears": [[4, 3, 6, 6]]}
    constants = {"mean": 0.0, "min": 127.5, "var_reci": 0.0078125}
    ranged = {"kind": "range", "gears": [], "low": [1, 3, 12, 12], "high": [4, 3, 40, 40], "soc": "Ascend310P3"}
    files = OmFiles(
        pnet=om("pnet.bs2.Ascend310.om", PNET, pnet, image),
        rnet=om("rnet.Ascend310.om", RNET, rnet, {"kind": "batch", "gears": BATCH_GEARS}),
        embedder=om("small.embedder.bs4.Ascend310.om", EMBEDDER, embedder, static),
        embedder_aipp=om("aipp.bs4.Ascend310.om", EMBEDDER, embedder, {**static, "aipp": constants}),
        embedder_fp16=om("fp16.bs4.Ascend310.om", EMBEDDER, embedder, {**static, "output_type": fake_om.FLOAT16}),
        pnet_range=om("pnet.bs4.Ascend310P3.om", PNET, pnet, ranged),
        pnet_unbounded=om("free.bs4.Ascend310P3.om", PNET, pnet, {**ranged, "unbounded": True}),
        pnet_swapped=om("swapped.bs2.Ascend310.om", PNET, folder / "swapped.onnx", image),
        pnet_letterbox=om("letterbox.bs2.Ascend310.om", PNET, pnet, image),
        rnet_of_310p3=om(
            "rnet.Ascend310P3.om", RNET, rnet, {"kind": "batch", "gears": BATCH_GEARS, "soc": "Ascend310P3"}
        ),
        rnet_of_310b1=om(
            "rnet.Ascend310B1.om", RNET, rnet, {"kind": "batch", "gears": BATCH_GEARS, "soc": "Ascend310B1"}
        ),
        torn=folder / "torn.om",
    )
    files.torn.write_bytes(files.rnet.read_bytes()[:200])
    write_sidecar(files.rnet_of_310b1, RNET, OmShapes("batch", _tuples(BATCH_GEARS)), soc="Ascend310B1")
    write_sidecar(files.pnet_letterbox, PNET, OmShapes("image", _tuples(IMAGE_GEARS), letterbox=True))
    for om_of_range in (files.pnet_range, files.pnet_unbounded):
        write_sidecar(om_of_range, PNET, OmShapes("range", (), (1, 3, 12, 12), (4, 3, 40, 40)), soc="Ascend310P3")
    return files


def write_sidecar(om: Path, spec: ModelSpec, shapes: OmShapes, soc: str = "Ascend310", aipp: bool = False) -> None:
    """What `facepipe om` would write beside it."""
    told = OmSidecar(spec.name, om.name, soc, "force_fp16", aipp, shapes)
    made_from = MadeFrom({"onnx": "0" * 64}, {"command": ["atc"], "cann": "8.0"})
    write_record(om, spec.name, made_from, told.to_json(), again="make om")


def _tuples(gears: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(gear) for gear in gears)


@cache
def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def reference(onnx_file: Path, image: np.ndarray) -> list[np.ndarray]:
    """onnxruntime's answer, one image at a time, so that no batch has a say in it."""
    rows = [_session(onnx_file).run(None, {"image": image[i : i + 1]}) for i in range(len(image))]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def pixels(seed: int, *shape: int) -> np.ndarray:
    """float32 input that came from bytes: (x - 127.5) / 128."""
    data = np.random.default_rng(seed).integers(0, 256, shape)
    return ((data - 127.5) / 128).astype(np.float32)
