# SPDX-License-Identifier: Apache-2.0
"""facepipe verify one.jpg other.jpg

Are two photographs of the same person? Prints the squared Euclidean distance of the two embeddings (0 to 4; smaller is
more alike), and a verdict only where the catalogue holds a threshold for the embedder, with its source.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from facepipe.catalogue import embedder
from facepipe.cli.run_options import add_model_arguments, chosen_backend, chosen_embedder, detector_settings
from facepipe.datasets.images import read
from facepipe.detect import open_detector
from facepipe.embed import open_embedder
from facepipe.errors import DataError
from facepipe.faces.select import choose
from facepipe.geometry.align import align, alignment_for
from facepipe.metrics.verification import squared_distances
from facepipe.results import NoFace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    spec = embedder(chosen_embedder(args))
    backend = chosen_backend(args, spec.name)
    assert spec.alignment is not None, spec.name
    settings = replace(detector_settings(args), kernels="numpy")  # two photographs do not repay loading a compiler
    crops = []
    with open_detector(args.detector, backend, args.weights, args.batch, settings) as detector:
        if alignment_for(spec.alignment, detector.landmark_count) != spec.alignment:
            print(f"note: {detector.name} gives no landmarks; {spec.name} gets a margin crop.", file=sys.stderr)
        for path in (args.first, args.second):
            image = read(path)
            face = choose(detector.detect([image])[0], image.shape[0], image.shape[1], args.select)
            if isinstance(face, NoFace):
                raise DataError(f"{path}: {face.reason}, expected a face.", "--min-face with fewer pixels.")
            crops.append(align(image, face, alignment_for(spec.alignment, detector.landmark_count)))
    with open_embedder(spec, backend, args.weights, args.batch) as recogniser:
        embeddings = recogniser.embed(np.stack(crops))
    distance = float(squared_distances(embeddings[:1], embeddings[1:])[0])
    verdict = None if spec.threshold is None else distance < spec.threshold.value
    if args.json:
        threshold = None if spec.threshold is None else spec.threshold.value
        print(json.dumps({"embedder": spec.name, "distance": distance, "threshold": threshold, "same": verdict}))
        return 0
    print(f"distance {distance:.4f} ({spec.name}, squared Euclidean, 0 to 4)")
    if spec.threshold is None or verdict is None:
        print("no verdict: the catalogue holds no threshold for this embedder.")
    else:
        words = "the same person" if verdict else "different people"
        print(f"{words} (threshold {spec.threshold.value}: {spec.threshold.source})")
    if not spec.for_accuracy:
        print("these weights are seeded: the distance says nothing about people.")
    return 0
