# SPDX-License-Identifier: Apache-2.0
"""Photographs to faces to crops: the one place that composes detector, selection, alignment and embedder."""
