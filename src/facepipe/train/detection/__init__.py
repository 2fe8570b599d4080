# SPDX-License-Identifier: Apache-2.0
"""What detectors are trained on: photographs with boxes, and the changes that they see in an epoch."""
