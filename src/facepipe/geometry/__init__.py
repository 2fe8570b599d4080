# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on boxes and pixels: NumPy arrays in and out; no files, no models."""
