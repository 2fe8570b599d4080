# SPDX-License-Identifier: Apache-2.0
"""Speed: photographs and calls per second, memory, start-up. Never accuracy, and never in the process that asks."""
