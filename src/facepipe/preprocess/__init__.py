# SPDX-License-Identifier: Apache-2.0
"""Photographs to what a recogniser is given: faces, crops, packed batches. Knows no accuracy."""
