"""Worker processes that score: a crash, a hang or a leak costs the file that had it, not the batch."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from vqafast.errors import (
    EngineUnavailable,
    InvalidArgument,
    MemoryLimit,
    TimedOut,
    Unsupported,
    VqafastError,
    WorkerDied,
)
from vqafast.scoring.crew.base import LOOK, Crew, Job, Result, given_up
from vqafast.scoring.crew.memory import proportional, resident
from vqafast.scoring.crew.nursery import Child, Nursery, can_share
from vqafast.scoring.crew.worker import DEVICE_LOST, Worker, start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from vqafast.scoring.scorer import ScorerOptions

_log = logging.getLogger(__name__)

# Seconds in which a worker must have loaded the model.
_LOADING = 600.0
# Workers in a row that may die before they are ready.
_STILLBORN = 3
# Workers of a file that may end for another's fault before its own is suspected.
_EXCUSED = 3


@dataclass(slots=True)
class _Held:
    job: Job
    begun: float
    # Whether the worker has said so: one that died before did not die of it.
    tried: bool = False


@dataclass(slots=True)
class _Seat:
    """A place for a worker, which may be taken by one after the other."""

    device: str
    worker: Worker | None = None
    ready: bool = False
    since: float = 0.0
    # When it said something, or was given something to do while it had nothing.
    heard: float = 0.0
    held: dict[int, _Held] = field(default_factory=dict)


class Pool(Crew):
    """Processes that each hold a loaded model, on CPUs one that they share; open it with ``with``.

    Parameters
    ----------
    options : ScorerOptions
        Of the `Scorer` in each process.
    devices : sequence of str
        One process for each, as `Scorer` takes them.
    videos : int
        At once in a process.
    ahead : int
        Videos that wait in a process, so that it goes on while the caller does something else.
    timeout : float or None
        Seconds that a file may take. A worker that takes longer is killed, and its record says "timeout".
    memory : int or None
        Bytes that a worker may hold (resident). One that grows beyond is killed: "memory_limit".
    attempts : int
        How many workers may die of a file before its record says "worker_died". It is tried alone then.
    asked : dict
        Further arguments of `Scorer.assess`.
    wake : Connection, optional
        Bytes that come through it end a wait: there is another job, or something else to see to.

    Raises
    ------
    InvalidArgument
    Unsupported
        For a memory limit where /proc does not say what a process holds.
    """

    def __init__(
        self,
        options: ScorerOptions,
        devices: Sequence[str],
        *,
        videos: int = 1,
        ahead: int = 0,
        timeout: float | None = None,
        memory: int | None = None,
        attempts: int = 2,
        asked: dict[str, Any] | None = None,
        wake: Connection | None = None,
    ) -> None:
        if not devices or videos < 1 or attempts < 1:
            raise InvalidArgument(
                "batch: workers, videos and attempts must be at least 1, "
                f"got {len(devices)}, {videos}, {attempts}"
            )
        if timeout is not None and not timeout > 0:
            raise InvalidArgument(f"batch: timeout must be above 0 s, got {timeout}")
        if memory is not None and resident(os.getpid()) is None:
            raise Unsupported("batch: a memory limit needs /proc, which this system does not have")
        super().__init__()
        self._options, self._videos, self._ahead = options, videos, ahead
        self._timeout, self._memory, self._attempts = timeout, memory, attempts
        self._asked = asked or {}
        self._wake = wake
        self._seats = [_Seat(device) for device in devices]
        self._stillborn = 0
        self._shares = can_share(options, devices)
        self._nursery: Nursery | None = None

    def close(self) -> None:
        """See `Crew`."""
        for seat in self._seats:
            self._kill(seat)
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def _fill(self, jobs: Iterator[Job | None]) -> bool:
        # In turns, so that a few files are shared by all.
        for room in range(self._videos + self._ahead):
            for seat in self._seats:
                if not seat.ready or len(seat.held) != room or self._busy_alone(seat):
                    continue
                if self._again:
                    # One that has killed a worker is tried without company, to know whom to blame.
                    if not seat.held:
                        self._give(seat, self._again.popleft())
                    continue
                try:
                    job = next(jobs)
                except StopIteration:
                    return True
                if job is None:
                    return False
                self._give(seat, job)
        return False

    @property
    def ready(self) -> int:
        """Workers that have loaded the model."""
        return sum(seat.ready for seat in self._seats)

    @property
    def held(self) -> int:
        """Bytes that all workers have in memory, what they share counted once, as far as the system says."""
        nursery = self._nursery
        pids = [worker.process.pid for seat in self._seats if (worker := seat.worker) is not None]
        pids += [] if nursery is None else [nursery.pid]
        return sum(proportional(pid) or 0 for pid in pids)

    def cancel(self, index: int) -> None:
        """Let a job end as `Cancelled`, soon if a worker has it; the caller is the thread that runs."""
        for seat in self._seats:
            if index in seat.held and seat.worker is not None:
                with contextlib.suppress(OSError):
                    seat.worker.connection.send(index)

    def _busy(self) -> bool:
        return any(seat.held for seat in self._seats)

    @staticmethod
    def _busy_alone(seat: _Seat) -> bool:
        return any(held.job.attempts > 1 for held in seat.held.values())

    def _give(self, seat: _Seat, job: Job) -> None:
        assert seat.worker is not None
        job.attempts += 1
        if not seat.held:
            seat.heard = time.monotonic()
        seat.held[job.task.index] = _Held(job, time.monotonic())
        # A worker that has just died: the next read of its pipe finds that out.
        with contextlib.suppress(OSError):
            seat.worker.connection.send(job.task)

    def _start_missing(self) -> None:
        if self._shares and self._nursery is None:
            self._nursery = Nursery({**self._options, "device": "cpu"}, self._videos, self._asked)
        if self._nursery is not None and not self._nursery.ready:
            return
        for seat in self._seats:
            if seat.worker is not None:
                continue
            seat.ready, seat.since = False, time.monotonic()
            if self._nursery is not None:
                try:
                    seat.worker = self._nursery.fork()
                except (EOFError, OSError):
                    # `_turn` sees its end too.
                    return
                self.started += 1
            else:
                seat.worker = start()
                self.started += 1
                with contextlib.suppress(OSError):
                    seat.worker.connection.send(
                        ({**self._options, "device": seat.device}, self._videos, self._asked)
                    )

    def _turn(self) -> Iterator[Result]:
        by_connection = {seat.worker.connection: seat for seat in self._seats if seat.worker is not None}
        others = [] if self._wake is None else [self._wake]
        nursery = self._nursery
        if nursery is not None:
            others.append(nursery.connection)
        came = wait([*by_connection, *others], LOOK)
        for connection in came:
            if connection is self._wake:
                self._wake.recv_bytes()
            if connection not in by_connection:
                continue
            seat = by_connection[connection]
            try:
                got: Any = connection.recv()
            except (EOFError, OSError):
                yield from self._died(seat)
                continue
            seat.heard = time.monotonic()
            if not seat.ready:
                if got is not None:
                    raise got
                seat.ready, self._stillborn = True, 0
                continue
            if isinstance(got, int):
                if got in seat.held:
                    seat.held[got].begun, seat.held[got].tried = time.monotonic(), True
                continue
            held = seat.held.pop(got.index, None)
            if held is not None:
                yield Result(got.index, got, held.job.attempts, time.monotonic() - held.begun)
        # Behind the results: its end is that of its workers.
        if nursery is not None and nursery.connection in came:
            yield from self._nursery_says(nursery)
        now = time.monotonic()
        if nursery is not None and not nursery.ready and now - nursery.since > _LOADING:
            raise self._slow("cpu")
        for seat in self._seats:
            yield from self._checked(seat, now)

    def _nursery_says(self, nursery: Nursery) -> Iterator[Result]:
        try:
            got: Any = nursery.connection.recv()
        except (EOFError, OSError):
            yield from self._end_nursery(nursery)
            return
        if isinstance(got, VqafastError):
            raise got
        nursery.ready = True
        if not got:
            _log.warning("workers cannot be forked on this machine: each of them loads the model itself")
            nursery.close()
            self._nursery, self._shares = None, False

    def _end_nursery(self, nursery: Nursery) -> Iterator[Result]:
        """Put up with its loss: its workers, which would end too, have to be made again."""
        for seat in self._seats:
            self._kill(seat)
        status = nursery.close()
        for seat in self._seats:
            yield from self._lost(seat, status, blame=False)
        self._nursery = None
        self._count_stillborn("cpu", status)

    @staticmethod
    def _slow(device: str) -> EngineUnavailable:
        return EngineUnavailable(
            f"device: a process of {device} must load the model within {_LOADING:g} s, it did not"
        )

    def _count_stillborn(self, device: str, status: int) -> None:
        self._stillborn += 1
        if self._stillborn >= _STILLBORN:
            raise EngineUnavailable(
                f"device: the process of {device} ended with {_status(status)} while it loaded the model"
            )

    def _checked(self, seat: _Seat, now: float) -> Iterator[Result]:
        """Kill a worker that takes too long or too much."""
        if seat.worker is None:
            return
        if not seat.ready:
            if now - seat.since > _LOADING:
                self._kill(seat)
                raise self._slow(seat.device)
            return
        tried = [held for held in seat.held.values() if held.tried]
        if self._timeout is not None:
            late = [held for held in tried if now - held.begun > self._timeout]
            # It was given something and does not begin.
            stuck = bool(seat.held) and not tried and now - seat.heard > self._timeout
            for held in late:
                del seat.held[held.job.task.index]
                message = f"must be scored within {self._timeout:g} s, it was not"
                yield given_up(held.job, TimedOut, message, now - held.begun)
            if late or stuck:
                self._kill(seat)
                yield from self._lost(seat, -signal.SIGKILL, blame=False)
                return
        size = None if self._memory is None or not seat.held else resident(seat.worker.process.pid)
        if size is not None and self._memory is not None and size > self._memory:
            self._kill(seat)
            if len(tried) == 1:
                (held,) = tried
                del seat.held[held.job.task.index]
                message = (
                    f"must be scored in {self._memory / 1e6:.0f} MB, its process held {size / 1e6:.0f} MB"
                )
                yield given_up(held.job, MemoryLimit, message, now - held.begun)
            yield from self._lost(seat, -signal.SIGKILL, blame=True)

    def _died(self, seat: _Seat) -> Iterator[Result]:
        assert seat.worker is not None
        status, was_ready = seat.worker.end(), seat.ready
        orphaned = isinstance(seat.worker.process, Child) and seat.worker.process.orphaned
        seat.worker, seat.ready = None, False
        if was_ready:
            yield from self._lost(seat, status, blame=not orphaned)
        elif not orphaned:
            self._count_stillborn(seat.device, status)

    def _lost(self, seat: _Seat, status: int, *, blame: bool) -> Iterator[Result]:
        """Put back what a worker had, or give up what enough workers have died of.

        Without blame the attempt does not count, a few times: a file may be why its company is killed, or
        why memory ends, without being seen to be.
        """
        lost, seat.held = seat.held, {}
        alone = sum(held.tried for held in lost.values()) < 2
        for held in lost.values():
            job = held.job
            excused = not (blame and held.tried) and job.excused < _EXCUSED
            job.excused += excused
            job.attempts -= excused
            if not alone or excused or job.attempts < self._attempts:
                self._again.append(job)
            else:
                message = f"its process ended with {_status(status)}, {job.attempts} times"
                yield given_up(job, WorkerDied, message, time.monotonic() - held.begun)

    @staticmethod
    def _kill(seat: _Seat) -> None:
        if seat.worker is not None:
            seat.worker.process.kill()
            seat.worker.end()
            seat.worker, seat.ready = None, False


def _status(status: int) -> str:
    if status >= 0:
        return f"status {status}" + (" (its GPU was lost)" if status == DEVICE_LOST else "")
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
