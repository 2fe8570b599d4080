# SPDX-License-Identifier: Apache-2.0
"""The networks in PyTorch, as the catalogue names them. Only this package and `convert` need torch.

A network takes one image tensor, returns one tensor or a tuple of them in the catalogue's order, and is written so
that its ONNX holds no Shape, Gather or Expand: no size is read from a tensor, no batch size is written into one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from facepipe.networks.blazeface import BlazeFaceBack, BlazeFaceFront
from facepipe.networks.dlib_resnet import DlibResNet
from facepipe.networks.inception_resnet_v1 import InceptionResnetV1
from facepipe.networks.iresnet import DEPTHS, IResNet
from facepipe.networks.mobilefacenet import MobileFaceNetReLU6
from facepipe.networks.mobilefacenet_prelu import MobileFaceNetPReLU
from facepipe.networks.mtcnn import ONet, PNet, RNet
from facepipe.networks.retinaface import retinaface_mobilenet025, retinaface_resnet50
from facepipe.networks.ultraface import ultraface_rfb, ultraface_slim

_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "pnet": PNet,
    "rnet": RNet,
    "onet": ONet,
    "inception_resnet_v1": InceptionResnetV1,
    "dlib_resnet": DlibResNet,
    "mobilefacenet_relu6": MobileFaceNetReLU6,
    "mobilefacenet_prelu": MobileFaceNetPReLU,
    **{f"iresnet{depth}": partial(IResNet, depth) for depth in DEPTHS},
    "ultraface_slim": ultraface_slim,
    "ultraface_rfb": ultraface_rfb,
    "retinaface_mobilenet025": retinaface_mobilenet025,
    "retinaface_resnet50": retinaface_resnet50,
    "blazeface_front": BlazeFaceFront,
    "blazeface_back": BlazeFaceBack,
}

TRAINING_ONLY: dict[str, tuple[str, ...]] = {"inception_resnet_v1": ("logits.weight", "logits.bias")}
"""Network to the entries of its published state dicts that serve training alone and are dropped, by name."""


def is_known(network: str) -> bool:
    """Whether `build` has a network of that key; a user's own is built by the user's module."""
    return network in _NETWORKS


def build(network: str) -> nn.Module:
    """The network of that key, with torch's first weights, in evaluation mode."""
    assert network in _NETWORKS, f"the catalogue names a network that is not here: {network}"
    return _NETWORKS[network]().eval()
