# SPDX-License-Identifier: Apache-2.0
"""Published weights to ONNX, model by model: what `facepipe onnx` does, for a program.

With torch here, torch exports every model. Without, the networks of `plain_networks` are built (`build`), and the
record of each says so; the others cannot be converted.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facepipe.assets.workspace import Workspace, absent, find_weights, locate_weights
from facepipe.catalogue import MODELS, records
from facepipe.convert.onnx.build import BUILD, build_model
from facepipe.convert.onnx.plain_networks import PLAIN
from facepipe.convert.onnx.report import ConversionReport, Step, finished
from facepipe.errors import AssetError, ConversionError, DataError, StageError
from facepipe.specs import ModelSpec, Recipe
from facepipe.store.files import read_json, sha256_of_file, write_json
from facepipe.store.owned import adopt, keep_record, require_free
from facepipe.store.parts import remove_parts
from facepipe.store.sealed_json import SEAL

if TYPE_CHECKING:
    from facepipe.convert.onnx.decoded import Decoded

OnStep = Callable[[ModelSpec, str], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """One model of `convert_models`.

    Attributes:
        spec: the model.
        report: of its conversion; None where something is lacking.
        kept: whether it was there, of the same weights and by the same conversion, and left alone.
        lacks: what is lacking: the path of its weights, or "torch".
        whence: that can be had, in words.
    """

    spec: ModelSpec
    report: ConversionReport | None
    kept: bool = False
    lacks: str | None = None
    whence: str | None = None

    @property
    def is_built(self) -> bool:
        """Whether it was built now, without torch."""
        return self.report is not None and not self.kept and self.report.steps[0].step == BUILD


def convert_models(
    names: Iterable[str],
    ws: Workspace,
    *,
    force: bool = False,
    table: Path | None = None,
    overwrite: bool = False,
    on_step: OnStep | None = None,
) -> Iterator[Converted]:
    """Convert models into `ws.weights`, and tell of each as soon as it is done; those without weights come last.

    Args:
        names: models or detectors of the catalogue; none for all whose weights are present.
        ws: where weights are looked for, and the results go.
        force: convert again what is up to date.
        table: the JSON file of all that is converted, written after each model (default: parity.json in `ws.weights`).
        overwrite: `table` may take the place of a file that is not ours.
        on_step: told the model and the step that is done.

    Raises:
        DataError: a name is not in the catalogue.
        AssetError: the weights of a model that is named are in no place.
        WeightsError: the weights are not this model's.
        ConversionError: a step failed, or moved the outputs; or a package is missing.

    Example:
        >>> for one in convert_models(["mtcnn"], open_workspace()):  # doctest: +SKIP
        ...     print(one.spec.name, one.report.steps[-1].cosine)
    """
    named = list(dict.fromkeys(spec for name in names for spec in records(name, ws.weights)))
    own = [spec.name for spec in named if spec.imported is not None]
    if own:
        raise DataError(f"{own[0]}: was imported as an ONNX, expected a model to convert.", "`facepipe import`, again.")
    specs = named or list(MODELS.values())
    gone = [lacking for spec in specs if (lacking := _lacking(spec, ws)) is not None]
    if named:
        if without := [one.spec for one in gone if one.lacks != "torch"]:
            raise absent(without[0], ws)
        gone = []  # what lacks torch says so in its turn
    here = [spec for spec in specs if spec not in [one.spec for one in gone]]
    return _each(here, gone, ws, force, table or ws.weights / "parity.json", overwrite, on_step)


def _each(
    here: Sequence[ModelSpec],
    gone: Sequence[Converted],
    ws: Workspace,
    force: bool,
    table: Path,
    overwrite: bool,
    on_step: OnStep | None,
) -> Iterator[Converted]:
    remove_parts(ws.weights)
    known = {name: finished(spec, None, ws.weights) for name, spec in MODELS.items()}
    if _is_table(table, known):
        keep_record(table)
        adopt(table)
    require_free((table,), overwrite)
    for spec in here:
        kept = None if force and _has_source(spec, ws) else finished(spec, _digest(spec, ws), ws.weights)
        known[spec.name] = report = kept or _convert(spec, ws, on_step)
        if table.parent == ws.weights:
            keep_record(table)
        write_json(table, _table(known), overwrite=overwrite)  # a failure further on leaves what was done
        overwrite = True  # it is this call's own now
        yield Converted(spec, report, kept is not None)
    yield from gone


def export_weights(
    spec: ModelSpec, ws: Workspace, target: Path, own: Path | None = None, *, overwrite: bool = False
) -> Step:
    """The first step alone: write the ONNX as torch exports it, before any pass; return its parity with PyTorch.

    Args:
        ws: where published weights are looked for.
        own: a weight file of the same network to take instead; its digest may be any.
        overwrite: `target` may be a file that is there.

    Raises:
        AssetError: the weights are not here.
        WeightsError: they are not this model's.
        ConversionError: the export failed or moved the outputs; or a package is missing.
    """
    if own is not None and not own.is_file():
        raise AssetError(f"{own}: no such file, expected a weight file of {spec.name}.")
    checkpoint = own or _checkpoint(spec, ws)
    with torch_here(spec):
        from facepipe.convert.onnx.conversion import export_model
    return export_model(spec, checkpoint, target, any_digest=own is not None, overwrite=overwrite)


def export_decoded(
    spec: ModelSpec, ws: Workspace, target: Path, size: tuple[int, int] | None = None, *, overwrite: bool = False
) -> Decoded:
    """Write a converted detector of one network with its decoding in the graph; see `convert.onnx.decoded`. No torch.

    Args:
        ws: where the converted model lies.
        size: (height, width) of the input; None: the catalogue's.
        overwrite: `target` may be a file that is there.

    Raises:
        ConversionError: it is no such detector, is not converted, does not run at that size, or its outputs are not
            those of the project's own decoding; or a package is missing. Nothing was written.
    """
    with torch_here(spec):
        from facepipe.convert.onnx.decoded import write_decoded

        return write_decoded(spec, ws.weights, target, size, overwrite=overwrite)


def step_names(spec: ModelSpec) -> tuple[str, ...]:
    """The steps of a model's conversion on this machine, in order."""
    return (BUILD,) if is_built_here(spec) else ("export", *spec.passes, "simplify")


def is_built_here(spec: ModelSpec) -> bool:
    """Whether a conversion on this machine builds the model: there is no torch, and none is needed for its network."""
    return spec.network in PLAIN and not has_torch()


def has_torch() -> bool:
    """Whether torch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def _table(known: Mapping[str, ConversionReport | None]) -> dict[str, object]:
    """The reports of every model that is converted, and the names of the others."""
    return {
        "models": {name: asdict(report) for name, report in known.items() if report is not None},
        "absent": [name for name, report in known.items() if report is None],
    }


def _is_table(path: Path, known: Mapping[str, ConversionReport | None]) -> bool:
    """Whether the file says just what facepipe would write there now."""
    if not path.is_file() or path.is_symlink():
        return False
    try:
        told = read_json(path)
    except StageError:
        return False
    return isinstance(told, dict) and {**told, SEAL: None} == {**json.loads(json.dumps(_table(known))), SEAL: None}


def _has_source(spec: ModelSpec, ws: Workspace) -> bool:
    return isinstance(spec.weights.origin, Recipe) or find_weights(spec, ws) is not None


def _is_here(spec: ModelSpec, ws: Workspace) -> bool:
    """Can it be converted, or was it, and are the results whole?"""
    return _has_source(spec, ws) or finished(spec, spec.weights.sha256, ws.weights) is not None


def _lacking(spec: ModelSpec, ws: Workspace) -> Converted | None:
    """What there would have to be for this model's conversion; None: nothing more."""
    if not _is_here(spec, ws):
        weights = spec.weights
        return Converted(spec, None, lacks=str(ws.weights / weights.file), whence=str(weights.origin))
    if has_torch() or spec.network in PLAIN or finished(spec, _digest(spec, ws), ws.weights) is not None:
        return None
    return Converted(spec, None, lacks="torch", whence="pip install 'facepipe[convert]'")


def _digest(spec: ModelSpec, ws: Workspace) -> str | None:
    """Of the weight file at hand; the catalogue's where it is gone; None for a recipe, which has no file."""
    found = None if isinstance(spec.weights.origin, Recipe) else find_weights(spec, ws)
    return spec.weights.sha256 if found is None else sha256_of_file(found)


def _convert(spec: ModelSpec, ws: Workspace, on_step: OnStep | None) -> ConversionReport:
    checkpoint = _checkpoint(spec, ws)

    def done(step: str) -> None:
        if on_step is not None:
            on_step(spec, step)

    if is_built_here(spec):
        assert checkpoint is not None, f"{spec.name} has a recipe, and is built from a weight file"
        return build_model(spec, checkpoint, ws.weights, on_step=done)
    with torch_here(spec):
        from facepipe.convert.onnx.conversion import convert_model
    return convert_model(spec, checkpoint, ws.weights, on_step=done)


def _checkpoint(spec: ModelSpec, ws: Workspace) -> Path | None:
    """The weight file; None for a recipe, which has none."""
    return None if isinstance(spec.weights.origin, Recipe) else locate_weights(spec, ws)


@contextmanager
def torch_here(spec: ModelSpec) -> Iterator[None]:
    """What is imported inside needs torch, or another package that a machine that only infers may lack."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"{spec.name}: conversion needs the module '{error.name}', which is not installed.",
            "pip install 'facepipe[convert]', or bring the converted files of another machine.",
        ) from error
