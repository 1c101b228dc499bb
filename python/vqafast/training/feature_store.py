"""Features of videos on disk: computed once, found again by what decides them.

A stored file is a plain ``.npy`` of records (`row_type`), so ``numpy.load`` reads it without this
package. Its name is the SHA-256 of the video's content hash and of the store's key: backbones,
sampling and views. Rows are appended as they are computed and the file gets its name when it is
whole, so memory does not grow with the video and a killed run leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.lib import format as npy

from vqafast.errors import InvalidArgument, MissingFile, ModelError
from vqafast.training.content_hash import ContentHashes

if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO

    from numpy.typing import NDArray

#: Part of every key: raise it when sampling, views or pooling change what is computed.
FEATURES_VERSION = 1
#: Name of the file with hashes of videos in a folder of features.
CONTENT = "content.jsonl"


class HasPath(Protocol):
    """What the store needs of a video."""

    @property
    def path(self) -> Path:
        """Where its file is."""
        ...


@dataclass(frozen=True, slots=True)
class StoreKey:
    """What decides the features of a video beside its content.

    Attributes
    ----------
    quality, semantic : str
        Digests of the backbones (architecture and weights).
    plan : dict
        Sampling and views, as JSON values.
    """

    quality: str
    semantic: str
    plan: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything that enters `digest`."""
        return {
            "features_version": FEATURES_VERSION,
            "quality_backbone": self.quality,
            "semantic_backbone": self.semantic,
            **self.plan,
        }

    def digest(self) -> str:
        """SHA-256 of `to_dict`."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Features:
    """One video: T samples.

    Attributes
    ----------
    quality, semantic : ndarray
        ``(T, Cq)`` and ``(T, Cs)`` float32, mapped from the file: read-only, not in memory.
    times : ndarray
        ``(T,)`` float64 seconds.
    k : ndarray
        ``(T,)`` int64 numbers of the samples in the sampling plan; damaged frames leave gaps. The
        temporal head's window of a sample is ``k // window``.
    """

    quality: NDArray[np.float32]
    semantic: NDArray[np.float32]
    times: NDArray[np.float64]
    k: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)


def row_type(quality_dim: int, semantic_dim: int) -> np.dtype[Any]:
    """Record of one sample in a stored file."""
    return np.dtype(
        [
            ("k", "<i8"),
            ("index", "<i8"),
            ("time", "<f8"),
            ("quality", "<f4", (quality_dim,)),
            ("semantic", "<f4", (semantic_dim,)),
        ]
    )


class FeatureStore:
    """Features by video content, for one key.

    Several processes and threads may use one folder at once: files are whole or not there, and two
    that compute the same video write the same file.

    Parameters
    ----------
    root : path
        Made if it is missing; stores of different keys share it.
    key : StoreKey
    """

    def __init__(self, root: str | os.PathLike[str], key: StoreKey) -> None:
        self.root = Path(root)
        self.key = key
        self._folder = self.root / key.digest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        self._hashes = ContentHashes(self.root / CONTENT)
        self._write_text(self._folder / "key.json", json.dumps(key.to_dict(), indent=1, sort_keys=True))
        self.clean()

    def content(self, item: HasPath) -> str:
        """SHA-256 of the video file; cached by path, size and modification time."""
        return self._hashes.of(item.path)

    def file(self, item: HasPath) -> Path:
        """Where the features of `item` are, or would be."""
        name = hashlib.sha256(f"{self.content(item)} {self.key.digest()}".encode()).hexdigest()
        return self._folder / f"{name}.npy"

    def has(self, item: HasPath) -> bool:
        """Whether the features of `item` are stored."""
        return self.file(item).exists()

    def load(self, item: HasPath) -> Features:
        """Map the features of `item`.

        Raises
        ------
        MissingFile
            When they were not computed yet, or the video is not there.
        ModelError
            When the stored file is damaged.
        """
        return read_features(self.file(item), f"features of {item.path}")

    def write(self, item: HasPath) -> FeatureWriter:
        """Open a writer for `item`; used as a context manager."""
        return FeatureWriter(self.file(item))

    def clean(self) -> None:
        """Remove what killed writers left; files of living writers are locked and stay."""
        for part in self._folder.glob("*.part"):
            with contextlib.suppress(OSError), part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()

    @staticmethod
    def _write_text(path: Path, text: str) -> None:
        if path.exists():
            return
        part = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)


def read_features(file: Path, what: str) -> Features:
    """Map a stored file; `what` names it in errors."""
    if not file.exists():
        raise MissingFile(f"{what}: must be computed first, got no {file.name}", path=str(file))
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
        return Features(rows["quality"], rows["semantic"], rows["time"], rows["k"])
    except (ValueError, IndexError, EOFError) as error:
        raise ModelError(
            f"{what}: {file.name} must be a whole file of features: {error}", path=str(file)
        ) from error


class FeatureWriter:
    """Appends rows to a part; leaving the context without an error gives the file its name.

    Attributes
    ----------
    rows : int
        Written so far. A file without rows is not kept.
    """

    def __init__(self, file: Path) -> None:
        self.rows = 0
        self._file = file
        self._part = file.with_suffix(f".{uuid.uuid4().hex}.part")
        self._type: np.dtype[Any] | None = None
        self._out: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._out = self._locked()
        return self

    def _locked(self) -> BinaryIO:
        while True:
            out = self._part.open("wb")
            fcntl.flock(out, fcntl.LOCK_EX)
            # A store that was opened between these two lines has taken the part for abandoned.
            if self._part.exists():
                return out
            out.close()

    def append(
        self,
        k: NDArray[np.int64],
        index: NDArray[np.int64],
        times: NDArray[np.float64],
        quality: NDArray[np.float32],
        semantic: NDArray[np.float32],
    ) -> None:
        """Write n rows: ``(n,)``, ``(n,)``, ``(n,)``, ``(n, Cq)``, ``(n, Cs)``, in order of time."""
        assert self._out is not None, "a writer is used as a context manager"
        if self._type is None:
            self._type = row_type(quality.shape[1], semantic.shape[1])
            self._write_header(self._out, self._type)
        rows = np.empty(len(k), dtype=self._type)
        rows["k"], rows["index"], rows["time"] = k, index, times
        for name, values in (("quality", quality), ("semantic", semantic)):
            if values.shape != rows[name].shape:
                raise InvalidArgument(f"features: {name} must be {rows[name].shape}, got {values.shape}")
            if not np.isfinite(values).all():
                raise ModelError(f"features: {name} must be finite, got nan or inf")
            rows[name] = values
        self._out.write(rows.tobytes())
        self.rows += len(rows)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        out = self._out
        assert out is not None
        try:
            if kind is None and self._type is not None:
                # NumPy pads headers so that the number of rows may grow in place.
                out.seek(0)
                self._write_header(out, self._type)
                out.flush()
                os.fsync(out.fileno())
                self._part.replace(self._file)
        finally:
            out.close()
            self._part.unlink(missing_ok=True)

    def _write_header(self, out: BinaryIO, row: np.dtype[Any]) -> None:
        header = {"descr": npy.dtype_to_descr(row), "fortran_order": False, "shape": (self.rows,)}
        npy.write_array_header_2_0(out, header)
