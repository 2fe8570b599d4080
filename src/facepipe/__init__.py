# SPDX-License-Identifier: Apache-2.0
"""Face detection and recognition from PyTorch weights to a device, with an accuracy that does not move on the way."""

__version__ = "0.1.0"
