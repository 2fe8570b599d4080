# SPDX-License-Identifier: Apache-2.0
"""Training's losses beside arcface_torch's answers, and two processes beside one."""

from __future__ import annotations

import sys

from checks import REPOSITORY, Check, Measured, golden

sys.path.append(str(REPOSITORY / "tests" / "fakes"))

KINDS = ("frozen", "synchronised")


def published() -> Measured:
    from arcface_torch_answers import analytic, one_process, read_published, two_processes
    from ranks import three_processes

    arrays = read_published(golden())
    with three_processes() as executor:
        found = {**one_process(arrays), **analytic(arrays), **two_processes(arrays, executor)}
    worst = max(found, key=lambda name: found[name])
    return Measured(found[worst], found[worst] <= 1e-5, f"{worst}, of {len(found)} arrays")


def next_step() -> Measured:
    import torch
    from ranks import three_processes
    from training_steps import two_and_one

    found = {}
    with three_processes() as executor:
        for kind in KINDS:
            for name, dtype, smooth in (("f32 slopes of 1", torch.float32, True), ("f64", torch.float64, False)):
                one = two_and_one(executor, kind, 8, 1, dtype, smooth)
                found[f"{kind}, {name}"] = max(*one.losses, *one[1:])
    return Measured(found, max(found.values()) <= 1e-5, "loss, gradients, weights and centres after the step")


def ten_steps() -> Measured:
    from ranks import three_processes
    from training_steps import rounding, two_and_one

    found = {}
    with three_processes() as executor:
        for kind in KINDS:
            apart = two_and_one(executor, kind, 16, 10)
            found[kind] = {
                "first loss": apart.losses[0],
                "gradients of the first step": two_and_one(executor, kind, 16, 1).gradients,
                "the same by rounding to float32, one process": rounding(executor, kind, 16),
                "largest of ten losses": max(apart.losses),
                "gradients of the tenth step": apart.gradients,
                "weights": apart.network,
                "centres": apart.centres,
            }
    first = max(one["first loss"] for one in found.values())
    return Measured(found, first <= 1e-5, "shares of the largest entry; in float32, activations that bend")


CHECKS = (
    Check(
        "training_losses",
        "ArcFace, CosFace and Partial FC beside arcface_torch's losses and gradients, one process and two",
        "within 1e-5 of the largest entry",
        published,
    ),
    Check(
        "two_processes_next_step",
        "two processes take the step that one takes: MobileFaceNet_128 and 500 centres",
        "within 1e-5 of the largest entry",
        next_step,
    ),
    Check(
        "two_processes_ten_steps",
        "how far two processes are from one after ten steps",
        "told; the first loss within 1e-5",
        ten_steps,
    ),
)
