# SPDX-License-Identifier: Apache-2.0
"""Networks as machine code against onnxruntime on the same files: made chains of odd sizes, and MTCNN's three."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("llvmlite", reason="this back end is the extra [native]")

from facepipe.backends.native import compile as compile_module
from facepipe.backends.native.session import load_native
from facepipe.errors import BackendError, TensorError
from facepipe.store.model_content import read_model

WIDTHS = (4, 8, 16)  # LLVM writes each for any processor


class Maker:
    """A chain of layers with seeded weights, as an ONNX file."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = "image"

    def _weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def _add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: object) -> None:
        name = output or f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *inputs], [name], **attributes))
        if output is None:
            self.last = name

    def convolution(self, inputs: int, outputs: int, size: int, output: str | None = None, **more: object) -> None:
        weights = self.rng.normal(0, (2 / (inputs * size * size)) ** 0.5, (outputs, inputs, size, size))
        self._add("Conv", [self._weight(weights), self._weight(self.rng.normal(size=outputs))], output, **more)

    def prelu(self, channels: int, axes: int = 2) -> None:
        self._add("PRelu", [self._weight(self.rng.normal(0, 0.5, (1, channels, *[1] * axes)))])

    def pool(self, size: int, stride: int, ceil_mode: int = 1) -> None:
        self._add("MaxPool", [], kernel_shape=[size] * 2, strides=[stride] * 2, ceil_mode=ceil_mode)

    def dense(self, inputs: int, outputs: int, output: str | None = None) -> None:
        weights = self.rng.normal(0, (2 / inputs) ** 0.5, (outputs, inputs))
        self._add("Gemm", [self._weight(weights), self._weight(self.rng.normal(size=outputs))], output, transB=1)

    def flatten(self, perm: Sequence[int] | None) -> None:
        if perm is not None:
            self._add("Transpose", [], perm=list(perm))
        self._add("Flatten", [])

    def save(self, path: Path, side: int | str, heads: Sequence[str] = ("one", "two")) -> Path:
        across = side if isinstance(side, int) else "columns"
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, across])
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in heads]
        graph = helper.make_graph(self.nodes, "chain", [image], outputs, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def maps(path: Path, seed: int = 0, middle: int = 21) -> Path:
    """Like PNet: any size; the middle convolution is filtered where the map is large enough."""
    maker = Maker(seed)
    maker.convolution(3, 10, 3)
    maker.prelu(10)
    maker.pool(2, 2)
    maker.convolution(10, middle, 3)
    maker.prelu(middle)
    maker.convolution(middle, 33, 3)
    maker.prelu(33)
    maker.convolution(33, 4, 1, "one")
    maker.convolution(33, 2, 1, "two")
    return maker.save(path, "rows")


def vectors(path: Path, seed: int = 0, perm: Sequence[int] | None = (0, 3, 2, 1)) -> Path:
    """Like ONet: one size, flattened in some order, dense layers."""
    maker = Maker(seed)
    maker.convolution(3, 28, 3)  # 26 -> 24
    maker.prelu(28)
    maker.pool(3, 2)  # 12
    maker.convolution(28, 17, 3)  # 10
    maker.prelu(17)
    maker.pool(3, 2)  # 5
    maker.convolution(17, 19, 2)  # 4
    maker.prelu(19)
    maker.flatten(perm)
    maker.dense(19 * 16, 37)
    maker.prelu(37, 0)
    maker.dense(37, 4, "one")
    maker.dense(37, 10, "two")
    return maker.save(path, 26)


def answers(path: Path, image: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {"image": image})]


def close(mine: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> None:
    assert len(mine) == len(reference)
    for one, other in zip(mine, reference, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * max(1.0, float(np.abs(other).max())))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shape", [(1, 12, 12), (2, 13, 40), (3, 17, 12), (1, 64, 51), (5, 26, 27), (1, 12, 300)])
def test_maps_of_any_size(shape: tuple[int, int, int], width: int, tmp_path: Path) -> None:
    path, image = maps(tmp_path / "chain.onnx"), noise(shape[0], 3, *shape[1:])
    close(load_native(read_model(path), 1, None, width).run((image,)), answers(path, image))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("perm", [None, (0, 1, 2, 3), (0, 3, 2, 1), (0, 2, 3, 1)])
def test_vectors_flattened_in_any_order(perm: Sequence[int] | None, width: int, tmp_path: Path) -> None:
    path = vectors(tmp_path / "chain.onnx", 3, perm)
    session = load_native(read_model(path), 1, None, width)
    for count in (1, 7, 31):
        image = noise(count, 3, 26, 26)
        close(session.run((image,)), answers(path, image))


def test_one_session_takes_one_shape_after_another_and_its_answers_are_the_callers(tmp_path: Path) -> None:
    session = load_native(read_model(maps(tmp_path / "chain.onnx")), 1, None)
    image = noise(2, 3, 40, 31)
    first = session.run((image,))
    copies = [array.copy() for array in first]
    for shape in ((1, 3, 12, 12), (4, 3, 60, 60), (2, 3, 40, 31)):
        again = session.run((noise(*shape),))
    for one, other, third in zip(first, copies, again, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(third, other)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_image_s_bits_depend_neither_on_the_batch_nor_on_the_threads(threads: int, tmp_path: Path) -> None:
    for path, side in ((vectors(tmp_path / "v.onnx"), 26), (maps(tmp_path / "m.onnx"), 37)):
        image = noise(11, 3, side, side)
        alone = load_native(read_model(path), 1, None)
        session = load_native(read_model(path), threads, None)
        together = session.run((image,))
        session.close()
        for row in range(len(image)):
            for one, whole in zip(alone.run((image[row : row + 1],)), together, strict=True):
                np.testing.assert_array_equal(one[0], whole[row])


def test_no_images_no_answers(tmp_path: Path) -> None:
    one, two = load_native(read_model(vectors(tmp_path / "chain.onnx")), 1, None).run((noise(0, 3, 26, 26),))
    assert one.shape == (0, 4) and two.shape == (0, 10)


def test_a_program_is_kept_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    path, cache, image = vectors(tmp_path / "chain.onnx"), tmp_path / "cache", noise(2, 3, 26, 26)
    first = load_native(read_model(path), 1, cache).run((image,))
    (kept,) = cache.glob("*.o")
    content, made = kept.read_bytes(), kept.stat().st_mtime_ns
    second = load_native(read_model(path), 1, cache).run((image,))
    assert kept.stat().st_mtime_ns == made
    kept.write_bytes(content[:-100])
    third = load_native(read_model(path), 1, cache).run((image,))
    assert kept.read_bytes() == content
    for one, other, last in zip(first, second, third, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, last)


def test_a_graph_that_is_no_chain_is_refused_by_its_node(tmp_path: Path) -> None:
    maker = Maker(0)
    maker.convolution(3, 8, 3, pads=[1, 1, 1, 1])
    with pytest.raises(BackendError, match=r"node Conv '' is not plain, expected a chain of convolutions"):
        load_native(read_model(_finished(maker, 8).save(tmp_path / "padded.onnx", "rows")), 1, None)
    maker = Maker(0)
    maker.convolution(3, 8, 3)
    maker._add("Relu", [])
    with pytest.raises(BackendError, match="node Relu '' is of another kind"):
        load_native(read_model(_finished(maker, 8).save(tmp_path / "relu.onnx", "rows")), 1, None)
    maker = Maker(0)
    maker.convolution(3, 8, 3)
    maker.pool(2, 2, ceil_mode=0)
    with pytest.raises(BackendError, match="node MaxPool '' is not plain"):
        load_native(read_model(_finished(maker, 8).save(tmp_path / "floor.onnx", "rows")), 1, None)
    maker = Maker(0)
    maker.convolution(3, 8, 3)
    with pytest.raises(BackendError, match="begins otherwise, expected a convolution and pooling"):
        maker.convolution(8, 8, 3)
        load_native(read_model(_finished(maker, 8).save(tmp_path / "unpooled.onnx", "rows")), 1, None)


def test_a_kernel_that_is_not_square_and_a_dense_layer_the_other_way_round_are_refused(tmp_path: Path) -> None:
    maker = Maker(0)
    maker._add("Conv", [maker._weight(np.ones((8, 3, 3, 2))), maker._weight(np.zeros(8))])
    with pytest.raises(BackendError, match="node Conv '' is not plain"):
        load_native(read_model(_finished(maker, 8).save(tmp_path / "oblong.onnx", "rows")), 1, None)
    maker = Maker(0)
    maker.convolution(3, 8, 3)  # 4 -> 2
    maker.pool(2, 2)  # 1
    maker.flatten(None)
    maker._add("Gemm", [maker._weight(np.ones((8, 8))), maker._weight(np.zeros(8))])  # transB is 0 where it is left out
    with pytest.raises(BackendError, match="node Gemm '' is not plain"):
        load_native(read_model(_finished(maker, 8).save(tmp_path / "turned.onnx", 4)), 1, None)


def _finished(maker: Maker, channels: int) -> Maker:
    maker.convolution(channels, 4, 1, "one")
    maker.convolution(channels, 2, 1, "two")
    return maker


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "rnet.simplified.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(BackendError, match=r"rnet\.simplified\.onnx: is no ONNX model"):
        load_native(read_model(broken), 1, None)


@pytest.mark.parametrize(
    "inputs",
    [
        (np.zeros((2, 3, 26, 26)),),  # float64: twice as long as what would be read
        (np.zeros((2, 3, 26, 26), np.float16),),
        (np.zeros((2, 3, 26, 26), ">f4"),),
        (np.zeros((2, 2, 26, 26), np.float32),),
        (np.zeros((3, 26, 26), np.float32),),
        (np.zeros((2, 3, 26, 27), np.float32),),
        (np.zeros((1, 3, 26, 26), np.float32),) * 2,
        (),
    ],
)
def test_what_is_no_batch_of_its_images_is_refused_and_never_read(
    inputs: tuple[np.ndarray, ...], tmp_path: Path
) -> None:
    session = load_native(read_model(vectors(tmp_path / "chain.onnx")), 1, None)
    with pytest.raises(TensorError, match=r"chain\.onnx: the input.*expected one float32 \[N, 3, 26, 26\]"):
        session.run(inputs)


@pytest.mark.parametrize("side", [0, 1, 2, 7])
def test_an_image_too_small_for_a_layer_is_refused(side: int, tmp_path: Path) -> None:
    session = load_native(read_model(maps(tmp_path / "chain.onnx")), 1, None)
    with pytest.raises(TensorError, match="large enough for every layer"):
        session.run((np.zeros((1, 3, 40, side), np.float32),))


def test_a_view_is_read_in_its_own_order(tmp_path: Path) -> None:
    path = vectors(tmp_path / "chain.onnx")
    image = noise(3, 26, 26, 3).transpose(0, 3, 2, 1)[::-1]
    close(load_native(read_model(path), 1, None).run((image,)), answers(path, np.ascontiguousarray(image)))


def test_threads_that_share_a_session_take_turns(tmp_path: Path) -> None:
    session = load_native(read_model(vectors(tmp_path / "chain.onnx")), 1, None)
    images = [noise(4 + count, 3, 26, 26) for count in range(8)]
    wanted = [session.run((image,)) for image in images]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            for one, other in zip(threads.map(lambda image: session.run((image,)), images), wanted, strict=True):
                for array, expected in zip(one, other, strict=True):
                    np.testing.assert_array_equal(array, expected)


def test_workers_on_a_cold_cache_compile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, compiled = [], compile_module._object_code

    def counted(*arguments: object) -> bytes:
        made.append(1)
        time.sleep(0.2)  # the others come in meanwhile
        return compiled(*arguments)

    monkeypatch.setattr(compile_module, "_object_code", counted)
    path, image = vectors(tmp_path / "chain.onnx"), noise(2, 3, 26, 26)
    with ThreadPoolExecutor(4) as workers:
        loads = [workers.submit(load_native, read_model(path), 1, tmp_path / "cache") for _ in range(4)]
        found = [load.result().run((image,)) for load in loads]
    assert len(made) == 1
    for other in found[1:]:
        np.testing.assert_array_equal(found[0][0], other[0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("oblong input", "its input is 26 x 30, expected a square"),
        ("float64 weights", "has no weights in float32"),
        ("unknown weights", "has no weights in float32"),
        ("skipping windows", "node MaxPool '' is not plain"),
        ("two inputs", "its input is no batch of images"),
    ],
)
def test_a_graph_that_only_resembles_a_chain_is_refused(spoil: str, message: str, tmp_path: Path) -> None:
    graph = onnx.load(maps(tmp_path / "whole.onnx"))
    image, first = graph.graph.input[0], graph.graph.initializer[0]
    if spoil == "oblong input":
        for dim, size in zip(image.type.tensor_type.shape.dim[2:], (26, 30), strict=True):
            dim.dim_value = size
    elif spoil == "float64 weights":
        first.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(first).astype(np.float64), first.name))
    elif spoil == "unknown weights":
        graph.graph.node[0].input[1] = "elsewhere"
    elif spoil == "skipping windows":
        pool = next(node for node in graph.graph.node if node.op_type == "MaxPool")
        next(item for item in pool.attribute if item.name == "strides").ints[:] = [3, 3]
    else:
        other = graph.graph.input.add()
        other.CopyFrom(image)
        other.name = "other"
    path = tmp_path / "spoilt.onnx"
    onnx.save(graph, path)
    with pytest.raises(BackendError, match=message):
        load_native(read_model(path), 1, None)


@pytest.mark.weights
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("name", "shape"),
    [("pnet", (2, 3, 150, 107)), ("pnet", (1, 3, 12, 14)), ("rnet", (49, 3, 24, 24)), ("onet", (13, 3, 48, 48))],
)
def test_mtcnn_s_networks(name: str, shape: tuple[int, ...], width: int, weights_dir: Path) -> None:
    path, image = weights_dir / f"{name}.simplified.onnx", noise(*shape)
    close(load_native(read_model(path), 1, None, width).run((image,)), answers(path, image))


@pytest.mark.weights
@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_mtcnn_s_networks_against_the_peer(name: str, weights_dir: Path, golden: Path) -> None:
    expected = np.load(golden / "mtcnn_nets.npz")
    session = load_native(read_model(weights_dir / f"{name}.simplified.onnx"), 1, None)
    *offsets, logits = session.run((expected[f"{name}_input"],))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    kinds = [*("box_offsets", "landmarks")[: len(offsets)], "probabilities"]
    close([*offsets, probabilities], [expected[f"{name}_{kind}"] for kind in kinds])
