# SPDX-License-Identifier: Apache-2.0
"""ArcFace's recognisers: the Paddle port's 128-d MobileFaceNet, and iResNet of four depths with 512 numbers.

Deng et al. 2019, "ArcFace". All take RGB faces aligned to insightface's template at 112x112 and (x - 127.5) / 127.5.
Nobody serves these weights as plain files under a licence that lets a program fetch them, so each is the user's own.
"""

from __future__ import annotations

from facepipe.catalogue.mobilefacenet import ARCFACE_112
from facepipe.specs import AtcOptions, Dim, ModelSpec, Pixels, TensorSpec, UserFile, Weights, fixed

_BATCH = Dim("batch", 1, 1024)
_PIXELS = Pixels(order="RGB", mean=(127.5, 127.5, 127.5), scale=(1 / 127.5, 1 / 127.5, 1 / 127.5))


def _recogniser(name: str, network: str, dimension: int, weights: Weights) -> ModelSpec:
    return ModelSpec(
        name=name,
        task="embed",
        network=network,
        inputs=(TensorSpec("image", (_BATCH, fixed(3), fixed(112), fixed(112))),),
        outputs=(TensorSpec("embedding", (_BATCH, fixed(dimension))),),
        pixels=_PIXELS,
        weights=weights,
        opset=13,
        passes=("match_prelu_slope",),
        atc=AtcOptions(gears="none", aipp=True),
        alignment=ARCFACE_112,
    )


def _iresnet(depth: int) -> ModelSpec:
    return _recogniser(
        f"arcface.iresnet{depth}",
        f"iresnet{depth}",
        512,
        Weights(
            file=f"arcface.iresnet{depth}.pth",
            sha256=None,
            size=None,
            origin=UserFile(
                f"your own copy of arcface_torch's r{depth} checkpoint, a file called backbone.pth (or one that you "
                "trained)"
            ),
            licence="code: MIT; insightface's published weights: non-commercial research only",
            mirror=f"weights/arcface/arcface.iresnet{depth}.pth",
        ),
    )


MOBILEFACENET_PADDLE = _recogniser(
    "mobilefacenet.paddle",
    "mobilefacenet_prelu",
    128,
    Weights(
        file="mobilefacenet.paddle.pt",
        sha256=None,
        size=None,
        origin=UserFile(
            "your own MobileFaceNet_128 of the Paddle port: its .pdparams, called mobilefacenet.paddle.pdparams there, "
            "or a PyTorch state dict (entries conv1.conv.weight, blocks.0.conv.0.weight, ...)"
        ),
        licence="code: MIT; published weights: non-commercial research only",
        mirror="weights/arcface/mobilefacenet.paddle.pt",
    ),
)
IRESNET18, IRESNET34, IRESNET50, IRESNET100 = (_iresnet(depth) for depth in (18, 34, 50, 100))
