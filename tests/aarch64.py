# SPDX-License-Identifier: Apache-2.0
"""The same photographs on two processors: `scripts/aarch64.sh` runs this here and under qemu-user, then compares.

look PHOTOGRAPHS WEIGHTS OUT    boxes, landmarks and embeddings; and the networks' own compiler against onnxruntime
compare OURS THEIRS             ends with status 1 where a difference is above its bound
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

BOX_PX, COSINE, COMPILED = 1e-3, 1 - 1e-6, 1e-5
SHAPES = {"pnet": (2, 3, 41, 57), "rnet": (5, 3, 24, 24), "onet": (3, 3, 48, 48)}
EMBEDDERS = ("mobilefacenet.ms1m", "facenet.vggface2", "facenet.seeded")


def look(photographs: Path, weights: Path, out: Path) -> None:
    """What the processor at hand finds, into an .npz."""
    from facepipe import EmbeddedFace, load
    from facepipe.backends import backend_by_name
    from facepipe.backends.base import model_file, open_session
    from facepipe.catalogue import model

    name = next(name for name in EMBEDDERS if model(name).final(weights).is_file())
    found: dict[str, np.ndarray] = {"machine": np.array(platform.machine()), "embedder": np.array(name)}
    with load("mtcnn", name, weights=weights, backend="native+onnxruntime") as faces:
        for path in sorted(photographs.rglob("*.jpg")):
            answer = faces.embed(path)
            if isinstance(answer, EmbeddedFace):
                found[f"box {path.name}"] = np.asarray(answer.face.box)
                found[f"landmarks {path.name}"] = np.asarray(answer.face.landmarks)
                found[f"embedding {path.name}"] = np.asarray(answer.embedding)
    for network, shape in SHAPES.items():
        image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        answers = []
        for engine in ("native", "onnxruntime"):
            backend, spec = backend_by_name(engine), model(network)
            with open_session(backend, spec, model_file(backend, spec, weights, shape[0])) as session:
                answers.append(session.run(image))
        largest = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(*answers, strict=True))
        found[f"compiled {network}"] = np.array(largest)
    np.savez(out, **found)


def compare(ours: Path, theirs: Path) -> int:
    """The largest difference of each kind; 1 where one is above its bound."""
    with np.load(ours) as a, np.load(theirs) as b:
        here, there = {name: a[name] for name in a.files}, {name: b[name] for name in b.files}
    if set(here) != set(there):
        print(f"other faces: {sorted(set(here) ^ set(there))[:4]}")
        return 1
    shift = {
        kind: max(float(np.abs(here[key] - there[key]).max()) for key in here if key.startswith(kind))
        for kind in ("box", "landmarks")
    }
    cosines = [
        float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
        for one, other in (
            (here[key].astype(float), there[key].astype(float)) for key in here if key.startswith("embedding ")
        )
    ]
    compiled = {key.split()[1]: float(there[key]) for key in there if key.startswith("compiled")}
    print(f"{here['machine']} and {there['machine']}, {len(cosines)} faces by {there['embedder']}")
    print(f"boxes {shift['box']:.2g} px, landmarks {shift['landmarks']:.2g} px, bound {BOX_PX}")
    print(f"embeddings: least cosine 1 - {1 - min(cosines):.2g}, bound 1 - {1 - COSINE:.0e}")
    print(f"compiled against onnxruntime there, of the largest number: {compiled}, bound {COMPILED}")
    passed = max(shift.values()) <= BOX_PX and min(cosines) >= COSINE and max(compiled.values()) <= COMPILED
    return int(not passed or here["machine"] == there["machine"])


if __name__ == "__main__":
    if sys.argv[1] == "look":
        look(*map(Path, sys.argv[2:5]))
    else:
        sys.exit(compare(*map(Path, sys.argv[2:4])))
