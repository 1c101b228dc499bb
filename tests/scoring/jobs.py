"""What worker processes are given in tests, and what they make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests import clips

from vqafast.scoring.crew.base import Job, Result
from vqafast.scoring.crew.worker import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


def short_clip(folder: Path) -> Path:
    """Two seconds, which take some ten milliseconds to score."""
    path = folder / "clip.mp4"
    clips.encode(path, clips.Clip(frames=48))
    return path


def jobs(path: Path, count: int, meanwhile: Callable[[int], None] = lambda _: None) -> Iterator[Job]:
    """The same file `count` times; `meanwhile` is called with its number before each is given out."""
    for i in range(count):
        meanwhile(i)
        yield Job(Task(i, str(path)))


def scores(results: Iterable[Result | None]) -> list[Any]:
    """Score, or code of the error, in the order of the jobs."""
    found = sorted((r for r in results if r is not None), key=lambda r: r.index)
    outcomes = [r.outcome for r in found]
    return [o.error.code if o.error is not None else o.assessment and o.assessment.score for o in outcomes]
