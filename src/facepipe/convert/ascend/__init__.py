# SPDX-License-Identifier: Apache-2.0
"""ONNX to .om: the compiler's command line, the check before it, and the rehearsal without a board."""
