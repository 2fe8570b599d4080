# SPDX-License-Identifier: Apache-2.0
"""Numbers about numbers: parity of two outputs, accuracy of a verification. Knows no file and no network."""
