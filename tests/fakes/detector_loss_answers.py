# SPDX-License-Identifier: Apache-2.0
"""What the authors' detection losses answer on fixed inputs: golden/training, and the inputs by its README's recipe."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from facepipe.catalogue import model
from facepipe.geometry.anchors import priors
from facepipe.specs import BoxCode
from facepipe.train.detection.boxed import Faces, without_landmarks
from facepipe.train.losses import matching, multibox
from facepipe.train.losses.matching import Defects, Rule, Targets, defects_of, match
from facepipe.train.losses.multibox import MultiBox

Family = Literal["ultraface", "retinaface"]
FAMILIES: tuple[Family, ...] = ("ultraface", "retinaface")


@dataclass(frozen=True)
class Published:
    """A family's answers, and its rule, loss, code and priors here."""

    family: Family
    answers: dict[str, np.ndarray]
    rule: Rule
    loss: MultiBox
    code: BoxCode
    priors: np.ndarray

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("boxes", "classes") + (("landmarks",) if self.family == "retinaface" else ())

    def faces(self, name: str) -> Faces:
        rows = self.answers[name]
        if self.family == "ultraface":
            return without_landmarks(rows)
        return Faces(rows[:, :4], rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14] > 0)

    def targets(self, name: str, defects: Defects) -> Targets:
        return match(self.faces(name), self.priors, self.code, self.rule, defects)

    def seed(self) -> Defects:
        return defects_of(self.family, seed=True)

    def predictions(self) -> list[np.ndarray]:
        """Float32, the pictures of all; the digests of golden/training hold them."""
        count = 5 if self.family == "retinaface" else 4
        recipe = {"ultraface": ((11, 2, 4), (12, 8, 2)), "retinaface": ((1, 2, 4), (2, 8, 2), (3, 2, 10))}
        made = []
        for output, (seed, factor, width) in zip(self.outputs, recipe[self.family], strict=True):
            shape = (count, len(self.priors), width)
            raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
            unit = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
            values = ((unit - np.float32(0.5)) * np.float32(factor)).reshape(shape)
            assert hashlib.sha256(values.tobytes()).hexdigest() == str(self.answers[f"prediction_{output}_sha256"])
            made.append(values)
        return made


def read(golden: Path, family: Family) -> Published:
    with np.load(golden / "training" / f"{family}_loss.npz") as stored:
        answers = dict(stored)
    shot = model("ultraface.slim-320" if family == "ultraface" else "retinaface.mobilenet0.25").single_shot
    assert shot is not None
    rule, loss = (
        (matching.ULTRAFACE, multibox.ULTRAFACE)
        if family == "ultraface"
        else (matching.RETINAFACE, multibox.RETINAFACE)
    )
    return Published(family, answers, rule, loss, shot.code, priors(shot.priors, *shot.size))
