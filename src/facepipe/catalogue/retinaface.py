# SPDX-License-Identifier: Apache-2.0
"""RetinaFace: boxes and five landmarks in one pass.

Deng et al. 2019, "RetinaFace: Single-stage Dense Face Localisation in the Wild", as biubug6/Pytorch_Retinaface trains
it (MIT, commit b984b4b). Its own weight files lie on cloud drives; the small one is also in foamliu/MobileFaceNet, the
large one is a user's file.
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
    UserFile,
    Weights,
    fixed,
)

_BATCH = Dim("batch", 1, 1024)
_PRIORS = Dim("priors", 1, 1 << 22)
_INPUTS = (
    # 32 is the coarsest stride; the feature pyramid doubles its maps, so sides are multiples of it.
    TensorSpec("image", (_BATCH, fixed(3), Dim("height", 32, 8192, step=32), Dim("width", 32, 8192, step=32))),
)
_OUTPUTS = (
    TensorSpec("box_offsets", (_BATCH, _PRIORS, fixed(4))),
    TensorSpec("landmark_offsets", (_BATCH, _PRIORS, fixed(10))),
    TensorSpec("face_logits", (_BATCH, _PRIORS, fixed(2))),
)
_PIXELS = Pixels(order="BGR", mean=(104.0, 117.0, 123.0), scale=(1.0, 1.0, 1.0))
_SINGLE_SHOT = SingleShot(
    size=(640, 640),
    fit="shrink",
    multiple=32,
    priors=PriorLayout(strides=(8, 16, 32), sides=((16, 32), (64, 128), (256, 512)), even=False, clipped=False),
    code=BoxCode(centre=0.1, size=0.2),
    threshold=0.5,  # vis_thres of test_widerface.py
    suppression=Suppression(method="hard", overlap=0.4, plus_one=True),
    keypoints=5,
    mirrored=(1, 0, 2, 4, 3),
)

RETINAFACE_MOBILENET025 = ModelSpec(
    name="retinaface.mobilenet0.25",
    task="detect",
    network="retinaface_mobilenet025",
    inputs=_INPUTS,
    outputs=_OUTPUTS,
    pixels=_PIXELS,
    weights=Weights(
        file="mobilenet0.25_Final.pth",
        sha256="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
        size=1_789_735,
        origin=Address(
            "https://github.com/foamliu/MobileFaceNet/raw/a6cc903/retinaface/weights/mobilenet0.25_Final.pth"
        ),
        licence="not stated (code: MIT); trained on WIDER FACE, research use",
        mirror="weights/retinaface/mobilenet0.25_Final.pth",
    ),
    opset=13,
    passes=(),
    atc=AtcOptions(gears="none"),
    single_shot=_SINGLE_SHOT,
)

RETINAFACE_RESNET50 = ModelSpec(
    name="retinaface.resnet50",
    task="detect",
    network="retinaface_resnet50",
    inputs=_INPUTS,
    outputs=_OUTPUTS,
    pixels=_PIXELS,
    weights=Weights(
        file="Resnet50_Final.pth",
        sha256=None,
        size=None,
        origin=UserFile("Resnet50_Final.pth of biubug6/Pytorch_Retinaface (its README links the drives)"),
        licence="not stated (code: MIT); trained on WIDER FACE, research use",
        mirror="weights/retinaface/Resnet50_Final.pth",
    ),
    opset=13,
    passes=(),
    atc=AtcOptions(gears="none"),
    single_shot=_SINGLE_SHOT,
)
