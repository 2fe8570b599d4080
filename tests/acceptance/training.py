# SPDX-License-Identifier: Apache-2.0
"""Training: what it promises, in full. The real one takes hours: it goes on where an earlier call left it.

FACEPIPE_TRAINING_SET names aligned faces of people who are not in LFW (docs/training.md says how ours were made),
FACEPIPE_HELD_OUT those of people who are in neither.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from checks import BIN, OUT, Check, Measured, NotRun, anew, assets, call, facepipe, read

PEOPLE, FACES, KILLS = 10, 10, 20
REAL = "train-real"


def set_of(name: str) -> Path:
    """The set that an environment variable names.

    Raises:
        NotRun: it names none.
    """
    if not os.environ.get(name):
        raise NotRun(f"{name} is unset; this needs a set of aligned faces")
    return Path(os.environ[name])


def ten_people() -> Path:
    """Ten people of LFW with ten aligned faces each, as links' targets: a folder of people."""
    root = OUT / "ten-people"
    source = assets() / "lfw_aligned112" / "images"
    chosen = [person for person in sorted(source.iterdir()) if len(list(person.iterdir())) >= FACES][:PEOPLE]
    for person in chosen:
        (root / person.name).mkdir(parents=True, exist_ok=True)
        for face in sorted(person.iterdir())[:FACES]:
            (root / person.name / face.name).write_bytes(face.read_bytes())
    return root


def train(out: Path, data: Path, *given: str, recipe: str = "mobilefacenet_small", **options: object) -> float:
    """Run `facepipe train` to its end; how long it took, in seconds."""
    values = [word for value in given for word in ("--set", value)]
    more = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    began = time.monotonic()
    facepipe("train", recipe, "--data", data, "--out", out, *values, *more, log=out.name)
    return time.monotonic() - began


def lines(out: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of a kind in a run's metrics.jsonl."""
    told = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, told) if line["kind"] == kind]


def embeddings(weights: Path | None, faces: Any) -> np.ndarray:
    """Of every face, float32 [N, 128], by MobileFaceNet_128 with these weights; None: as the seed draws them."""
    import torch

    from facepipe.train.learner import first_weights
    from facepipe.train.recipe import Recipe
    from facepipe.train.step import network_input

    spec = Recipe().model_spec()
    network = first_weights(spec, 1)
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(faces), 64):
            batch = np.stack([faces.picture(index) for index in range(start, min(start + 64, len(faces)))])
            found.append(network(network_input(torch.from_numpy(batch), spec, torch.device("cpu"))).numpy())
    return np.concatenate(found)


def kills() -> Measured:
    """Twenty runs of the real network, each killed at a random moment and finished: the same losses and weights."""
    data, given = ten_people(), ("batch=10", "epochs=3", "log_every=1", "save_every=4", "rate=0.02")
    quiet = {"loaders": 0, "threads": 1}
    reference = anew("train-kills-reference")
    took = train(reference, data, *given, **quiet)
    wanted = [line["loss"] for line in lines(reference, "step")]
    random_moment = random.Random(20261127)
    right, resumed = 0, 0
    for number in range(KILLS):
        out = anew(f"train-killed-{number}")
        values = [word for value in given for word in ("--set", value)]
        command = [str(BIN / "facepipe"), "train", "mobilefacenet_small", "--data", str(data), "--out", str(out)]
        process = subprocess.Popen(
            [*command, *values, "--loaders", str(number % 3), "--threads", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(random_moment.uniform(0.2, 1) * took)
        alive = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if alive else None
        process.wait()
        train(out, data, *given, **quiet)
        resumed += bool(lines(out, "resumed"))
        same = [line["loss"] for line in lines(out, "step")] == wanted
        right += same and (out / "weights.pt").read_bytes() == (reference / "weights.pt").read_bytes()
    return Measured(right, right == KILLS, f"{resumed} of them went on from a checkpoint; 0, 1 and 2 loaders")


def overfit() -> Measured:
    """Ten people of ten faces are learned within three minutes on two threads."""
    from facepipe.train.data import open_set

    data, out = ten_people(), anew("train-overfit")
    took = train(out, data, "batch=20", "epochs=24", "flip=0", "shift=0", "colour=0", "grey=0", "blur=0", "resize=0",
                 "rate=0.05", "margin_warm_up=4", loaders=1, threads=2)  # fmt: skip
    faces = open_set(data)
    found = embeddings(out / "weights.pt", faces)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    centres = np.stack([found[faces.labels == label].mean(axis=0) for label in range(len(faces.classes))])
    accuracy = float((np.argmax(found @ centres.T, axis=1) == faces.labels).mean())
    return Measured({"accuracy": accuracy, "seconds": round(took)}, accuracy == 1.0 and took <= 180)


def lfw_of(weights: Path | None) -> float:
    """Accuracy on LFW's 6,000 pairs of aligned faces, flipped and added."""
    import torch

    from facepipe.train.learner import first_weights
    from facepipe.train.recipe import Recipe
    from facepipe.train.verify import verify

    spec = Recipe().model_spec()
    network = first_weights(spec, 1)
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return verify(network, [lfw_pairs()], spec)[0].accuracy


def lfw_pairs() -> Any:
    """LFW's pairs over its aligned faces."""
    from facepipe.datasets.face_sets import open_face_set

    return open_face_set(assets() / "lfw_aligned112" / "images", assets() / "lfw" / "pairs.txt")


def raw_pixels() -> float:
    """The same pairs by the cosine of the pixels themselves, at 28x28, each face less its mean."""
    from facepipe.metrics.verification import ten_fold_accuracy

    pairs = lfw_pairs()
    cache: dict[str, np.ndarray] = {}

    def vector(key: str) -> np.ndarray:
        if key not in cache:
            small = pairs.load(key, 112).astype(np.float64).reshape(28, 4, 28, 4, 3).mean(axis=(1, 3)).ravel()
            small -= small.mean()
            cache[key] = small / np.linalg.norm(small)
        return cache[key]

    listed = pairs.pairs.pairs
    distances = np.array([((vector(pair.first) - vector(pair.second)) ** 2).sum() for pair in listed], np.float32)
    same, folds = np.array([pair.same for pair in listed]), np.array([pair.fold for pair in listed])
    return float(ten_fold_accuracy(distances, same, folds).mean)


def real() -> Measured:
    """MobileFaceNet_128 from nothing on people who are not in LFW, by the recipe mobilefacenet_small; goes on."""
    data, out = set_of("FACEPIPE_TRAINING_SET"), OUT / REAL
    train(out, data, loaders=1)
    last = lines(out, "step")[-1]
    found = {
        "lfw": lfw_of(out / "weights.pt"),
        "untrained": lfw_of(None),
        "raw_pixels": raw_pixels(),
        "steps": last["step"],
        "loss": round(last["loss"], 4),
    }
    return Measured(found, found["lfw"] >= 0.80, f"{lines(out, 'begun')[0]['steps']} steps; page {out / 'page.html'}")


def hand_over() -> Measured:
    """Weights of a training as a model: parity after every step, eight bits, a dry `om`, a gallery that names."""
    weights = next(
        (path for path in (OUT / REAL / "weights.pt", OUT / "train-overfit" / "weights.pt") if path.is_file()), None
    )
    if weights is None:
        raise NotRun("nothing is trained: make accept ONLY='train_overfit train_hand_over'")
    home = anew("train-home")
    environment = {**os.environ, "FACEPIPE_HOME": str(home)}

    def run(*words: object, log: str) -> str:
        return facepipe(*words, log=log, environment=environment)

    call([str(BIN / "facepipe"), "fetch", "mtcnn"], log="train-fetch", environment=environment)
    run("onnx", "mtcnn", log="train-onnx")
    told = run("import", weights, "--like", "mobilefacenet.paddle", "--name", "learned", log="train-import")
    differences = [float(line.partition(": ")[2].split()[0]) for line in told.splitlines() if "from PyTorch" in line]
    run("quantise", "learned", "--photographs", assets() / "lfw" / "images", log="train-quantise")
    om = run("om", "learned", "--soc", "Ascend310P3", "--dry-run", log="train-om")
    people = home / "people"
    chosen = sorted(ten_people().iterdir())[:3]
    for person in chosen:
        (people / person.name).mkdir(parents=True)
        for photograph in sorted((assets() / "lfw" / "images" / person.name).iterdir())[:5]:
            (people / person.name / photograph.name).write_bytes(photograph.read_bytes())
    gallery = home / "people.gallery"
    run("gallery", "build", people, "--out", gallery, "--embedder", "learned", "--threshold", 0.3, log="train-gallery")
    named = []
    for person in chosen:
        probe = sorted((assets() / "lfw" / "images" / person.name).iterdir())[6]
        run("recognise", "--index", gallery, "--input", probe, "--output", home / "named", log="train-recognise")
        labels = [face["label"] for face in read(home / "named" / f"{probe.name}.json")["faces"]]
        named.append(person.name in labels)
    value = {"parity": max(differences), "steps": len(differences), "named": sum(named), "of": len(named)}
    right = len(differences) >= 3 and max(differences) <= 1e-5 and "atc" in om and all(named)
    return Measured(value, right, f"{weights.parent.name}/{weights.name}")


def loader() -> Measured:
    """Share of the time that a training waits for packed faces, and its speed."""
    data, out = ten_people(), anew("train-loader")
    packed = OUT / "ten-people.faces"
    packed.unlink(missing_ok=True)
    facepipe("train-data", "pack", data, "--out", packed, log="train-pack")
    train(out, packed, "batch=20", "epochs=6", "log_every=5", loaders=1)
    told = lines(out, "step")[1:]
    waiting = float(np.mean([line["waiting"] for line in told]))
    speed = float(np.median([line["samples_per_second"] for line in told]))
    return Measured({"waiting": round(waiting, 4), "samples_per_second": round(speed, 1)}, waiting < 0.1)


def fine_tune() -> Measured:
    """New people for mobilefacenet.ms1m: LFW stays, and their held-out faces are told apart better than before."""
    data, out = set_of("FACEPIPE_HELD_OUT"), anew("train-fine-tune")
    learn, probe = split(data)
    weights = assets() / "weights" / "mobilefacenet" / "mobilefacenet.pt"
    train(out, learn, recipe="fine_tune", init=weights, loaders=1)
    before, after = (told_apart(path, probe) for path in (weights, out / "weights.pt"))
    lfw_before, lfw_after = (lfw_of_published(path) for path in (weights, out / "weights.pt"))
    value = {
        "lfw_before": lfw_before,
        "lfw_after": lfw_after,
        "error_before": 1 - before,
        "error_after": 1 - after,
    }
    return Measured(value, lfw_after >= lfw_before - 0.001 and after > before, "1 - area under the ROC of all pairs")


def split(data: Path) -> tuple[Path, Path]:
    """Of each person's faces every other one is learned, and the others are judged on."""
    roots = (OUT / "held-out-learned", OUT / "held-out-judged")
    for person in sorted(path for path in data.iterdir() if path.is_dir()):
        for number, face in enumerate(sorted(person.iterdir())):
            place = roots[number % 2] / person.name / face.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(face.read_bytes())
    return roots


def published(weights: Path) -> Any:
    """mobilefacenet.ms1m's network with these weights, and its record."""
    from facepipe.catalogue import model
    from facepipe.convert.onnx.checkpoint import load

    spec = model("mobilefacenet.ms1m")
    return load(spec, weights, any_digest=True).network, spec


def told_apart(weights: Path, data: Path) -> float:
    """Area under the ROC over all pairs of a set's faces, by the cosine."""
    import torch
    from sklearn.metrics import roc_auc_score

    from facepipe.train.data import open_set
    from facepipe.train.step import network_input

    faces = open_set(data)
    network, spec = published(weights)
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack([faces.picture(index) for index in range(len(faces))]))
        found = torch.cat([network(network_input(part, spec, torch.device("cpu"))) for part in batch.split(64)]).numpy()
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    first, second = np.triu_indices(len(found), 1)
    return float(roc_auc_score(faces.labels[first] == faces.labels[second], (found[first] * found[second]).sum(axis=1)))


def lfw_of_published(weights: Path) -> float:
    """LFW of mobilefacenet.ms1m's network with these weights."""
    from facepipe.train.verify import verify

    network, spec = published(weights)
    return verify(network, [lfw_pairs()], spec)[0].accuracy


CHECKS = (
    Check("train_kills", "a killed training goes on bit for bit", f"{KILLS} of {KILLS}", kills),
    Check("train_overfit", "ten people of ten faces are learned", "accuracy 1.0 in 180 s", overfit),
    Check("train_loader", "a training does not wait for packed faces", "less than a tenth", loader),
    Check("train_real", "from nothing on people who are not in LFW", "LFW at least .80", real),
    Check("train_fine_tune", "new people for a published network", "LFW -.001 at most, new people better", fine_tune),
    Check("train_hand_over", "what was trained is a model", "parity 1e-5, int8, om, three named", hand_over),
)
