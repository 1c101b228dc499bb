"""The models there are, and how a model directory is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import MissingFile, ModelError

from .model_json import parse

if TYPE_CHECKING:
    from os import PathLike

    from .spec import ModelSpec

BUILTIN: tuple[str, ...] = ("a2inet-lite",)
DEFAULT = "a2inet-lite"
_MAX_JSON = 1 << 20


def load(model: str | PathLike[str] | None = None) -> ModelSpec:
    """Read a model's description and check every one of its files.

    Parameters
    ----------
    model : str or path, optional
        A name in `BUILTIN`, or a model directory. Default: `DEFAULT`.

    Raises
    ------
    MissingFile
        When there is no such model directory or no model.json in it.
    ModelError
        When model.json is not valid, or a file is missing or differs from its SHA-256.
    """
    directory = _directory(DEFAULT if model is None else model)
    path = directory / "model.json"
    if not path.is_file():
        raise MissingFile(
            f"model must be one of {list(BUILTIN)} or a directory with a model.json, got {str(model)!r}",
            path=str(path),
        )
    raw = path.read_bytes()
    if len(raw) > _MAX_JSON:
        raise ModelError(f"model.json must be at most {_MAX_JSON} bytes, got {len(raw)}")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise ModelError(f"model.json must be JSON: {e}", path=str(path)) from e
    spec = parse(data, directory)
    for name, expected in spec.files.items():
        _check_file(directory / name, expected)
    return spec


def _directory(model: str | PathLike[str]) -> Path:
    if isinstance(model, str) and model in BUILTIN:
        return Path(__file__).resolve().parent.parent / "weights" / model
    return Path(model)


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelError(f"model file {path.name} is missing", path=str(path))
    with path.open("rb") as f:
        got = hashlib.file_digest(f, "sha256").hexdigest()
    if got != expected:
        raise ModelError(f"model file {path.name} must have sha256 {expected}, got {got}", path=str(path))
