"""The user's own models: added, listed, exported, removed. No torch.

A model is a directory under `registry.store_directory`, whose name is the model's. It appears and
disappears by a rename, so that readers never meet half of one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument, MissingFile, ModelError, Unreadable, VqafastError

from . import registry
from .model_json import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spec import ModelSpec

FORMATS = ("onnx", "openvino", "tensorrt")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list.

    Attributes
    ----------
    name : str
        What `registry.load` knows it by; model.json may give another.
    origin : {"builtin", "user"}
    spec : ModelSpec or None
        None when the description cannot be read; `problem` says why.
    size : int
        Bytes of its files.
    problem : VqafastError or None
    """

    name: str
    origin: str
    spec: ModelSpec | None
    size: int
    problem: VqafastError | None = None


def entries() -> list[Entry]:
    """Give every model that has a name. SHA-256s are not checked here: `registry.load` does that."""
    found = [_entry(name, "builtin", registry.builtin_directory(name)) for name in registry.BUILTIN]
    store = registry.store_directory()
    names = sorted(p.name for p in store.iterdir()) if store.is_dir() else []
    found += [
        _entry(name, "user", store / name)
        for name in names
        if registry.NAME.fullmatch(name) and name not in registry.BUILTIN and (store / name).is_dir()
    ]
    return found


def _entry(name: str, origin: str, directory: Path) -> Entry:
    try:
        spec = registry.read(directory)
        size = 0
        for file in spec.files:
            if not (directory / file).is_file():
                raise ModelError(f"model file {file} is missing", path=str(directory / file))
            size += (directory / file).stat().st_size
    except VqafastError as e:
        return Entry(name, origin, None, 0, e)
    return Entry(name, origin, spec, size)


def add(
    source: str | os.PathLike[str],
    *,
    trial: Callable[[Path], object],
    name: str | None = None,
    replace: bool = False,
) -> Entry:
    """Copy a model directory into the store after checking all of it.

    Parameters
    ----------
    source : path
        A directory with a model.json; only the files that it lists are copied.
    trial : callable
        Gets the copy's directory before it has a name, and raises if the model does not score;
        scoring is not this package's business.
    name : str, optional
        Default: the one in model.json.
    replace : bool
        Put it in the place of an added model of that name.

    Raises
    ------
    InvalidArgument
        When the name cannot be one, is a built-in model's, or is taken.
    MissingFile, ModelError, Unreadable
        When the model is not there, is altered, or the store cannot be written.
    """
    path = Path(source)
    given = registry.read(path)
    name = _new_name(given.name if name is None else name)
    target = registry.store_directory() / name
    if os.path.lexists(target) and not replace:
        raise InvalidArgument(f"models add: {name!r} must not be taken (--replace puts the new one there)")
    temporary = _scratch(target.parent, name)
    try:
        for file in ("model.json", *given.files):
            # A link would be followed now and lead elsewhere for the next reader.
            if (path / file).is_symlink() or not (path / file).is_file():
                raise ModelError(f"model file {file} must be a plain file", path=str(path / file))
            try:
                shutil.copyfile(path / file, temporary / file)
            except OSError as e:
                raise Unreadable(f"model file {file} cannot be copied: {e}", path=str(path / file)) from e
        # The copy is what will be used, so the copy is what is checked.
        registry.load(temporary)
        trial(temporary)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _entry(name, "user", target)


def remove(name: str) -> None:
    """Take an added model away.

    Raises
    ------
    InvalidArgument
        For a built-in model.
    MissingFile
        When no model was added under that name.
    """
    if name in registry.BUILTIN:
        raise InvalidArgument(f"models remove: {name!r} is part of the installation and stays")
    target = registry.store_directory() / name
    if not registry.NAME.fullmatch(name) or not os.path.lexists(target):
        known = [e.name for e in entries() if e.origin == "user"]
        raise MissingFile(f"models remove: name must be an added model, one of {known}, got {name!r}")
    if target.is_symlink() or not target.is_dir():
        target.unlink()
        return
    trash = _scratch(target.parent, name)
    target.rename(trash / name)
    shutil.rmtree(trash)


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str = "onnx",  # noqa: A002 - the option's name
    device: str = "cuda:0",
    precision: str = "f32",
    batch: int = 8,
) -> list[Path]:
    """Write a model's verified graphs for use elsewhere.

    Parameters
    ----------
    out : path
        Must not exist, or be an empty directory.
    format : {"onnx", "openvino", "tensorrt"}
        "onnx" copies graphs and model.json: a model directory again. "openvino" writes OpenVINO IR
        in f32 and ``model.openvino.json``: the description, with the SHA-256 of what was written.
        "tensorrt" builds the backbones' plans for the GPU of this machine; with ``$VQAFAST_CACHE`` set
        to `out`, a `Scorer` with the same device kind, precision and batch finds them and builds none.
    device, precision, batch
        For "tensorrt": as `Scorer` takes them.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InvalidArgument
        For a format or directory that cannot be.
    EngineUnavailable
        For "tensorrt", without a GPU or without TensorRT.
    MissingFile, ModelError
        As `registry.load`.
    """
    if format not in FORMATS:
        raise InvalidArgument(f"models export: format must be one of {', '.join(FORMATS)}, got {format!r}")
    spec = registry.load(model)
    directory = Path(out)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InvalidArgument(f"models export: out must be new or an empty directory, got {str(out)!r}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if format == "tensorrt":
            return _export_tensorrt(spec, directory, device, precision, batch)
        return _export_onnx(spec, directory) if format == "onnx" else _export_openvino(spec, directory)
    except OSError as e:
        raise Unreadable(f"models export: {directory} cannot be written: {e}", path=str(directory)) from e


def _export_onnx(spec: ModelSpec, out: Path) -> list[Path]:
    for file in ("model.json", *spec.files):
        shutil.copyfile(spec.directory / file, out / file)
    registry.load(out)
    return [out / file for file in ("model.json", *spec.files)]


def _export_openvino(spec: ModelSpec, out: Path) -> list[Path]:
    from vqafast.engines.openvino_engine import convert_to_ir

    written: list[Path] = []
    for file in spec.files:
        if not file.endswith(".onnx"):
            continue
        target = out / f"{Path(file).stem}.xml"
        convert_to_ir(spec.file(file), target)
        written += [target, target.with_suffix(".bin")]
    description = to_json(spec) | {"format": "openvino"}
    description["files"] = {p.name: registry.sha256(p) for p in written}
    text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    (out / "model.openvino.json").write_text(text, encoding="utf-8")
    return [*written, out / "model.openvino.json"]


def _export_tensorrt(spec: ModelSpec, out: Path, device: str, precision: str, batch: int) -> list[Path]:
    from vqafast.engines.tensorrt_cache import PlanCache
    from vqafast.engines.tensorrt_engine import build_plan

    from .families import backbone_inputs

    # Where the default cache is below $VQAFAST_CACHE.
    cache = PlanCache(out / "tensorrt")
    written = []
    for name, shapes in backbone_inputs(spec, batch).items():
        graph = spec.file(f"{name}.onnx")
        written.append(build_plan(graph, device=device, precision=precision, profiles=shapes, cache=cache))
    return written


def _new_name(name: str) -> str:
    if not registry.NAME.fullmatch(name):
        raise InvalidArgument(
            "models add: name must be 1 to 64 letters, digits, '.', '_' or '-', "
            f"beginning and ending with a letter or digit, got {name!r}"
        )
    if name in registry.BUILTIN:
        raise InvalidArgument(f"models add: name must not be a built-in model's, got {name!r}")
    return name


def _scratch(store: Path, name: str) -> Path:
    """Make a directory in the store that is no model: names begin with a letter or digit."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{name}.", dir=store))
    except OSError as e:
        raise Unreadable(f"models: the store (VQAFAST_MODELS) must be writable, got {e}") from e


def _swap(new: Path, target: Path) -> None:
    # mkdtemp makes it private; a store may be shared.
    new.chmod(0o755)
    if not os.path.lexists(target):
        new.rename(target)
        return
    old = _scratch(target.parent, target.name)
    target.rename(old / "old")
    try:
        new.rename(target)
    except OSError:
        (old / "old").rename(target)
        raise
    shutil.rmtree(old)
