"""Files that are whole or not there: written beside, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the name `path` when the block ends without an error."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        # Writers of their own, as safetensors' is, would choose stricter permissions.
        part.touch()
        mode = part.stat().st_mode
        yield part
        part.chmod(mode)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a file with `text`."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Replace `path` by a JSON file; NaN and infinities, which JSON does not have, become null."""
    write_text(path, json.dumps(_finite(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def clean(folder: Path) -> None:
    """Remove what killed writers left in a folder that nobody else writes to."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(k): _finite(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(v) for v in data]
    if isinstance(data, float) and data - data != 0.0:
        return None
    return data
