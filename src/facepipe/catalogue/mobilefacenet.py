# SPDX-License-Identifier: Apache-2.0
"""MobileFaceNet: 128 numbers from a 112x112 face that was aligned by five landmarks.

Chen et al. 2018, "MobileFaceNets". Weights: foamliu/MobileFaceNet (Apache-2.0), trained on MS1M; ReLU6 variant.
"""

from __future__ import annotations

from facepipe.specs import (
    Address,
    AtcOptions,
    Dim,
    FivePoint,
    MeasuredThresholds,
    ModelSpec,
    Pixels,
    RateAt,
    TensorSpec,
    Weights,
    fixed,
)

# insightface's template for 112x112 (python-package, utils/face_align.py).
ARCFACE_112 = FivePoint(
    size=112,
    template=(
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ),
)
_BATCH = Dim("batch", 1, 1024)

MOBILEFACENET_MS1M = ModelSpec(
    name="mobilefacenet.ms1m",
    task="embed",
    network="mobilefacenet_relu6",
    inputs=(TensorSpec("image", (_BATCH, fixed(3), fixed(112), fixed(112))),),
    outputs=(TensorSpec("embedding", (_BATCH, fixed(128))),),
    # ImageNet's mean (.485, .456, .406) and deviation (.229, .224, .225), in bytes.
    pixels=Pixels(
        order="RGB",
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        scale=(1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)),
    ),
    weights=Weights(
        file="mobilefacenet.pt",
        sha256="90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4",
        size=4_135_271,
        origin=Address("https://github.com/foamliu/MobileFaceNet/raw/a6cc903/weights/mobilefacenet.pt"),
        licence="Apache-2.0; trained on MS1M, research use",
        mirror="weights/mobilefacenet/mobilefacenet.pt",
    ),
    opset=13,
    passes=("bound_clip",),
    atc=AtcOptions(gears="none"),
    alignment=ARCFACE_112,
    # `make accept ONLY=thresholds FACEPIPE_CFP=...` measures these again; docs/decisions/0019 says why so.
    thresholds=MeasuredThresholds(
        rates=(
            RateAt(far=1e-2, similarity=0.26017317175865173, low=0.00929, high=0.0108),
            RateAt(far=1e-3, similarity=0.3539503514766693, low=0.000865, high=0.00116),
            RateAt(far=1e-4, similarity=0.4406817555427551, low=0.000074, high=0.000134),
        ),
        source="4,829 photographs of CFP, of 345 people outside LFW's pairs, by retinaface.mobilenet0.25",
    ),
    linking=0.425,  # decision 21
)
