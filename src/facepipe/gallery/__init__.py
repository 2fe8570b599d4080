# SPDX-License-Identifier: Apache-2.0
"""Faces with names: a file of embeddings, search in it, and the answer "unknown"."""
