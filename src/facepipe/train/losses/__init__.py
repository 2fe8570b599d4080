# SPDX-License-Identifier: Apache-2.0
"""What a network is trained to make small."""
