# SPDX-License-Identifier: Apache-2.0
"""Crops to embeddings. Knows one network as a function; knows no photographs and no back end."""

from facepipe.embed.embedder import Embedder, open_embedder

__all__ = ["Embedder", "open_embedder"]
