# SPDX-License-Identifier: Apache-2.0
"""Photographs to faces, crops and embeddings, over folders of any size: the fused driver and the stages."""
