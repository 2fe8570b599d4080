# SPDX-License-Identifier: Apache-2.0
"""Random numbers as a function of what they are for."""

from __future__ import annotations

import numpy as np
import torch

from facepipe.train.draws import generator, torch_generator


def test_the_same_words_give_the_same_numbers_everywhere() -> None:
    # Others than these make the checkpoints of before worthless.
    assert generator(1, "order", 0).integers(0, 1000, 5).tolist() == [129, 759, 215, 126, 995]


def test_other_words_give_other_numbers() -> None:
    words = [(1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 0), (1, "a"), (1, "a", 0, 0), (11, "a", 0)]
    firsts = {generator(*one).random() for one in words}
    assert len(firsts) == len(words)


def test_no_global_generator_moves() -> None:
    numpy_before, torch_before = np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    generator(1, "a").random(10)
    torch.rand(3, generator=torch_generator(1, "a"))
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_before)
