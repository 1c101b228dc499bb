"""SHA-256 of files, remembered by path, size and time of modification."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any, cast

from vqafast.errors import Unreadable
from vqafast.video.open import open_regular

if TYPE_CHECKING:
    from pathlib import Path

_Stamp = tuple[int, int]


class ContentHashes:
    """Hashes of files, kept in a file of JSON lines that only ever grows.

    Parameters
    ----------
    log : path
        One object a line: path, size, mtime_ns, sha256. Processes append to it at the same time; a
        line that a kill cut short is passed over.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Stamp, str]] = {}
        if log.exists():
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            stamp = (int(entry["size"]), int(entry["mtime_ns"]))
            self._known[str(entry["path"])] = (stamp, str(entry["sha256"]))
        except (ValueError, TypeError, KeyError):
            return

    def of(self, path: str | os.PathLike[str]) -> str:
        """Hash of the file at `path`; read only when its size or time changed.

        Raises
        ------
        VqafastError
            The errors of opening a video: missing_file, is_directory, unreadable, hostile_input.
        """
        name = os.path.abspath(path)
        with open_regular(path) as file:
            info = os.fstat(file.fileno())
            stamp = (info.st_size, info.st_mtime_ns)
            known = self._known.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
            try:
                digest = hashlib.file_digest(cast("Any", file), "sha256").hexdigest()
            except OSError as error:
                raise Unreadable(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error
        self._remember(name, stamp, digest)
        return digest

    def _remember(self, name: str, stamp: _Stamp, digest: str) -> None:
        entry = {"path": name, "size": stamp[0], "mtime_ns": stamp[1], "sha256": digest}
        # The line break in front ends a line that a kill cut short.
        line = f"\n{json.dumps(entry)}\n".encode()
        with self._lock:
            self._known[name] = (stamp, digest)
            descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
