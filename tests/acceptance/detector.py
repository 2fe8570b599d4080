# SPDX-License-Identifier: Apache-2.0
"""The cascade beside facenet-pytorch: the golden answers, and all 7,701 photographs against the library itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from checks import OUT, REPOSITORY, Check, Measured, NotRun, assets, call, facepipe, golden, read
from explain import explanation

PEER = REPOSITORY / ".venv-peer" / "bin" / "python"


def detected(paths: list[Path], log: str) -> dict[str, list[dict[str, Any]]]:
    """facepipe's faces of each photograph, by path; at the photograph's edges as the peer has it."""
    lines = facepipe("detect", "--json", "--borders", "stretch", *paths, log=log).splitlines()
    return {line["photograph"]: line["faces"] for line in map(json.loads, lines)}


def compare(ours: list[dict[str, Any]], theirs: dict[str, Any]) -> dict[str, Any]:
    """Count, and the greatest differences of boxes, landmarks and scores after each face was given its nearest."""
    count = (len(ours), len(theirs["boxes"]))
    if 0 in count or count[0] != count[1]:
        return {"counts": count, "same_count": count[0] == count[1], "close": count == (0, 0)}
    boxes = np.array([face["box"] for face in ours])
    other = np.array(theirs["boxes"])
    nearest = np.abs(boxes[:, None] - other[None]).max(axis=2).argmin(axis=1)
    box = float(np.abs(boxes - other[nearest]).max())
    points = np.array([face["landmarks"] for face in ours])
    landmark = float(np.abs(points - np.array(theirs["landmarks"])[nearest]).max())
    score = float(np.abs(np.array([face["score"] for face in ours]) - np.array(theirs["scores"])[nearest]).max())
    close = len(set(nearest.tolist())) == len(ours) and box <= 0.1 and landmark <= 0.2 and score <= 1e-3
    return {"counts": count, "same_count": True, "close": close, "box": box, "landmark": landmark, "score": score}


def agreement(root: Path, theirs: dict[str, Any], log: str) -> dict[str, Any]:
    """Over many photographs: how many agree, and every exception with the scores of the faces that one side lacks."""
    paths = [root / key for key in theirs]
    ours = detected(paths, log)
    same, close, exceptions = 0, 0, {}
    for key, path in zip(theirs, paths, strict=True):
        result = compare(ours[str(path)], theirs[key])
        same += result["same_count"]
        close += result["close"]
        if not result["close"]:
            odd = odd_scores(ours[str(path)], theirs[key])
            why = explanation(path, lambda faces, answer=theirs[key]: compare(faces, answer)["close"])
            exceptions[key] = {**result, "odd_scores": odd, "explained_by": why}
    unexplained = [key for key, exception in exceptions.items() if exception["explained_by"] is None]
    return {
        "photographs": len(paths),
        "same_count": same,
        "close": close,
        "unexplained": unexplained,
        "exceptions": exceptions,
    }


def odd_scores(ours: list[dict[str, Any]], theirs: dict[str, Any]) -> list[float]:
    """Scores of the faces for which the other side has none within a pixel."""
    mine = [(face["box"], face["score"]) for face in ours]
    its = list(zip(theirs["boxes"], theirs["scores"], strict=True))
    found = []
    for these, those in ((mine, its), (its, mine)):
        for box, score in these:
            gaps = [max(abs(a - b) for a, b in zip(box, other, strict=True)) for other, _ in those]
            if not gaps or min(gaps) > 1:
                found.append(round(float(score), 6))
    return found


def golden_lfw() -> Measured:
    theirs = read(golden() / "mtcnn_lfw.json")
    found = agreement(assets() / "lfw" / "images", theirs, "golden-lfw")
    right = found["photographs"] == 407 and found["same_count"] >= 405 and found["close"] >= 404
    right = right and not found["unexplained"]
    return Measured(found, right, f"{found['same_count']} same count, {found['close']} close, of 407")


def peers(paths: list[Path], name: str, batch: int) -> dict[str, Any]:
    """facenet-pytorch's faces of each photograph, on this processor; kept in runs/accept, LFW takes some minutes."""
    if not PEER.is_file():
        raise NotRun(f"{PEER} is not there; `make bench` installs it")
    kept = OUT / f"{name}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        question = OUT / f"{name}-question.json"
        asked = {"photographs": list(map(str, paths)), "batch": batch, "threads": 2, "answers": True}
        question.write_text(json.dumps(asked))
        command = f"{PEER} benchmarks/peer_facenet_pytorch.py < {question} > {kept}.part && mv {kept}.part {kept}"
        call(["bash", "-c", command], log=name)
    answers: dict[str, Any] = read(kept)["answers"]
    return answers


def whole_lfw() -> Measured:
    """facenet-pytorch on every photograph."""
    root = assets() / "lfw" / "images"
    keys = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    answers = peers([root / key for key in keys], "peer-lfw", batch=32)
    found = agreement(root, {key: answers[str(root / key)] for key in keys}, "whole-lfw")
    total = found["photographs"]
    # The same shares as of the 407.
    right = total == 7701 and found["same_count"] >= total * 405 / 407 and found["close"] >= total * 404 / 407
    right = right and not found["unexplained"]
    note = f"{len(found['exceptions'])} exceptions, {len(found['unexplained'])} of them unexplained"
    return Measured(found, right, f"{found['same_count']} same count, {found['close']} close, of {total}; {note}")


def golden_photos() -> Measured:
    """Where scores are equal, NumPy's sort settles which box stays, and its order is the processor's: on one that is
    not the golden file's, facenet-pytorch itself gives other boxes, and `peer_photos` tells what is right there."""
    return scenes(read(golden() / "mtcnn_photos.json"))


def peer_photos() -> Measured:
    root = assets() / "photos"
    keys = list(read(golden() / "mtcnn_photos.json"))
    answers = peers([root / key for key in keys], "peer-photos", batch=1)
    return scenes({key: answers[str(root / key)] for key in keys})


def scenes(theirs: dict[str, Any]) -> Measured:
    """Every face of the scenes beside the other side's."""
    root = assets() / "photos"
    ours = detected([root / key for key in theirs], "scenes")
    matched = extra = total = 0
    for key, answer in theirs.items():
        boxes = np.array([face["box"] for face in ours[str(root / key)]]).reshape(-1, 4)
        other = np.array(answer["boxes"]).reshape(-1, 4)
        pairs = overlaps(other, boxes) >= 0.99
        matched += int(pairs.any(axis=1).sum())
        extra += int((~pairs.any(axis=0)).sum())
        total += len(other)
    value = {"faces": total, "matched": matched, "extra": extra}
    return Measured(value, matched >= 0.995 * total and extra <= 0.005 * total, f"{matched / total:.4f} matched")


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `first` [N, 4] with every one of `second` [M, 4]: [N, M]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


CHECKS = (
    Check(
        "golden_lfw",
        "407 photographs: same faces as facenet-pytorch's golden answers",
        "same number in at least 405; boxes .1 px, landmarks .2 px, scores 1e-3 in at least 404",
        golden_lfw,
    ),
    Check("whole_lfw", "the same over all 7,701 photographs", "the same shares", whole_lfw),
    Check(
        "golden_photos",
        "scenes with up to 312 faces",
        "at least 99.5 % of the faces matched at IoU .99, at most .5 % extra",
        golden_photos,
    ),
    Check(
        "peer_photos",
        "the same scenes, against facenet-pytorch on this processor",
        "at least 99.5 % of the faces matched at IoU .99, at most .5 % extra",
        peer_photos,
    ),
)
