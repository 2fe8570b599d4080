# SPDX-License-Identifier: Apache-2.0
"""UltraFace: about 270,000 numbers that find faces at 320x240 and 640x480, in two versions and two trainings.

Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB (MIT, code and weights), commit dffdddd. "-320" and "-640" name the
width that a set of weights was trained at; each network runs at any size.
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
_PRIORS = Dim("priors", 1, 1 << 22)
_REPOSITORY = "https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB/raw/dffdddd/models/pretrained"


def _single_shot(height: int, width: int) -> SingleShot:
    return SingleShot(
        size=(height, width),
        fit="stretch",  # as it was trained: the aspect is not kept
        multiple=1,
        # vision/ssd/config/fd_config.py, of which this is a function of the size.
        priors=PriorLayout(
            strides=(8, 16, 32, 64),
            sides=((10, 16, 24), (32, 48), (64, 96), (128, 192, 256)),
            even=True,
            clipped=True,
        ),
        code=BoxCode(centre=0.1, size=0.2),
        threshold=0.7,  # run_video_face_detect_onnx.py
        suppression=Suppression(method="hard", overlap=0.3, weights="exp"),
    )


def _ultraface(name: str, network: str, size: tuple[int, int], file: str, sha256: str, octets: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        task="detect",
        network=network,
        # 16 pixels are two cells of the finest map; the upper limit only bounds memory.
        inputs=(TensorSpec("image", (_BATCH, fixed(3), Dim("height", 16, 8192), Dim("width", 16, 8192))),),
        outputs=(
            TensorSpec("box_offsets", (_BATCH, _PRIORS, fixed(4))),
            TensorSpec("face_logits", (_BATCH, _PRIORS, fixed(2))),
        ),
        pixels=Pixels(order="RGB", mean=(127.0, 127.0, 127.0), scale=(1 / 128, 1 / 128, 1 / 128)),
        weights=Weights(
            file=file,
            sha256=sha256,
            size=octets,
            origin=Address(f"{_REPOSITORY}/{file}"),
            licence="MIT; trained on WIDER FACE, research use",
            mirror=f"weights/ultraface/{file}",
        ),
        opset=13,
        passes=(),
        atc=AtcOptions(gears="none"),
        single_shot=_single_shot(*size),
    )


ULTRAFACE_SLIM_320 = _ultraface(
    "ultraface.slim-320",
    "ultraface_slim",
    (240, 320),
    "version-slim-320.pth",
    "cd24abce45da5dbc7cfd8167cd3d5f955382dfc9d9ae9459f0026abd3c2e38a4",
    1_091_283,
)
ULTRAFACE_SLIM_640 = _ultraface(
    "ultraface.slim-640",
    "ultraface_slim",
    (480, 640),
    "version-slim-640.pth",
    "02ca778098127c46d2b2680f1c398c7b993c12a424e94c34e6d608beb73481e4",
    1_091_287,
)
ULTRAFACE_RFB_320 = _ultraface(
    "ultraface.rfb-320",
    "ultraface_rfb",
    (240, 320),
    "version-RFB-320.pth",
    "c722b4427cc71642768baef6e15c659931b56f07425e5d2b0ec033ad41b145b3",
    1_168_374,
)
ULTRAFACE_RFB_640 = _ultraface(
    "ultraface.rfb-640",
    "ultraface_rfb",
    (480, 640),
    "version-RFB-640.pth",
    "bf34512b1a93dc234178e8a701ecf25c6afddf335a3226accf62982536e160b5",
    1_168_354,
)
