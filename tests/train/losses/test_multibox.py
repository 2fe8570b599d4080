# SPDX-License-Identifier: Apache-2.0
"""The detectors' losses against the authors' answers, against a slow program, and on several ranks against one."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from detector_loss_answers import FAMILIES, Published, read  # noqa: E402
from ranks import by_processes, by_threads  # noqa: E402
from slow_multibox import Slow, slow_losses  # noqa: E402

from facepipe.errors import DataError  # noqa: E402
from facepipe.train.losses.matching import (  # noqa: E402
    REPAIRED,
    RETINAFACE_SEED,
    ULTRAFACE_SEED,
    Defects,
    Targets,
)
from facepipe.train.losses.multibox import RETINAFACE, ULTRAFACE, Losses, MultiBox, losses_of  # noqa: E402
from facepipe.train.processes import ALONE  # noqa: E402

LARGEST = 1e-5
"""Of the largest entry of what is compared with."""


def _distance(found: Any, expected: Any) -> float:
    expected = np.asarray(expected, np.float64)
    largest = np.abs(expected).max(initial=0)
    return float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0) / (largest or 1))


def _ran(
    arrays: list[np.ndarray], targets: list[Targets], loss: MultiBox, defects: Defects, processes: Any = ALONE
) -> tuple[Losses, list[np.ndarray]]:
    """The losses, and the gradients of the predictions."""
    tensors = [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]
    landmarks = tensors[2] if len(tensors) > 2 else None
    found = losses_of(tensors[0], tensors[1], landmarks, targets, loss, defects, processes)
    found.total.backward()
    return found, [np.zeros_like(one.detach()) if one.grad is None else one.grad.numpy() for one in tensors]


def _numbers(found: Losses, outputs: int) -> list[float]:
    return [found.boxes.item(), found.classes.item(), found.landmarks.item()][:outputs]


# What the authors answer


@pytest.fixture(scope="module", params=FAMILIES)
def published(request: pytest.FixtureRequest, golden: Path) -> Published:
    return read(golden, request.param)


@pytest.fixture(scope="module")
def retinaface(golden: Path) -> Published:
    return read(golden, "retinaface")


@pytest.fixture(scope="module")
def ultraface(golden: Path) -> Published:
    return read(golden, "ultraface")


def _assert_batch(published: Published, count: int, name: str, defects: Defects) -> None:
    arrays = [array[:count] for array in published.predictions()]
    targets = [published.targets(f"faces_{number}", defects) for number in range(count)]
    found, gradients = _ran(arrays, targets, published.loss, defects)
    answers = published.answers
    assert _distance(_numbers(found, len(arrays)), answers[f"{name}_losses"]) <= LARGEST
    assert _distance(found.total.item(), answers[f"{name}_total"]) <= LARGEST
    for output, gradient in zip(published.outputs, gradients, strict=True):
        stored = f"{name}_gradient_{output}"
        whole = np.zeros((count * len(published.priors), gradient.shape[2]), np.float32)
        whole[answers[f"{stored}_rows"]] = answers[f"{stored}_values"]
        flat = gradient.reshape(whole.shape)
        assert np.array_equal(np.flatnonzero(flat.any(axis=1)), answers[f"{stored}_rows"]), output
        assert _distance(flat, whole) <= LARGEST, output
        places = answers[f"{stored}_sample_positions"]
        assert _distance(gradient.ravel()[places], answers[f"{stored}_sample_values"]) <= LARGEST, output


@pytest.mark.parametrize("defects", ["seed", "repaired"])
def test_a_batch_of_pictures_with_faces_answers_as_the_authors(published: Published, defects: str) -> None:
    _assert_batch(published, 4, "batch4", published.seed() if defects == "seed" else REPAIRED)


def test_with_the_seeds_switch_a_picture_without_a_face_adds_nothing(retinaface: Published) -> None:
    _assert_batch(retinaface, 5, "batch5", RETINAFACE_SEED)


@pytest.mark.parametrize("defects", ["seed", "repaired"])
def test_each_picture_alone_answers_as_the_authors(published: Published, defects: str) -> None:
    switch, arrays = published.seed() if defects == "seed" else REPAIRED, published.predictions()
    for number in range(5 if published.family == "retinaface" and defects == "seed" else 4):
        targets = [published.targets(f"faces_{number}", switch)]
        found, _ = _ran([array[number : number + 1] for array in arrays], targets, published.loss, switch)
        assert _distance(_numbers(found, len(arrays)), published.answers[f"single_{number}_losses"]) <= LARGEST
        assert _distance(found.total.item(), published.answers[f"single_{number}_total"]) <= LARGEST


def _nothing(faces: int = 0) -> Targets:
    return Targets(
        faces,
        np.zeros(0, np.int64),
        np.zeros((0, 4), np.float32),
        np.zeros((0, 10), np.float32),
        np.zeros(0, np.bool_),
    )


def test_with_the_seeds_switch_ultraface_without_positives_has_no_loss(ultraface: Published) -> None:
    arrays = [array[:2] for array in ultraface.predictions()]
    found, _ = _ran(arrays, [_nothing(), _nothing()], ultraface.loss, ULTRAFACE_SEED)
    assert np.array_equal(_numbers(found, 2), ultraface.answers["no_positive_losses"], equal_nan=True)
    targets = [ultraface.targets("faces_0", ULTRAFACE_SEED), _nothing()]
    found, _ = _ran(arrays, targets, ultraface.loss, ULTRAFACE_SEED)
    assert _distance(_numbers(found, 2), ultraface.answers["one_image_without_positives_losses"]) <= LARGEST


# Repaired: own values, by the slow program


def _slow(published: Published, arrays: list[np.ndarray], targets: list[Targets]) -> Slow:
    wide = [array.astype(np.float64) for array in arrays]
    return slow_losses(
        wide[0], wide[1], wide[2] if len(wide) > 2 else None, targets,
        ratio=published.loss.negatives, author=published.family, faceless=1,
        weights=(published.loss.boxes, 1.0, published.loss.landmarks),
    )  # fmt: skip


def test_repaired_a_picture_without_a_face_teaches_its_hardest_negatives(published: Published) -> None:
    """As many as one positive would bring: 3 and 7. What divides stays the positives of the others."""
    arrays = published.predictions()
    number = len(arrays[0]) - 1  # the last picture is shown as one without a face
    targets = [published.targets(f"faces_{one}", REPAIRED) for one in range(number)] + [_nothing()]
    expected = _slow(published, arrays, targets)
    found, gradients = _ran(arrays, targets, published.loss, REPAIRED)
    assert _distance(_numbers(found, 3), expected.losses) <= LARGEST
    assert _distance(found.total.item(), expected.total) <= LARGEST
    for gradient, slow in zip(gradients, expected.gradients, strict=True):
        assert _distance(gradient, slow) <= LARGEST
    assert gradients[1][number].any(axis=1).sum() == published.loss.negatives


def test_repaired_a_batch_without_positives_has_a_loss(published: Published) -> None:
    """The cross-entropy of the hardest negatives, divided by 1; boxes and landmarks 0, with gradients of 0."""
    arrays = [array[:2] for array in published.predictions()]
    expected = _slow(published, arrays, [_nothing(), _nothing()])
    found, gradients = _ran(arrays, [_nothing(), _nothing()], published.loss, REPAIRED)
    assert _distance(_numbers(found, 3), expected.losses) <= LARGEST
    assert found.positives == 0
    assert found.boxes == 0 == found.landmarks
    assert gradients[1].any(axis=2).sum() == 2 * published.loss.negatives
    assert not any(gradient.any() for gradient in (gradients[0], *gradients[2:]))


def test_a_picture_of_which_all_faces_are_too_small_teaches_nothing(retinaface: Published) -> None:
    """Its hardest negatives are those faces."""
    target = retinaface.targets("special_only_small_faces_faces", REPAIRED)
    assert (target.faces, len(target.priors)) == (2, 0)
    found, gradients = _ran([array[:1] for array in retinaface.predictions()], [target], RETINAFACE, REPAIRED)
    assert found.total == 0
    assert not any(gradient.any() for gradient in gradients)


# Against the slow program


def _made(seed: int, pictures: int, priors: int, landmarks: bool) -> tuple[list[np.ndarray], list[Targets]]:
    """Predictions float64, and targets with from none to nearly all priors."""
    draws = np.random.default_rng(seed)
    arrays = [draws.normal(0, 2, (pictures, priors, width)) for width in ((4, 2, 10) if landmarks else (4, 2))]
    targets = []
    for _ in range(pictures):
        count = int(draws.integers(0, priors))
        chosen = np.sort(draws.choice(priors, count, replace=False))
        known = draws.random(count) < 0.5
        offsets = draws.normal(0, 2, (count, 14)).astype(np.float32)
        faces = count or int(draws.integers(0, 2))
        targets.append(Targets(faces, chosen, offsets[:, :4], offsets[:, 4:] * known[:, None], known))
    return arrays, targets


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 40), st.sampled_from(FAMILIES), st.integers(0, 3))
def test_losses_and_gradients_are_the_slow_programs(
    seed: int, pictures: int, priors: int, author: str, faceless: int
) -> None:
    """Each author's own ranking, and more negatives asked for than there are."""
    arrays, targets = _made(seed, pictures, priors, author == "retinaface")
    one = ULTRAFACE if author == "ultraface" else RETINAFACE
    loss = MultiBox(one.negatives, faceless, one.boxes, one.landmarks)
    expected = slow_losses(
        arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else None, targets,
        ratio=loss.negatives, author=author, faceless=faceless, weights=(loss.boxes, 1.0, loss.landmarks),
    )  # fmt: skip
    found, gradients = _ran(arrays, targets, loss, REPAIRED)
    assert found.total.dtype == torch.float64
    assert _distance(_numbers(found, 3), expected.losses) <= 1e-12
    assert found.total.item() == pytest.approx(expected.total, rel=1e-12)
    for gradient, slow in zip(gradients, expected.gradients, strict=True):
        assert _distance(gradient, slow) <= 1e-12


def test_gradients_by_finite_differences() -> None:
    arrays, targets = _made(5, 2, 5, True)
    assert any(target.known.any() for target in targets)
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    assert torch.autograd.gradcheck(lambda *three: losses_of(*three, targets, RETINAFACE).total, tensors)


def test_of_equal_negatives_the_first_priors_are_taken() -> None:
    arrays, _ = _made(1, 1, 20, False)
    arrays[1][:] = 0.5
    target = Targets(1, np.array([3]), np.zeros((1, 4), np.float32), np.zeros((1, 0), np.float32), np.zeros(1, bool))
    _, gradients = _ran(arrays, [target], ULTRAFACE, REPAIRED)
    assert np.flatnonzero(gradients[1][0].any(axis=1)).tolist() == [0, 1, 2, 3]


def test_under_autocast_the_losses_are_float32() -> None:
    arrays, targets = _made(3, 2, 30, True)
    three = [torch.from_numpy(array).bfloat16() for array in arrays]
    with torch.autocast("cpu", torch.bfloat16):
        found = losses_of(*three, targets, RETINAFACE)
    expected = losses_of(*(one.float() for one in three), targets, RETINAFACE)
    assert found.total.dtype == torch.float32
    assert found.total == expected.total


# Several ranks


def _share(processes: Any, seed: int, pictures: int, author: str) -> list[np.ndarray]:
    """One rank's part of the batch: losses, positives, gradients. The first rank may have a picture more."""
    arrays, targets = _made(seed, pictures, 25, author == "retinaface")
    places = np.array_split(np.arange(pictures), processes.world)[processes.rank]
    own = [array[places] for array in arrays]
    loss = ULTRAFACE if author == "ultraface" else RETINAFACE
    found, gradients = _ran(own, [targets[place] for place in places], loss, REPAIRED, processes)
    return [np.array([*_numbers(found, 3), found.total.item(), found.positives]), *gradients]


def _assert_as_one(parts: list[list[np.ndarray]], seed: int, pictures: int, author: str) -> None:
    one = _share(ALONE, seed, pictures, author)
    for part in parts:
        assert _distance(part[0], one[0]) <= 1e-12
        assert np.array_equal(part[0], parts[0][0])
    for index in range(1, len(one)):  # each is `world` times the true one: DistributedDataParallel takes the mean
        joined = np.concatenate([part[index] for part in parts]) / len(parts)
        assert _distance(joined, one[index]) <= 1e-12


@pytest.mark.parametrize("author", FAMILIES)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_have_the_loss_and_the_gradients_of_one(world: int, author: str) -> None:
    for seed in range(5):
        parts = by_threads(world, lambda processes, seed=seed: _share(processes, seed, 5, author))
        _assert_as_one(parts, seed, 5, author)


@pytest.mark.process
def test_two_processes_have_the_loss_and_the_gradients_of_one(executor: Executor) -> None:
    _assert_as_one(by_processes(executor, 2, _share, 7, 4, "retinaface"), 7, 4, "retinaface")


# What is refused


def test_other_shapes_than_the_targets_are_refused() -> None:
    arrays, targets = _made(2, 2, 12, True)
    boxes, logits, landmarks = (torch.from_numpy(array) for array in arrays)
    with pytest.raises(DataError, match=r"logits of the network are \[2, 11, 2\], expected \[2, 12, 2\]"):
        losses_of(boxes, logits[:, :11], landmarks, targets, RETINAFACE)
    with pytest.raises(DataError, match=r"boxes of the network are \[2, 12, 4\], expected \[1, 12, 4\]"):
        losses_of(boxes, logits, landmarks, targets[:1], RETINAFACE)
    with pytest.raises(DataError, match="a batch of 0 pictures"):
        losses_of(boxes[:0], logits[:0], landmarks[:0, :, :0], [], RETINAFACE)
    with pytest.raises(DataError, match="landmarks weigh 1 and the network has none"):
        losses_of(boxes, logits, None, targets, RETINAFACE)
    last = max(int(target.priors[-1]) for target in targets if len(target.priors))
    with pytest.raises(DataError, match=f"a target is for prior {last}, expected one of the network's {last}"):
        losses_of(boxes[:, :last], logits[:, :last], landmarks[:, :last], targets, RETINAFACE)
