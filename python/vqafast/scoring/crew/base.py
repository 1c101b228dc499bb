"""What batches and the service ask of workers, wherever they are: jobs in, one result out for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vqafast.scoring.many import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vqafast.errors import VqafastError
    from vqafast.scoring.crew.worker import Task

#: Seconds between looks at deadlines and memory.
LOOK = 0.25


@dataclass(slots=True)
class Job:
    """A file to score.

    Attributes
    ----------
    task : Task
    attempts : int
        Workers that have tried it, those not counted that ended for another's fault.
    excused : int
        Workers that had it and are not counted.
    """

    task: Task
    attempts: int = 0
    excused: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job; `seconds` are those of the last attempt."""

    index: int
    outcome: Outcome
    attempts: int
    seconds: float


class Crew(ABC):
    """Workers that each hold a loaded model; open it with ``with``.

    Attributes
    ----------
    started : int
        Workers that had to be started, the first ones included.
    """

    def __init__(self) -> None:
        # What a worker had when it was lost.
        self._again: deque[Job] = deque()
        self.started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End all workers; what they have is not answered for."""

    def run(
        self, jobs: Iterator[Job | None], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Result | None]:
        """Yield a result for each job as it comes.

        Jobs are taken as workers become free: as many are under way as workers have room for.

        Parameters
        ----------
        jobs : iterator
            None where there is no job now, and may be one later.
        stopping : callable
            Once it is true no job is taken any more, and those under way end the iteration.

        Yields
        ------
        Result or None
            None when nothing came for a while, so that the caller may look around.

        Raises
        ------
        VqafastError
            What a worker raises while it loads the model.
        """
        exhausted = False
        while True:
            self._start_missing()
            if not stopping():
                exhausted = self._fill(iter(()) if exhausted else jobs) or exhausted
            if not self._busy() and (stopping() or (exhausted and not self._again)):
                return
            came = False
            for result in self._turn():
                came = True
                yield result
            if not came:
                yield None

    @abstractmethod
    def _start_missing(self) -> None:
        """Start a worker where one is gone."""

    @abstractmethod
    def _fill(self, jobs: Iterator[Job | None]) -> bool:
        """Give jobs to workers with room, those of `_again` first; True when `jobs` has no more."""

    @abstractmethod
    def _busy(self) -> bool:
        """Whether a worker has a job."""

    @abstractmethod
    def _turn(self) -> Iterator[Result]:
        """Wait up to `LOOK` seconds for answers; then see to deadlines."""


def given_up(job: Job, kind: type[VqafastError], message: str, seconds: float) -> Result:
    """A failure that is the worker's and not an answer of it."""
    task = job.task
    error = kind(f"{task.path}: {message}", path=task.path)
    return Result(task.index, Outcome(task.index, task.path, error=error), job.attempts, seconds)
