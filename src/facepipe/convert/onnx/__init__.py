# SPDX-License-Identifier: Apache-2.0
"""PyTorch weights to ONNX: exported, patched by passes, simplified, quantised, each step held against the network."""
