# SPDX-License-Identifier: Apache-2.0
"""Weights and data sets by one order of places: `weights/` and `data/`, then the local mirror, then a download.

Both folders lie below one, `home_folder`, so that commands work from any folder.

The mirror is the folder that FACEPIPE_ASSETS names. It is read in place: nothing in it is copied or written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facepipe.assets.download import Progress, download, silent
from facepipe.assets.wheel import extract_member
from facepipe.catalogue import EMBEDDERS, MODELS, own_models
from facepipe.errors import AssetError, BackendError, WeightsError
from facepipe.specs import Address, ModelSpec, Recipe, UserFile, WheelMember
from facepipe.store.files import sha256_of_file, write_text
from facepipe.store.owned import keep_record

MIRROR_VARIABLE = "FACEPIPE_ASSETS"
HOME_VARIABLE = "FACEPIPE_HOME"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders that assets are looked for in: `weights` and `data` are written to, `mirror` is only read."""

    weights: Path
    data: Path
    mirror: Path | None


def home_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of `weights/` and `data/` where nobody names another.

    What FACEPIPE_HOME names; else the working folder where it has `weights/`, as a checkout has; else the user's cache
    (XDG_CACHE_HOME or ~/.cache on Linux).
    """
    named = (os.environ if environ is None else environ).get(HOME_VARIABLE, "")
    if named:
        return Path(named)
    if Path("weights").is_dir():
        return Path()
    import platformdirs  # here: a checkout does not need it

    return Path(platformdirs.user_cache_dir("facepipe", appauthor=False))


def weights_folder(named: Path | str | None = None) -> Path:
    """The folder of weights and models: the one that is named, else that of `home_folder`."""
    return home_folder() / "weights" if named is None else Path(named)


def open_workspace(root: Path | None = None, environ: Mapping[str, str] | None = None) -> Workspace:
    """The workspace below `root` (None: `home_folder`), with the mirror that the environment names.

    Raises:
        AssetError: FACEPIPE_ASSETS names something that is no folder.
    """
    named = (os.environ if environ is None else environ).get(MIRROR_VARIABLE, "")
    mirror = Path(named) if named else None
    if mirror is not None and not mirror.is_dir():
        raise AssetError(
            f"{MIRROR_VARIABLE}: '{mirror}' is no folder, expected a local mirror or nothing.",
            f"correct it, or `unset {MIRROR_VARIABLE}`.",
        )
    root = home_folder(environ) if root is None else root
    return Workspace(weights=root / "weights", data=root / "data", mirror=mirror)


def find_weights(spec: ModelSpec, ws: Workspace) -> Path | None:
    """Where the weight file of `spec` lies, its content unseen; None when it is in no place.

    A user's own file may also be Paddle's: then it has the same name with ".pdparams" at its end.
    """
    places = [ws.weights / spec.weights.file]
    if isinstance(spec.weights.origin, UserFile):
        places.append(places[0].with_suffix(".pdparams"))
    if ws.mirror is not None and spec.weights.mirror is not None:
        places.append(ws.mirror / spec.weights.mirror)
    return next((place for place in places if place.is_file()), None)


def trained_embedder(ws: Workspace) -> ModelSpec:
    """The first embedder of the catalogue that is converted in `ws.weights`, else the first that was imported there.

    Seeded weights are never a default: their embeddings mean nothing.

    Raises:
        BackendError: none is converted.
        DataError: the record of an imported one cannot be read.
    """
    candidates = [MODELS[name] for name in EMBEDDERS if MODELS[name].for_accuracy]
    for spec in candidates:
        if _is_converted(spec, ws):
            return spec
    for spec in own_models(ws.weights):  # asked last: a record that cannot be read is in nobody's way before
        if spec.task == "embed" and _is_converted(spec, ws):
            return spec
    present = next((spec.name for spec in candidates if find_weights(spec, ws) is not None), None)
    raise BackendError(
        f"{ws.weights}: no embedder is converted here, expected one of {', '.join(s.name for s in candidates)}.",
        f"`facepipe onnx {present}`" if present else "`facepipe fetch dlib.resnet`, then `facepipe onnx dlib.resnet`.",
    )


def _is_converted(spec: ModelSpec, ws: Workspace) -> bool:
    return spec.final(ws.weights).is_file() or any(ws.weights.glob(f"{spec.name}.*om"))


def locate_weights(spec: ModelSpec, ws: Workspace) -> Path:
    """The weight file of `spec`, its digest checked where one is known. Nothing is downloaded.

    Raises:
        AssetError: it is in no place; the error says where it may be put and where it comes from.
        WeightsError: it is there and has another digest.
    """
    found = find_weights(spec, ws)
    if found is None:
        raise absent(spec, ws)
    check_digest(spec, found)
    return found


def fetch_weights(spec: ModelSpec, ws: Workspace, progress: Progress = silent) -> Path:
    """The weight file of `spec`: found, or else downloaded into `ws.weights`, whole and checked.

    Args:
        spec: the model.
        ws: where to look, and where to put it.
        progress: called with (bytes here so far, bytes in all or None).

    Raises:
        AssetError: it is nowhere and cannot be downloaded (the reason is named), or what came is another file.
        WeightsError: it is there and has another digest.
    """
    if find_weights(spec, ws) is not None:
        return locate_weights(spec, ws)
    weights, target = spec.weights, ws.weights / spec.weights.file
    match weights.origin:
        case WheelMember() as member:
            extract_member(member, target, weights.sha256, keep=_is_shared(member))
        case Address(url):
            seen = download(url, target, sha256=weights.sha256, size=weights.size, progress=progress)
            if weights.sha256 is None:
                keep_record(target)
                write_text(_seen_path(target), f"{seen}  {target.name}\n")
        case _:
            raise absent(spec, ws)
    return target


def _is_shared(member: WheelMember) -> bool:
    """Whether the wheel has the weights of another model too: then it is kept."""
    origins = [spec.weights.origin for spec in MODELS.values()]
    return sum(isinstance(one, WheelMember) and one.sha256 == member.sha256 for one in origins) > 1


def known_digest(spec: ModelSpec, path: Path) -> str | None:
    """The sha256 that `path` must have: the catalogue's, or else the one seen when it was downloaded; None: unknown."""
    if spec.weights.sha256 is not None:
        return spec.weights.sha256
    seen = _seen_path(path)
    return seen.read_text(encoding="ascii", errors="replace").partition(" ")[0] if seen.is_file() else None


def check_digest(spec: ModelSpec, path: Path) -> None:
    """Hold the file against the known digest; nothing to hold against is no fault.

    Raises:
        WeightsError: the digest is another.
    """
    expected = known_digest(spec, path)
    if expected is None:
        return
    seen = sha256_of_file(path)
    if seen != expected:
        beside = "" if spec.weights.sha256 else f", and {_seen_path(path)} with it,"
        raise WeightsError(
            f"{path}: sha256 is {seen}, expected {expected} for {spec.name}.",
            f"delete it{beside} and run `facepipe fetch {spec.name}`; a truncated download is the usual cause.",
        )


def _seen_path(path: Path) -> Path:
    """Where the digest is kept of a file whose digest nobody published, in the form that `sha256sum -c` reads."""
    return path.with_name(f"{path.name}.sha256")


def absent(spec: ModelSpec, ws: Workspace) -> AssetError:
    """The error for weights that are in no place: which file, where it may be put, where it comes from."""
    target, origin = ws.weights / spec.weights.file, spec.weights.origin
    size = "" if spec.weights.size is None else f" of {spec.weights.size:,} bytes"
    what = f"{target}: no such file, expected the weights{size} of {spec.name}."
    if isinstance(origin, Recipe):
        return AssetError(what, f"`facepipe onnx {spec.name}`, which makes them on the spot.")
    by_hand = str(target)
    if ws.mirror is not None and spec.weights.mirror is not None:
        by_hand += f" or {ws.mirror / spec.weights.mirror}"
    if isinstance(origin, (WheelMember, Address)):
        return AssetError(what, f"`facepipe fetch {spec.name}`, or put it at {by_hand} by hand; it comes from {origin}")
    return AssetError(what, f"put it at {by_hand} by hand: {origin}")
