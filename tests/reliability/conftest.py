# SPDX-License-Identifier: Apache-2.0
"""What the reliability tests share: small work, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import victims


@pytest.fixture(scope="session")
def work(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `sample/` (pairs.txt, images/) and `weights/` (the cascade, and a recogniser of few numbers)."""
    pytest.importorskip("skimage", reason="the sample is made from a portrait that scikit-image ships")
    folder = tmp_path_factory.mktemp("work")
    victims.make_work(folder, weights_dir)
    return folder
