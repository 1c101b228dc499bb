"""TensorRT's plans on disk, found again by everything they were built from.

A plan holds code that the GPU runs, so a file is used only when nobody else can have written it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Shapes

#: Is told, in words, what the cache could not do.
Note = Callable[[str], None]
_OTHERS_WRITE = 0o022


@dataclass(frozen=True, slots=True)
class PlanKey:
    """What a plan was built from: with another value of any of these it is another plan.

    Attributes
    ----------
    onnx_sha256 : str
        Of the bytes that the parser read.
    tensorrt : str
        Its whole version.
    gpu : str
    compute_capability : (int, int)
    cuda : (int or None, int or None)
        Major version of the driver's and of torch's CUDA.
    precision : str
    optimization_level : int
    builder_version : int
        Of our code that builds.
    profiles : dict of str to Shapes
    strongly_typed : bool
    """

    onnx_sha256: str
    tensorrt: str
    gpu: str
    compute_capability: tuple[int, int]
    cuda: tuple[int | None, int | None]
    precision: str
    optimization_level: int
    builder_version: int
    profiles: dict[str, Shapes]
    strongly_typed: bool = True

    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return _digest(asdict(self))

    def timing_digest(self) -> str:
        """The same of what measured times of kernels depend on."""
        return _digest([self.tensorrt, self.gpu, self.compute_capability])


class PlanCache:
    """A directory of plans.

    Parameters
    ----------
    directory : path, optional
        Default: ``tensorrt`` in ``$VQAFAST_CACHE``, else in ``$XDG_CACHE_HOME/vqafast`` or
        ``~/.cache/vqafast``. Made when a plan is kept, for this user only.

    Notes
    -----
    No method raises for what is wrong with the directory: then plans are built in memory, and `note`
    hears why.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory = Path(directory) if directory is not None else _default_directory()

    def path(self, key: PlanKey) -> Path:
        """Where the plan of `key` is, or would be; beside it is a .json that describes it."""
        return self.directory / f"{key.digest()}.plan"

    def obtain(
        self, key: PlanKey, build: Callable[[], bytes], note: Note, *, refused: bytes | None = None
    ) -> bytes:
        """Load the plan of `key`, or build and keep it; only one process builds it at a time.

        `refused` is a plan from here that TensorRT did not take: it is built again, unless another
        process has done that already.
        """
        plan = self.load(key, lambda _: None) if refused is None else None
        if plan is not None:
            return plan
        with self._locked(f"{key.digest()}.lock"):
            plan = self.load(key, note)
            if plan is None or plan == refused:
                plan = build()
                self.store(key, plan, note)
        return plan

    def load(self, key: PlanKey, note: Note) -> bytes | None:
        """Give the plan of `key`; None when there is none, or none to be trusted."""
        path = self.path(key)
        try:
            _check(os.stat(self.directory), self.directory)
            about = json.loads(_read(path.with_suffix(".json")))
            plan = _read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as e:
            note(f"TensorRT plan {path.name} is not used: {e}")
            return None
        if not isinstance(about, dict) or about.get("plan_sha256") != hashlib.sha256(plan).hexdigest():
            note(f"TensorRT plan {path.name} is not used: its SHA-256 is not the one in its .json")
            return None
        return plan

    def store(self, key: PlanKey, plan: bytes, note: Note) -> None:
        """Keep `plan`, and a description of it."""
        about = {**asdict(key), "plan_sha256": hashlib.sha256(plan).hexdigest(), "plan_bytes": len(plan)}
        path = self.path(key)
        try:
            self._make()
            _replace(path, plan)
            _replace(path.with_suffix(".json"), json.dumps(about, indent=1).encode() + b"\n")
        except OSError as e:
            note(f"TensorRT plan is not kept, and will be built again: {e}")

    def timing(self, key: PlanKey) -> bytes:
        """Give the measured times of kernels that earlier builds left; empty when there are none."""
        try:
            _check(os.stat(self.directory), self.directory)
            return _read(self._timing_path(key))
        except OSError:
            return b""

    def store_timing(self, key: PlanKey, data: bytes) -> None:
        """Keep them. Of two builds at once the later one wins; only time is lost."""
        with contextlib.suppress(OSError):
            self._make()
            _replace(self._timing_path(key), data)

    def _timing_path(self, key: PlanKey) -> Path:
        return self.directory / f"timing-{key.timing_digest()[:16]}.cache"

    def _make(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(os.stat(self.directory), self.directory)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            # Without a lock, as on some network file systems, two processes may both build: that is slow
            # and not wrong.
            with contextlib.suppress(OSError):
                self._make()
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(self.directory / name, flags, 0o600)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield


def _default_directory() -> Path:
    from vqafast.models.backbones.weights import cache_directory

    try:
        return cache_directory() / "tensorrt"
    except RuntimeError:
        # A user without a home directory, as in some containers.
        return Path(tempfile.gettempdir()) / f"vqafast-{os.geteuid()}" / "tensorrt"


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check(status: os.stat_result, path: Path) -> None:
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} must belong to user {os.geteuid()}, belongs to {status.st_uid}")
    if status.st_mode & _OTHERS_WRITE:
        raise PermissionError(f"{path} must not be writable by others, has mode {status.st_mode & 0o7777:o}")


def _read(path: Path) -> bytes:
    # What is checked is what is read: the file may be replaced in between.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        _check(os.fstat(file.fileno()), path)
        return file.read()


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
