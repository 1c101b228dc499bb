"""When a file is the same as the one that a record speaks of, and was scored in the same way."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, cast

from vqafast.errors import VqafastError
from vqafast.video.open import open_regular

_HEX = 32


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and time of modification of a file; None for one that cannot be looked at."""

    size: int | None
    mtime_ns: int | None


def stamp_of(path: str) -> Stamp:
    """Look at a file; nothing is raised."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return Stamp(None, None)
    return Stamp(info.st_size, info.st_mtime_ns)


def content_of(path: str) -> str | None:
    """SHA-256 of a regular file; None for one that cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(cast("Any", file), "sha256").hexdigest()
    except (VqafastError, OSError):
        return None


def digest_of(path: str) -> bytes:
    """16 bytes that stand for a path."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).digest()


def key_of(path: str, stamp: Stamp, sha256: str | None, scoring: str) -> str:
    """Hash of a file's identity and of how it is scored: with another one, an old record says nothing.

    With a content hash, the time of modification does not count.
    """
    who = [os.fsencode(path).hex(), stamp.size, sha256 or stamp.mtime_ns, scoring]
    return hashlib.sha256(json.dumps(who).encode()).hexdigest()[:_HEX]


def scoring_of(model_sha256: str, version: str, settings: dict[str, Any]) -> str:
    """Hash of all that decides a score beside the file."""
    what = {"model": model_sha256, "version": version, "settings": settings}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
