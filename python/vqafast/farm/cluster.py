"""Workers on a Ray cluster: an actor for each share of CPUs or each GPU, on whatever node has it.

It does for a cluster what `pool.Pool` does for one machine, and `batch` uses either. Ray starts an actor
again, on another node if its own is gone; what it had is scored again. Files must be under the same path on
all nodes, and vqafast installed there in the same version.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vqafast.errors import EngineUnavailable, InvalidArgument, TimedOut, WorkerDied
from vqafast.scoring.crew.base import LOOK, Crew, Job, Result, given_up
from vqafast.scoring.crew.worker import Task, check_length, end_if_lost
from vqafast.scoring.many import Outcome, outcome_of
from vqafast.scoring.scorer import Scorer, ScorerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds in which a cluster must answer.
_CONNECT = 5.0


class _Actor:
    """A loaded model on some node."""

    def __init__(self, options: ScorerOptions, asked: dict[str, Any]) -> None:
        self._asked = asked
        self._error: Exception | None = None
        try:
            self._scorer = Scorer(**options)
        except Exception as error:
            # An error of the constructor would reach the caller as text; this one arrives as it is.
            self._error = error

    def ready(self) -> Exception | None:
        return self._error

    def score(self, task: Task) -> Outcome:
        asked = {**self._asked, **task.asked, "progress": lambda at: check_length(task, at)}
        outcome = outcome_of(task.index, task.path, lambda name: self._scorer.assess(name, **asked))
        end_if_lost(self._scorer, outcome)
        return outcome


@dataclass(slots=True)
class _Seat:
    actor: Any
    job: Job | None = None
    begun: float = 0.0
    ready: bool = False
    # Answers that are awaited: of the job, or that the model is loaded.
    awaited: list[Any] = field(default_factory=list)


class RayPool(Crew):
    """Actors that each hold a loaded model; open it with ``with``.

    Parameters
    ----------
    options, asked, timeout, attempts
        See `Pool`. The loss of a node counts as an attempt of what its actors had.
    address : str
        Of the cluster as `ray.init` takes it; "auto" is the one that this machine belongs to, "local" starts
        one on this machine alone.
    workers : int
        Actors; 0 is as many as the cluster has room for.

    Raises
    ------
    EngineUnavailable
        Without Ray, without a cluster at the address, and for a cluster that has not what one actor needs.
    """

    def __init__(
        self,
        options: ScorerOptions,
        *,
        address: str = "auto",
        workers: int = 0,
        timeout: float | None = None,
        attempts: int = 3,
        asked: dict[str, Any] | None = None,
    ) -> None:
        if workers < 0 or attempts < 1 or (timeout is not None and not timeout > 0):
            raise InvalidArgument(
                "batch: workers >= 0, attempts >= 1 and timeout > 0 must hold, "
                f"got {workers}, {attempts}, {timeout}"
            )
        super().__init__()
        self._options, self._asked = options, asked or {}
        self._timeout, self._attempts = timeout, attempts
        self._ray, self._mine = _connected(address)
        try:
            needs, room = _room(self._ray, options)
            self.started = count = workers or room
            remote = self._ray.remote(
                max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD", **needs
            )(_Actor)
            self._seats = [_Seat(remote.remote(options, self._asked)) for _ in range(count)]
        except BaseException:
            self._disconnect()
            raise
        for seat in self._seats:
            self._await_ready(seat)

    def close(self) -> None:
        """See `Crew`."""
        for seat in self._seats:
            self._ray.kill(seat.actor)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._mine:
            self._ray.shutdown()

    def _start_missing(self) -> None:
        """Nothing: Ray does that itself."""

    def _fill(self, jobs: Iterator[Job | None]) -> bool:
        for seat in self._seats:
            if not seat.ready or seat.job is not None:
                continue
            try:
                job = self._again.popleft() if self._again else next(jobs)
            except StopIteration:
                return True
            if job is None:
                return False
            job.attempts += 1
            seat.job, seat.begun = job, time.monotonic()
            seat.awaited = [seat.actor.score.remote(job.task)]
        return False

    def _busy(self) -> bool:
        return any(seat.job is not None for seat in self._seats)

    def _await_ready(self, seat: _Seat) -> None:
        seat.job, seat.ready, seat.awaited = None, False, [seat.actor.ready.remote()]

    def _turn(self) -> Iterator[Result]:
        from ray.exceptions import RayActorError

        seats = {ref: seat for seat in self._seats for ref in seat.awaited}
        done, _ = self._ray.wait(list(seats), num_returns=1, timeout=LOOK)
        for ref in done:
            seat = seats[ref]
            try:
                got = self._ray.get(ref)
            except RayActorError as error:
                yield from self._died(seat, error)
                continue
            if seat.job is None:
                if got is not None:
                    raise got
                seat.ready, seat.awaited = True, []
                continue
            job, seat.job, seat.awaited = seat.job, None, []
            yield Result(job.task.index, got, job.attempts, time.monotonic() - seat.begun)
        yield from self._late()

    def _died(self, seat: _Seat, error: Exception) -> Iterator[Result]:
        job = seat.job
        if job is not None and job.attempts >= self._attempts:
            said = str(error).strip().splitlines()[0]
            message = f"its actor died, {job.attempts} times: {said}"
            yield given_up(job, WorkerDied, message, time.monotonic() - seat.begun)
        elif job is not None:
            self._again.append(job)
        self._await_ready(seat)

    def _late(self) -> Iterator[Result]:
        now = time.monotonic()
        for seat in self._seats:
            if self._timeout is not None and seat.job is not None and now - seat.begun > self._timeout:
                job = seat.job
                # Ray starts it again; the next answer of this seat is that the model is loaded.
                self._ray.kill(seat.actor, no_restart=False)
                message = f"must be scored within {self._timeout:g} s, it was not"
                yield given_up(job, TimedOut, message, now - seat.begun)
                self._await_ready(seat)


def _connected(address: str) -> tuple[Any, bool]:
    """Ray, connected to a cluster; and whether this process has to disconnect."""
    try:
        import ray
    except ImportError as error:
        raise EngineUnavailable(f"batch: --ray needs Ray: pip install 'vqafast[ray]': {error}") from error
    if ray.is_initialized():
        return ray, False
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        _answers(address)
        with _signals_kept():
            if address == "local":
                ray.init(include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        # Its parts are Ray's, and which of them does not answer decides what is raised.
        raise EngineUnavailable(
            f"batch: there must be a Ray cluster at {address!r}, got none; `ray start --head` begins one, "
            f"and --ray local uses this machine alone: {error}"
        ) from error
    return ray, True


def _answers(address: str) -> None:
    """Raise OSError for HOST:PORT where nobody listens: Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep who takes SIGTERM: Ray would, and end the process."""
    old = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # Only the main thread may, and only there does Ray.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, old)


def _room(ray: Any, options: ScorerOptions) -> tuple[dict[str, float], int]:
    """What one actor needs, and for how many the cluster has room."""
    needs: dict[str, float] = {"num_cpus": max(1, options.get("threads", 0))}
    if options.get("device", "cpu").startswith("cuda"):
        needs["num_gpus"] = 1
    has = ray.cluster_resources()
    rooms = []
    for name, wanted in (("CPU", needs["num_cpus"]), ("GPU", needs.get("num_gpus", 0))):
        if wanted:
            # A node must have it all: an actor is not spread over nodes.
            nodes = [n["Resources"].get(name, 0) for n in ray.nodes() if n["Alive"]]
            rooms.append(sum(int(amount // wanted) for amount in nodes))
            if not rooms[-1]:
                raise EngineUnavailable(
                    f"batch: one node of the cluster must have {wanted:g} {name}, got "
                    f"{has.get(name, 0):g} in all; an actor that waits for them would wait for ever"
                )
    return needs, min(rooms)
