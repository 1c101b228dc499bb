"""The models there are, and how a model directory is read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import MissingFile, ModelError

from .model_json import parse

if TYPE_CHECKING:
    from .spec import ModelSpec

BUILTIN: tuple[str, ...] = ("a2inet-lite", "a2inet-lite-hybrid")
DEFAULT = "a2inet-lite"
#: What a name must look like; it becomes the name of a directory.
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_MAX_JSON = 1 << 20


def store_directory() -> Path:
    """Where added models are: ``$VQAFAST_MODELS``, else ``vqafast/models`` in the user's data directory.

    That is ``$XDG_DATA_HOME``, else ``~/.local/share``.
    """
    own = os.environ.get("VQAFAST_MODELS")
    if own:
        return Path(own)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "vqafast" / "models"


def load(model: str | os.PathLike[str] | None = None) -> ModelSpec:
    """Read a model's description and check every one of its files.

    Parameters
    ----------
    model : str or path, optional
        A name in `BUILTIN`, the name of an added model, or a model directory, looked for in this
        order; ``./name`` is always a directory. Default: `DEFAULT`.

    Raises
    ------
    MissingFile
        When there is no such model directory or no model.json in it.
    ModelError
        When model.json is not valid, or a file is missing or differs from its SHA-256.
    """
    wanted = DEFAULT if model is None else model
    spec = read(_directory(wanted), wanted)
    for name, expected in spec.files.items():
        _check_file(spec.directory / name, expected)
    return spec


def read(directory: Path, wanted: str | os.PathLike[str] | None = None) -> ModelSpec:
    """Read and check model.json alone; `load` checks the files too, which takes longer.

    Raises
    ------
    MissingFile, ModelError
        As `load`; `wanted` is what the messages call the model.
    """
    path = directory / "model.json"
    name = str(directory if wanted is None else wanted)
    if "\0" in name or not path.is_file():
        raise MissingFile(
            f"model must be one of {list(BUILTIN)}, the name of an added model, "
            f"or a directory with a model.json, got {name!r}",
            path=str(path),
        )
    try:
        with path.open("rb") as f:
            raw = f.read(_MAX_JSON + 1)
    except OSError as e:
        raise ModelError(f"model.json cannot be read: {e}", path=str(path)) from e
    if len(raw) > _MAX_JSON:
        raise ModelError(f"model.json must be at most {_MAX_JSON} bytes, got more", path=str(path))
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise ModelError(f"model.json must be JSON: {e}", path=str(path)) from e
    return parse(data, directory)


def _directory(model: str | os.PathLike[str]) -> Path:
    if isinstance(model, str):
        if model in BUILTIN:
            return builtin_directory(model)
        if NAME.fullmatch(model) and (store_directory() / model / "model.json").is_file():
            return store_directory() / model
    return Path(model)


def builtin_directory(name: str) -> Path:
    """Give the directory of an embedded model."""
    return Path(__file__).resolve().parent.parent / "weights" / name


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelError(f"model file {path.name} is missing", path=str(path))
    got = sha256(path)
    if got != expected:
        raise ModelError(f"model file {path.name} must have sha256 {expected}, got {got}", path=str(path))
