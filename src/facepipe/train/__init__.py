# SPDX-License-Identifier: Apache-2.0
"""Training: recipes, the order of samples, losses, the loop and the state that a killed run goes on from.

Everything here needs the extra `train`. The engine is torch.distributed; docs/decisions/0035 says why no other.
"""

from __future__ import annotations

from importlib.util import find_spec

from facepipe.errors import BackendError


def require_packages() -> None:
    """Refuse, before any work, where what training needs is not installed.

    Raises:
        BackendError: the first package that is missing is named.
    """
    for name in ("torch", "onnx", "lmdb"):
        if find_spec(name) is None:
            raise BackendError(f"train: no module named '{name}', expected it.", "pip install 'facepipe[train]'.")
