# SPDX-License-Identifier: Apache-2.0
"""MTCNN: three small networks, each looking closer at what the one before let through.

Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded Convolutional Networks".
Weights: the PyTorch conversion that the facenet-pytorch 2.5.3 wheel carries (MIT).
"""

from __future__ import annotations

from facepipe.specs import AtcOptions, Dim, ModelSpec, Pixels, TensorSpec, Weights, WheelMember, fixed

PIXELS = Pixels(order="RGB", mean=(127.5, 127.5, 127.5), scale=(1 / 128, 1 / 128, 1 / 128))

# Host-side chunks: the most crops that go through RNet and ONet in one call. The vendor's ATC limits.
RNET_MAX, ONET_MAX = 2000, 1000
MAX_SIDE = 65_536


def _wheel(name: str, sha256: str, size: int) -> Weights:
    member = WheelMember(
        project="facenet-pytorch",
        version="2.5.3",
        sha256="b8002c3ee7a3af471c433cbda1fdcab9ae2d46a4aac43435ba08259c45ffc884",
        member=f"facenet_pytorch/data/{name}.pt",
    )
    return Weights(f"{name}.pt", sha256, size, member, licence="MIT")


PNET = ModelSpec(
    name="pnet",
    task="detect",
    network="pnet",
    # One cell is 12 pixels: a smaller image has no output. The upper limit is JPEG's longest side.
    inputs=(
        TensorSpec("image", (Dim("batch", 1, 4096), fixed(3), Dim("height", 12, MAX_SIDE), Dim("width", 12, MAX_SIDE))),
    ),
    outputs=(
        TensorSpec(
            "box_offsets", (Dim("batch", 1, 4096), fixed(4), Dim("rows", 1, MAX_SIDE), Dim("columns", 1, MAX_SIDE))
        ),
        TensorSpec(
            "face_logits", (Dim("batch", 1, 4096), fixed(2), Dim("rows", 1, MAX_SIDE), Dim("columns", 1, MAX_SIDE))
        ),
    ),
    pixels=PIXELS,
    weights=_wheel("pnet", "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f", 28_570),
    opset=13,
    passes=("match_prelu_slope",),
    atc=AtcOptions(gears="image", cells=(2, 12)),
)

RNET = ModelSpec(
    name="rnet",
    task="detect",
    network="rnet",
    inputs=(TensorSpec("image", (Dim("batch", 1, RNET_MAX), fixed(3), fixed(24), fixed(24))),),
    outputs=(
        TensorSpec("box_offsets", (Dim("batch", 1, RNET_MAX), fixed(4))),
        TensorSpec("face_logits", (Dim("batch", 1, RNET_MAX), fixed(2))),
    ),
    pixels=PIXELS,
    weights=_wheel("rnet", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86", 403_147),
    opset=13,
    passes=("match_prelu_slope",),
    atc=AtcOptions(gears="batch", batch_gears=(1, 2, 4, 8, 16, 32, 64, 128, 256)),
)

ONET = ModelSpec(
    name="onet",
    task="detect",
    network="onet",
    inputs=(TensorSpec("image", (Dim("batch", 1, ONET_MAX), fixed(3), fixed(48), fixed(48))),),
    outputs=(
        TensorSpec("box_offsets", (Dim("batch", 1, ONET_MAX), fixed(4))),
        TensorSpec("landmark_offsets", (Dim("batch", 1, ONET_MAX), fixed(10))),
        TensorSpec("face_logits", (Dim("batch", 1, ONET_MAX), fixed(2))),
    ),
    pixels=PIXELS,
    weights=_wheel("onet", "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d", 1_559_269),
    opset=13,
    passes=("match_prelu_slope",),
    atc=AtcOptions(gears="batch", batch_gears=(1, 2, 4, 8, 16, 32, 64, 128, 256)),
)
