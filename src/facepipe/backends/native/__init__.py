# SPDX-License-Identifier: Apache-2.0
"""Small networks as machine code of this processor: a chain of convolutions from an ONNX file to functions.

    chain.py            the ONNX file -> layers
    minimal_filters.py  the matrices of Winograd's convolutions, from their points
    emit.py             loops and vectors in LLVM's language
    kernels.py          layers -> functions
    compile.py          functions -> machine code, kept on disk
    session.py          the network, called with images

MTCNN's networks have few channels and many small inputs, where general libraries reach half of what a processor does
or less, and where a 3x3 convolution by minimal filtering takes a third of the multiplications. Everything is float32.
"""
