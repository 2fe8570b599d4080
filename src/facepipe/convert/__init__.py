# SPDX-License-Identifier: Apache-2.0
"""From published weights to the ONNX that is run and compiled. Knows no device, no image and no face."""
