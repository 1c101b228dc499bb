"""`vqafast.score` and `vqafast.assess`: one call, with models kept loaded between calls."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

from vqafast.engines.cuda_driver import probe
from vqafast.scoring.crew.base import Job
from vqafast.scoring.crew.pool import Pool
from vqafast.scoring.crew.worker import Task
from vqafast.scoring.devices import cuda_obstacle
from vqafast.scoring.pooling import check_options
from vqafast.scoring.scorer import Scorer, ScorerOptions, videos_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vqafast.scoring.assessment import Assessment
    from vqafast.scoring.many import Outcome
    from vqafast.scoring.pipeline import Progress
    from vqafast.scoring.scorer import DisplayLike
    from vqafast.scoring.segments import Window

_scorers: dict[tuple[Any, ...], Scorer] = {}
_lock = threading.Lock()


def score(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    pooling: str | None = None,
    display: DisplayLike | None = None,
    **options: Unpack[ScorerOptions],
) -> float:
    """Score a video.

    Parameters
    ----------
    path : path or binary file object
        See `Scorer.assess`.
    pooling : str, optional
        See `vqafast.scoring.pooling`; the model's own if not given.
    display : (width, height), optional
        Score the video as scaled to a display of so many pixels; without it at its own resolution.
    **options
        Arguments of `Scorer`. The first call with given options loads the model, later ones
        reuse it.

    Returns
    -------
    float
        On the model's scale, for the embedded default 0..100, higher is better.

    Raises
    ------
    VqafastError
        When the file cannot be scored; ``code`` says why.
    """
    return assess(path, pooling=pooling, display=display, **options).score


def assess(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    pooling: str | None = None,
    window: Window | None = None,
    progress: Callable[[Progress], None] | None = None,
    display: DisplayLike | None = None,
    maps: bool = False,
    **options: Unpack[ScorerOptions],
) -> Assessment:
    """Score a video and say everything about it; see `Scorer.assess` and `score`."""
    return _scorer(options).assess(
        path, pooling=pooling, window=window, progress=progress, display=display, maps=maps
    )


def assess_many(
    paths: Iterable[str | os.PathLike[str]],
    *,
    videos: int | None = None,
    pooling: str | None = None,
    window: Window | None = None,
    display: DisplayLike | None = None,
    **options: Unpack[ScorerOptions],
) -> Iterator[Outcome]:
    """Score many videos and yield an `Outcome` for each as it comes; see `Scorer.assess_many`.

    With ``device="cuda"`` or ``"auto"`` every GPU of the machine is used, each by a process of its own.
    ``"cuda:N"`` uses that one, in this process. A process that dies is replaced; the file that two died of
    has an outcome with code "worker_died".
    """
    device = options.get("device", "cpu")
    if device in ("cuda", "auto") and cuda_obstacle() is None and len(probe().gpus) > 1:
        check_options("mean" if pooling is None else pooling, window)
        devices = [f"cuda:{gpu.index}" for gpu in probe().gpus]
        names = (os.fspath(path) for path in paths)
        asked = {"pooling": pooling, "window": window, "display": display}
        return _assess_on(names, devices, options, videos_at_once(videos, on_gpu=True), asked)
    return _scorer(options).assess_many(paths, videos=videos, pooling=pooling, window=window, display=display)


def _assess_on(
    paths: Iterable[str], devices: list[str], options: ScorerOptions, videos: int, asked: dict[str, Any]
) -> Iterator[Outcome]:
    """Score `paths` with a process for each of `devices`."""
    with Pool(options, devices, videos=videos, ahead=videos, asked=asked) as pool:
        for result in pool.run(Job(Task(index, path)) for index, path in enumerate(paths)):
            if result is not None:
                yield result.outcome


def _scorer(options: ScorerOptions) -> Scorer:
    # The threads of an engine do not survive a fork, so a child loads its own.
    key = (os.getpid(), *sorted((name, str(value)) for name, value in options.items()))
    with _lock:
        if key not in _scorers:
            _scorers[key] = Scorer(**options)
        return _scorers[key]
