# SPDX-License-Identifier: Apache-2.0
"""The factor by which a loss in float16 is scaled, so that small gradients do not become 0."""

from __future__ import annotations

from dataclasses import dataclass

GROWS_AFTER = 2000  # steps in a row; torch.amp.GradScaler's
_LARGEST = 2.0**24


@dataclass(frozen=True, slots=True)
class LossScale:
    """The factor, and for how many steps in a row it has done; of float32 and bfloat16 it is 1 and stays.

    Every process must tell `after` the same: whether a gradient of any of them was not finite.
    """

    factor: float = 1.0
    good: int = 0
    moves: bool = False

    @classmethod
    def of(cls, precision: str) -> LossScale:
        """The first factor of a precision: 65,536 for float16, as torch.amp.GradScaler begins."""
        return cls(2.0**16, 0, True) if precision == "float16" else cls()

    def after(self, overflowed: bool) -> LossScale:
        """Half after gradients that were not finite, and that step is left out; twice after many that were.

        Example:
            >>> LossScale(8.0, 5, True).after(overflowed=True)
            LossScale(factor=4.0, good=0, moves=True)
        """
        if not self.moves:
            return self
        if overflowed:
            return LossScale(max(self.factor / 2, 1.0), 0, True)
        if self.good + 1 == GROWS_AFTER:
            return LossScale(min(self.factor * 2, _LARGEST), 0, True)
        return LossScale(self.factor, self.good + 1, True)
