# SPDX-License-Identifier: Apache-2.0
"""The catalogue's thresholds, measured again: `make accept ONLY=thresholds FACEPIPE_CFP=cfp-dataset`.

All pairs of different people among CFP's photographs of those whom LFW's View 2 does not name: 345 of its 500 people.
(LFW's own photographs of others than View 2's are in no mirror.) The run is everyday's, `facepipe embed`; the
arithmetic is `metrics.far_thresholds`. What to put into the catalogue stands in runs/accept.json, for each recogniser
and detector.
"""

from __future__ import annotations

import functools
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from checks import Check, Measured, NotRun, anew, assets, facepipe

from facepipe.catalogue import embedder
from facepipe.datasets.lfw import read_pairs
from facepipe.metrics.far_thresholds import far_thresholds, is_measured, stranger_pairs
from facepipe.metrics.identification import cosines
from facepipe.store.run_faces import EMBEDDINGS_FILE, FACES_FILE, read_embeddings, read_faces

# The beginning of a check's name: whose thresholds it measures.
EMBEDDERS = {"thresholds": "mobilefacenet.ms1m", "thresholds_dlib": "dlib.resnet"}
DETECTORS = ("retinaface.mobilenet0.25", "mtcnn")
RATES = (1e-2, 1e-3, 1e-4, 1e-5)


def cfp() -> Path:
    """CFP's root.

    Raises:
        NotRun: FACEPIPE_CFP names none.
    """
    named = os.environ.get("FACEPIPE_CFP")
    if not named or not (Path(named) / "Data" / "list_name.txt").is_file():
        raise NotRun("FACEPIPE_CFP names no folder with CFP's Data/list_name.txt")
    return Path(named).resolve()


def letters(name: str) -> str:
    """A name without case, accents, blanks and marks: the two sets write some differently."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", name).lower() if letter.isalnum())


def outside_view_2(root: Path) -> set[str]:
    """The numbers of CFP's people, as its folders call them, whose names are in no pair of LFW's View 2."""
    keys = read_pairs(assets() / "lfw" / "pairs.txt").keys()
    tested = {letters(key.partition("/")[0]) for key in keys}
    names = (root / "Data" / "list_name.txt").read_text(encoding="utf-8").split("\n")
    return {f"{number:03d}" for number, name in enumerate(names, 1) if name.strip() and letters(name) not in tested}


def embedded(recogniser: str, detector: str) -> Path:
    """A run of everyday's command over CFP's photographs."""
    run = anew(f"thresholds-{recogniser}-{detector}")
    words = ("--detector", detector, "--embedder", recogniser, "--out", run)
    facepipe("embed", cfp() / "Data" / "Images", *words, log=run.name)
    return run


def rows_of(run: Path, people: set[str]) -> tuple[np.ndarray, list[str]]:
    """The embeddings of these people's photographs, and whose each is; the folder above the last but one tells."""
    lines = [line for line in read_faces(run / FACES_FILE) if line.row is not None]
    every = read_embeddings(run / EMBEDDINGS_FILE, len(lines))
    person = [line.key.split("/")[-3] for line in lines]
    chosen = [place for place, name in enumerate(person) if name in people]
    return every[chosen], [person[place] for place in chosen]


@functools.cache
def measured(recogniser: str, detector: str) -> dict[str, Any]:
    """What the photographs say of each rate, and how often the catalogue's threshold is passed on them."""
    rows, people = rows_of(embedded(recogniser, detector), outside_view_2(cfp()))
    strangers = stranger_pairs(rows, people)
    names = np.asarray(people)
    one, other = np.nonzero(np.triu(names[:, None] == names[None, :], 1))
    same = cosines(rows[one], rows[other])
    known = embedder(recogniser).thresholds
    return {
        "photographs": len(rows),
        "people": strangers.people,
        "pairs": len(strangers.similarities),
        "rates": [
            {
                "far": rate.far,
                "similarity": rate.similarity,
                "low": rate.low,
                "high": rate.high,
                "measured": is_measured(rate),
                "tar": float((same > np.float32(rate.similarity)).mean()),
            }
            for rate in far_thresholds(strangers, RATES)
        ],
        "far_at_the_catalogues": {
            str(rate.far): float((strangers.similarities > np.float32(rate.similarity)).mean())
            for rate in (known.rates if known else ())
        },
    }


def holds(recogniser: str, detector: str) -> Measured:
    """Whether each threshold of the catalogue stands for its rate, within the rate's interval, behind this detector."""
    found, known = measured(recogniser, detector), embedder(recogniser).thresholds
    seen = found["far_at_the_catalogues"]
    right = known is not None and all(rate.low <= seen[str(rate.far)] <= rate.high for rate in known.rates)
    told = "; ".join(f"{one['far']:g}: {one['similarity']:.4f}" for one in found["rates"] if one["measured"])
    return Measured(found, right, f"{found['pairs']:,} pairs of {found['people']} people; cosine at FAR {told}")


def same_source(recogniser: str) -> Measured:
    """The catalogue's numbers are what the first detector gives, to the last bit."""
    found, known = measured(recogniser, DETECTORS[0]), embedder(recogniser).thresholds
    told = [(one["far"], one["similarity"]) for one in found["rates"] if one["measured"]]
    kept = [(rate.far, rate.similarity) for rate in known.rates] if known else []
    gaps = [abs(a[1] - b[1]) for a, b in zip(told, kept, strict=False)]
    # Another processor rounds otherwise: a box moves in its last digits, and a cosine in the fourth.
    return Measured(told, len(told) == len(kept) and max(gaps, default=1) < 1e-3, f"in the catalogue: {kept}")


CHECKS = (
    *(
        Check(
            check,
            f"the catalogue's thresholds of {name} are those that CFP gives",
            "within 0.001",
            functools.partial(same_source, name),
        )
        for check, name in EMBEDDERS.items()
    ),
    *(
        Check(
            f"{check}_{detector.partition('.')[0]}",
            f"FAR at the thresholds of {name} behind {detector}",
            "in their intervals",
            functools.partial(holds, name, detector),
        )
        for check, name in EMBEDDERS.items()
        for detector in DETECTORS
    ),
)
