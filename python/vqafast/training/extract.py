"""Runs frozen backbones over the videos of a data set, once, into a `FeatureStore`.

Videos are opened, sampled and cut into views as at scoring. One that cannot be read is recorded by
name with its error's code, and the others go on.
"""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vqafast.errors import CorruptVideo, InvalidArgument, NoFrames, VqafastError
from vqafast.video import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vqafast.training.backbones import Backbones, ViewsOfSample
    from vqafast.training.feature_store import FeatureStore

    Float32 = NDArray[np.float32]

# Samples through the backbones at once, unless their views take more than the bytes below.
_BATCH = 8
_BATCH_BYTES = 48 << 20


class Video(Protocol):
    """What extraction needs of an item of a data set."""

    @property
    def name(self) -> str:
        """As the data set's authors list it."""
        ...

    @property
    def path(self) -> Path:
        """Where its file is."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A video without features: `code` is that of `vqafast.errors`, "internal" for a fault of ours."""

    name: str
    path: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What came of every video: ``computed + reused + len(failures)`` is their number."""

    computed: int
    reused: int
    failures: tuple[Failure, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "computed": self.computed,
            "reused": self.reused,
            "failures": [asdict(f) for f in self.failures],
        }


def extract(
    items: Sequence[Video],
    backbones: Backbones,
    store: FeatureStore,
    *,
    jobs: int = 1,
    threads: int = 0,
    progress: Callable[[Video, str], None] | None = None,
) -> ExtractReport:
    """Compute what `store` does not hold yet of `items`; resumable at any moment.

    Parameters
    ----------
    jobs : int
        Videos at once, each in a thread: decoding, views and networks all run outside Python's lock.
    threads : int
        CPU threads of one video's decoding and views; 0 shares the usable CPUs among the jobs.
    progress : callable, optional
        Called in the calling thread with each video and "computed", "reused" or its error's code.

    Returns
    -------
    ExtractReport
        Failures in the order of `items`.
    """
    if jobs < 1 or threads < 0:
        raise InvalidArgument(f"extract: jobs must be >= 1 and threads >= 0, got {jobs}, {threads}")
    threads = threads or max(1, _usable_cpus() // jobs)
    stop = threading.Event()
    outcome: dict[int, str] = {}
    failures: dict[int, Failure] = {}

    def one(item: Video) -> str:
        if store.has(item):
            return "reused"
        extract_video(item, backbones, store, threads=threads, stop=stop)
        return "computed"

    with ThreadPoolExecutor(jobs, thread_name_prefix="vqafast-extract") as pool:
        running: dict[Future[str], int] = {}
        waiting = list(range(len(items)))[::-1]
        try:
            while waiting or running:
                while waiting and len(running) < 2 * jobs:
                    i = waiting.pop()
                    running[pool.submit(one, items[i])] = i
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    i = running.pop(future)
                    error = future.exception()
                    if error is None:
                        outcome[i] = future.result()
                    elif isinstance(error, Exception):
                        failures[i] = _failure(items[i], error)
                        outcome[i] = failures[i].code
                    else:
                        raise error
                    if progress is not None:
                        progress(items[i], outcome[i])
        finally:
            stop.set()
            for future in running:
                future.cancel()
    results = list(outcome.values())
    return ExtractReport(
        results.count("computed"), results.count("reused"), tuple(failures[i] for i in sorted(failures))
    )


def _usable_cpus() -> int:
    # Not every system can restrict a process to some CPUs.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def probe(
    items: Sequence[Video],
    content: Callable[[Video], str],
    progress: Callable[[Video, str], None] | None = None,
) -> ExtractReport:
    """Find out which videos open, and their hashes with `content`, without computing anything."""
    failures = []
    for item in items:
        code = "reused"
        try:
            content(item)
            open_source(item.path, 1).close()
        except VqafastError as error:
            failures.append(_failure(item, error))
            code = error.code
        if progress is not None:
            progress(item, code)
    return ExtractReport(0, len(items) - len(failures), tuple(failures))


def _failure(item: Video, error: Exception) -> Failure:
    if isinstance(error, VqafastError):
        return Failure(item.name, str(item.path), error.code, str(error))
    return Failure(item.name, str(item.path), "internal", f"{type(error).__name__}: {error}")


def extract_video(
    item: Video,
    backbones: Backbones,
    store: FeatureStore,
    *,
    threads: int = 0,
    stop: threading.Event | None = None,
) -> None:
    """Compute and store the features of one video.

    Memory is bounded by a batch of views, except for the semantic views of a network that must see
    its whole window (S+M).

    Raises
    ------
    VqafastError
        When the video cannot be scored either; ``code`` says why.
    """
    path = str(item.path)
    with open_source(item.path, threads) as source, store.write(item) as writer:
        backbones.check_size(source.info.width, source.info.height, path)
        samples = backbones.samples(source, threads, stop=stop)
        for batch in _batches(samples, backbones, threads):
            writer.append(
                np.array([s.k for s in batch.samples], dtype=np.int64),
                np.array([s.index for s in batch.samples], dtype=np.int64),
                np.array([s.time for s in batch.samples], dtype=np.float64),
                batch.quality,
                batch.semantic,
            )
        if writer.rows == 0 and source.counts.dropped_samples:
            raise CorruptVideo(
                f"{path}: at least one sampled frame must be whole, got "
                f"{source.counts.dropped_samples} damaged ones",
                path=path,
            )
        if writer.rows == 0:
            raise NoFrames(f"{path}: at least one frame must be there, got none", path=path)


@dataclass(frozen=True, slots=True)
class _Batch:
    samples: list[ViewsOfSample]
    quality: Float32
    semantic: Float32


def _batches(samples: Iterator[ViewsOfSample], backbones: Backbones, threads: int) -> Iterator[_Batch]:
    if not backbones.whole_windows:
        for group in _groups(samples):
            quality = backbones.quality_features([s.quality for s in group], threads)
            yield _Batch(group, quality, backbones.semantic_features([s.semantic for s in group]))
        return
    size = backbones.sampling.window
    for _, window in itertools.groupby(samples, lambda s: 0 if size is None else s.k // size):
        members: list[ViewsOfSample] = []
        parts: list[Float32] = []
        for group in _groups(window):
            parts.append(backbones.quality_features([s.quality for s in group], threads))
            for sample in group:
                # The patches are done with; only the small pictures wait for the window's end.
                sample.quality = sample.quality[:0]
            members += group
        yield _Batch(
            members, np.concatenate(parts), backbones.semantic_features([s.semantic for s in members])
        )


def _groups(samples: Iterable[ViewsOfSample]) -> Iterator[list[ViewsOfSample]]:
    """Cut by count and by bytes of the views."""
    group: list[ViewsOfSample] = []
    held = 0
    for sample in samples:
        group.append(sample)
        held += sample.quality.nbytes + sample.semantic.nbytes
        if len(group) >= _BATCH or held >= _BATCH_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group
