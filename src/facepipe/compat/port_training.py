# SPDX-License-Identifier: Apache-2.0
"""What the Paddle port's train.py, valid.py and export_inference_model.py do, with its names, files and lines.

Source: deepinsight/insightface at 5a413765~1, `recognition/arcface_paddle`: flags and defaults of the three programs,
and what stands in its config.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.catalogue import model
from facepipe.convert.onnx.models import torch_here
from facepipe.datasets.pickled_arrays import pickled_array
from facepipe.errors import DataError, StageError, WeightsError, did_you_mean
from facepipe.specs import ModelSpec
from facepipe.store import owned
from facepipe.store.files import write_bytes

if TYPE_CHECKING:
    from facepipe.train.loop import Trained, TrainJob
    from facepipe.train.processes import Processes

NETWORKS = {
    "MobileFaceNet_128": "mobilefacenet.paddle",
    **{f"iresnet{depth}": f"arcface.iresnet{depth}" for depth in (18, 34, 50, 100)},
}
"""What the port calls a network, and the catalogue's model of it."""

TARGETS = ("lfw", "cfp_fp", "agedb_30")
"""The sets that the port verifies on: `<name>.bin` in its data folder, those that are there."""

LOSSES = {
    "ArcFace": ("m1=1.0", "m2=0.5", "m3=0.0"),
    "CosFace": ("m1=1.0", "m2=0.0", "m3=0.4"),
}
"""The margins of the port's losses, as values of a recipe."""

RECIPE = "mobilefacenet_128"
"""The recipe that has the port's rates and marks; its flags change the rest."""

SUFFIX = ".pdparams"
EXPORTED = "inference.onnx"
_START_OVER = "--resume 0 to begin anew, or another --output."


@dataclass(frozen=True, slots=True)
class PortFlags:
    """The flags of the port's train.py, and of its config.py those that a user changes.

    Attributes:
        network, loss: by the port's names.
        lr: learning rate, for whatever batch.
        batch_size: faces of one step in each process.
        weight_decay: of the backbone and the centres.
        embedding_size: numbers of an embedding; the network's own.
        output: the run's folder; gets `<network>.pdparams` too.
        resume: go on from the run in `output`; else begin anew.
        data: folder with label.txt, or any other set, and the verification sets.
        epochs: how often every face is seen.
        save_centres: write `rank:R_softmax_weight.pkl` and `rank:R_softmax_weight_mom.pkl` too.
        values: of a recipe, each "name=value"; they go before all flags.
        loaders: processes that read faces for each training process.
    """

    network: str
    loss: str
    lr: float
    batch_size: int
    weight_decay: float
    embedding_size: int
    output: Path
    resume: bool
    data: Path
    epochs: int
    save_centres: bool = False
    values: tuple[str, ...] = ()
    loaders: int = 2


def network_of(name: str) -> ModelSpec:
    """The catalogue's record of a network of the port.

    Raises:
        DataError: the port has none of that name, or none whose weights are known here.
    """
    if name not in NETWORKS:
        raise DataError(
            f"--network: '{name}' is not known, expected one of {', '.join(NETWORKS)}.", did_you_mean(name, NETWORKS)
        )
    return model(NETWORKS[name])


def target_files(folder: Path) -> list[Path]:
    """The port's verification sets that are in its data folder."""
    return [path for name in TARGETS if (path := folder / f"{name}.bin").is_file()]


def job_of(flags: PortFlags, world: int) -> TrainJob:
    """What the flags ask for, on so many processes.

    A set smaller than a batch is gone through as often as fills it, and so is the last batch of an epoch, where the
    port leaves both out. The gradient of the margin is the formula's, as the port's automatic differentiation has it.

    Raises:
        DataError: there is no such network, loss or set, or a number is another than the network's.
    """
    from facepipe.train.data import open_set
    from facepipe.train.loop import TrainJob
    from facepipe.train.recipe import read_recipe, replace_values
    from facepipe.train.verify import open_verification

    spec, numbers = network_of(flags.network), network_of(flags.network).outputs[0].dims[1].low
    if flags.embedding_size != numbers:
        raise DataError(
            f"--embedding_size: is {flags.embedding_size}, expected the {numbers} of {flags.network}.",
            f"--embedding_size {numbers}",
        )
    if flags.loss not in LOSSES:
        raise DataError(
            f"--loss: '{flags.loss}' is not known, expected one of {', '.join(LOSSES)}.",
            did_you_mean(flags.loss, LOSSES),
        )
    faces = open_set(flags.data)
    batch = flags.batch_size * world
    told = [
        *(f'model="{spec.name}"', f"rate={flags.lr}", f"batch={batch}", f"weight_decay={flags.weight_decay}"),
        *(f"epochs={flags.epochs}", "wraps=true", 'margin_gradient="analytic"', "log_every=10"),
        f"save_every={-(-len(faces) // batch)}",
        *LOSSES[flags.loss],
    ]
    recipe = replace_values(read_recipe(RECIPE, told), flags.values)
    sets = tuple(open_verification(path, spec) for path in target_files(flags.data))
    return TrainJob(recipe, faces, flags.output, None, sets, flags.loaders, _START_OVER)


def trained(
    flags: PortFlags,
    job: TrainJob,
    processes: Processes,
    stop: Callable[[], bool],
    tell: Callable[[str], None],
    progress: Callable[[int], None],
) -> tuple[Trained, tuple[Path, ...]]:
    """Train as the flags ask; the port's files are written when it ends or is stopped, and are those of its last step.

    Returns:
        What `train.loop.train` returns, and the files that were written.

    Raises:
        StageError: --resume 1 and there is nothing to go on from; or as `train.loop.train`, which raises others too.
    """
    from facepipe.train import state
    from facepipe.train.loop import train

    if processes.is_first:
        owned.claim(flags.output, "--output with another folder.")
        if flags.resume and not state.checkpoints(flags.output):
            raise StageError(f"{flags.output}: has no checkpoint, expected one to go on from.", "--resume 0")
        if not flags.resume:
            _start_over(flags.output, flags.network)
    processes.wait()
    done = train(job, processes, stop=stop, tell=tell, progress=progress)
    return done, _port_files(flags, job, done, processes.world) if processes.is_first else ()


def _start_over(out: Path, network: str) -> None:
    """Remove the run that was in a folder of ours, and the port's files of it: they would lie beside another run's.
    What else lies there stays."""
    from facepipe.train.run_folder import remove_run

    remove_run(out)
    for path in (out / f"{network}{SUFFIX}", *sorted(out.glob("rank:*_softmax_weight*.pkl"))):
        if owned.is_own(path):
            owned.remove(path)


def _port_files(flags: PortFlags, job: TrainJob, done: Trained, world: int) -> tuple[Path, ...]:
    """`<network>.pdparams` of the last step and, where they are asked for, the centres of each process."""
    from facepipe.convert.onnx.checkpoint import load
    from facepipe.convert.onnx.paddle_weights import paddle_state
    from facepipe.train import state
    from facepipe.train.losses.partial_fc import shard_of

    spec, out = network_of(flags.network), flags.output
    files = {out / f"{flags.network}{SUFFIX}": paddle_state(load(spec, done.weights, any_digest=True).network)}
    if flags.save_centres:
        classes = len(job.faces.classes)
        for rank in range(world):
            shard = (*shard_of(classes, rank, world), flags.embedding_size)
            *_, rows = state.load(state.step_folder(out, done.step), *shard)
            for end, tensor in (("weight", rows.weight), ("weight_mom", rows.momentum)):
                files[out / f"rank:{rank}_softmax_{end}.pkl"] = pickled_array(tensor.numpy())
    for path, content in files.items():
        write_bytes(path, content)
    return tuple(files)


def validated(network: str, checkpoint: Path, data: Path, batch: int) -> Iterator[str]:
    """The lines of the port's valid.py: each set verified once, as step 1.

    Args:
        checkpoint: folder with `<network>.pdparams`.
        data: folder with lfw.bin, cfp_fp.bin, agedb_30.bin, or some of them.
        batch: faces in one call.

    Raises:
        DataError: there is no such network, or none of the sets; or a set cannot be read.
        WeightsError: the weights are not there, or not this network's.
    """
    spec, file, sets = network_of(network), checkpoint / f"{network}{SUFFIX}", target_files(data)
    if not file.is_file():
        raise WeightsError(f"{file}: no such file, expected weights of {network}.", "--checkpoint FOLDER")
    if not sets:
        raise DataError(f"{data}: has none of {', '.join(TARGETS)} (.bin), expected one.", "--data_dir FOLDER")
    with torch_here(spec):
        from facepipe.convert.onnx.checkpoint import load
        from facepipe.train.verify import log_lines, open_verification, verify
    loaded = load(spec, file, any_digest=True)
    for path in sets:
        (found,) = verify(loaded.network, [open_verification(path, spec)], spec, batch=batch)
        yield from log_lines(found, 1, found.accuracy)


def exported(network: str, weights: Path, out: Path, *, overwrite: bool = False) -> Path:
    """Write `out`/inference.onnx, the network with these weights, after the passes and simplified; its path.

    Args:
        weights: Paddle's or PyTorch's.

    Raises:
        DataError: there is no such network.
        WeightsError: the weights are not there, or not this network's.
        ConversionError: a step failed, or moved the outputs.
        StageError: another file is in its place.
    """
    spec, target = network_of(network), out / EXPORTED
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such file, expected weights of {network}.", "--pretrained_model FILE")
    owned.require_free([target], overwrite)
    with torch_here(spec):
        from facepipe.convert.onnx.own_network import onnx_from_weights
    made = onnx_from_weights(weights, spec, network)
    owned.keep_record(target)
    write_bytes(target, made.onnx, overwrite=overwrite)
    return target
