# SPDX-License-Identifier: Apache-2.0
"""The back end `native`: small networks compiled for this processor, from an ONNX file to functions.

    backend.py   what it takes, and the back end
    chain.py     the ONNX file -> layers
    winograd.py  the transforms of Winograd's convolutions F(m, r), from their points
    emit.py      loops and vectors in LLVM's language
    kernels.py   layers -> functions
    compile.py   functions -> machine code, kept on disk
    session.py   the network, called with images

It takes chains of convolutions without padding, PReLU, max pooling and dense layers that have few channels, such as
MTCNN's networks. There general libraries reach half of what a processor does or less; see
docs/decisions/0001-native-engine.md for what was measured. Everything is float32.
"""
