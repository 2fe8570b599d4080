# SPDX-License-Identifier: Apache-2.0
"""BlazeFace: MediaPipe's detectors with six keypoints, for selfies (front) and for a few metres away (back).

Bazarevsky et al. 2019; weights: hollance/BlazeFace-PyTorch (Apache-2.0).
"""

from __future__ import annotations

from facepipe.specs import (
    Address,
    AtcOptions,
    BoxCode,
    Dim,
    ModelSpec,
    Pixels,
    PriorLayout,
    SingleShot,
    Suppression,
    TensorSpec,
    Weights,
    fixed,
)

_BATCH = Dim("batch", 1, 1024)
_REPOSITORY = "https://github.com/hollance/BlazeFace-PyTorch/raw/852bfd8"


def _blazeface(name: str, network: str, side: int, threshold: float, weights: Weights) -> ModelSpec:
    return ModelSpec(
        name=name,
        task="detect",
        network=network,
        inputs=(TensorSpec("image", (_BATCH, fixed(3), fixed(side), fixed(side))),),
        outputs=(
            TensorSpec("box_offsets", (_BATCH, fixed(896), fixed(4))),
            TensorSpec("landmark_offsets", (_BATCH, fixed(896), fixed(12))),
            TensorSpec("face_logits", (_BATCH, fixed(896), fixed(1))),
        ),
        pixels=Pixels(order="RGB", mean=(127.5, 127.5, 127.5), scale=(1 / 127.5, 1 / 127.5, 1 / 127.5)),
        weights=weights,
        opset=13,
        passes=(),
        atc=AtcOptions(gears="none"),
        single_shot=SingleShot(
            size=(side, side),
            fit="pad",
            multiple=1,
            # Two priors in each of 16x16 cells, six in each of 8x8; each is as large as the picture.
            priors=PriorLayout(
                strides=(side // 16, side // 8), sides=((side,) * 2, (side,) * 6), even=False, clipped=False
            ),
            code=BoxCode(centre=1 / side, size=1 / side, exponential=False),
            threshold=threshold,
            suppression=Suppression(method="blending", overlap=0.3, weights="score"),
            # The subject's right eye lies left in the picture, so this order is: left eye, right eye, nose, mouth
            # centre, left ear, right ear, as they lie in the picture.
            keypoints=6,
            mirrored=(1, 0, 2, 3, 5, 4),
        ),
    )


BLAZEFACE_FRONT = _blazeface(
    "blazeface.front",
    "blazeface_front",
    128,
    0.75,
    Weights(
        file="blazeface.pth",
        sha256="54ecff653feaaaf1f7d44b6aff28fd2fc50e483a4e847563b6dd261369c43ba4",
        size=420_224,
        origin=Address(f"{_REPOSITORY}/blazeface.pth"),
        licence="Apache-2.0",
        mirror="weights/blazeface/blazeface.pth",
    ),
)
BLAZEFACE_BACK = _blazeface(
    "blazeface.back",
    "blazeface_back",
    256,
    0.65,
    Weights(
        file="blazefaceback.pth",
        sha256="e2c03bb3ae45e769eaaa0a7cc7d4f61f54a5e3fbae6367d870166702e7022b11",
        size=594_825,
        origin=Address(f"{_REPOSITORY}/blazefaceback.pth"),
        licence="Apache-2.0",
        mirror="weights/blazeface/blazefaceback.pth",
    ),
)
