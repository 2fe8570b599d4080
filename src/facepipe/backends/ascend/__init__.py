# SPDX-License-Identifier: Apache-2.0
"""Ascend's NPUs: compiled models by pyACL, msame, ais_bench, and onnxruntime's CANN provider."""
