# SPDX-License-Identifier: Apache-2.0
"""FaceNet: InceptionResnetV1 with a 512-d embedding of length 1, in three sets of weights.

Schroff et al. 2015, "FaceNet: A Unified Embedding for Face Recognition and Clustering"; the checkpoints are
facenet-pytorch's conversions of davidsandberg/facenet's models 20180402-114759 and 20180408-102900 (MIT code; no
licence is stated for the weights).
"""

from __future__ import annotations

from dataclasses import replace

from facepipe.specs import (
    Address,
    AtcOptions,
    Dim,
    MarginCrop,
    ModelSpec,
    Pixels,
    Recipe,
    TensorSpec,
    Weights,
    fixed,
)

_RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
_BATCH = Dim("batch", 1, 1024)

FACENET_VGGFACE2 = ModelSpec(
    name="facenet.vggface2",
    task="embed",
    network="inception_resnet_v1",
    inputs=(TensorSpec("image", (_BATCH, fixed(3), fixed(160), fixed(160))),),
    outputs=(TensorSpec("embedding", (_BATCH, fixed(512))),),
    pixels=Pixels(order="RGB", mean=(127.5, 127.5, 127.5), scale=(1 / 128, 1 / 128, 1 / 128)),
    weights=Weights(
        file="20180402-114759-vggface2.pt",
        # Pinned by several independent public projects.
        sha256="281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
        size=111_898_327,
        origin=Address(f"{_RELEASE}/20180402-114759-vggface2.pt"),
        licence="not stated (code: MIT); trained on VGGFace2, research use",
        mirror="weights/facenet/20180402-114759-vggface2.pt",
    ),
    opset=13,
    passes=("bound_clip",),
    atc=AtcOptions(gears="none", aipp=True),
    # Margin 14 at 160 pixels: facenet-pytorch's LFW notebook, whose accuracy .9937 is the published one to meet.
    alignment=MarginCrop(size=160, margin=14),
)

FACENET_CASIA = replace(
    FACENET_VGGFACE2,
    name="facenet.casia",
    weights=Weights(
        file="20180408-102900-casia-webface.pt",
        sha256=None,
        size=None,
        origin=Address(f"{_RELEASE}/20180408-102900-casia-webface.pt"),
        licence="not stated (code: MIT); trained on CASIA-WebFace, research use",
        mirror="weights/facenet/20180408-102900-casia-webface.pt",
    ),
)

FACENET_SEEDED = replace(
    FACENET_VGGFACE2,
    name="facenet.seeded",
    weights=Weights(
        file="facenet.seeded.pt",
        sha256=None,
        size=None,
        origin=Recipe("inception_resnet_v1_from_key_names"),
        licence="Apache-2.0 (computed by facepipe)",
    ),
    for_accuracy=False,
)
