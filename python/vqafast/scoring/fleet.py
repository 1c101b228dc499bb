"""A process per device: every GPU of a machine scores, and one that dies takes only its videos along."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from vqafast.errors import Cancelled, EngineUnavailable, TooLong, VqafastError
from vqafast.scoring.many import Outcome, outcome_of, run_all
from vqafast.scoring.scorer import Scorer, ScorerOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vqafast.scoring.pipeline import Progress

# Videos that wait in a process, for each that it works on: enough that it never waits for the next.
_AHEAD = 2
_WATCH = 1.0  # seconds between looks for the parent
_PATIENCE = 10.0  # seconds that a process has to end by itself


@dataclass(frozen=True, slots=True)
class Task:
    """A video for a worker.

    Attributes
    ----------
    index : int
    path : str
    asked : dict
        Arguments of `Scorer.assess` beside those for all videos.
    longest : float or None
        Seconds that the video may have.
    """

    index: int
    path: str
    asked: dict[str, Any] = field(default_factory=dict)
    longest: float | None = None


class Process(Protocol):
    """What is asked of a process: `subprocess.Popen`, or one that was forked."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give its exit status; raise when that takes longer."""
        ...


@dataclass(slots=True)
class Worker:
    """A process, the end of its pipe, and the videos that it has and has not answered for.

    It takes ``(options, videos, asked)`` and answers None once it is ready, or the error that kept it from
    that; then it takes a `Task`, and answers with its index when it begins with it and with its `Outcome`,
    or the index of one that nobody waits for any more, whose outcome is then `Cancelled`.
    """

    device: str
    process: Process
    connection: Connection
    held: dict[int, str] = field(default_factory=dict)

    def end(self) -> int:
        """Wait for the process, in the end by force, and give its exit status."""
        self.connection.close()
        try:
            return self.process.wait(_PATIENCE)
        except (subprocess.TimeoutExpired, TimeoutError):
            self.process.kill()
            return self.process.wait()


def assess_on(
    paths: Iterable[str],
    devices: Sequence[str],
    options: ScorerOptions,
    *,
    videos: int,
    **asked: Any,
) -> Iterator[Outcome]:
    """Score `paths` with one process for each of `devices`; yield the outcomes as they come.

    Parameters
    ----------
    paths : iterable of str
        Read as processes become free.
    devices : sequence of str
        As `Scorer` takes them; one may stand there twice.
    options : ScorerOptions
        For the `Scorer` of each process.
    videos : int
        At once in each process.
    **asked
        Further arguments of `Scorer.assess`.

    Raises
    ------
    VqafastError
        What a process raises while it loads the model. A process that dies later costs the videos that
        it had, whose outcomes say so; when all are dead, every other video has such an outcome too.
    """
    workers: list[Worker] = []
    try:
        for device in devices:
            workers.append(start(device))
            _send(workers[-1], ({**options, "device": device}, videos, asked))
        for worker in workers:
            _await_ready(worker)
        yield from _spread(enumerate(paths), workers, _AHEAD * videos)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.end()


def _spread(feed: Iterator[tuple[int, str]], workers: list[Worker], most: int) -> Iterator[Outcome]:
    alive = list(workers)
    exhausted = False
    while alive:
        # In turns, so that a short list is shared by all.
        for room in range(most):
            for worker in alive:
                if len(worker.held) > room or exhausted:
                    continue
                item = next(feed, None)
                exhausted = item is None
                if item is not None:
                    worker.held[item[0]] = item[1]
                    _send(worker, Task(*item))
        if exhausted and not any(worker.held for worker in alive):
            return
        ready = set(wait([w.connection for w in alive if w.held]))
        for worker in [w for w in alive if w.connection in ready]:
            try:
                outcome: Outcome | int = worker.connection.recv()
            except (EOFError, OSError):
                alive.remove(worker)
                yield from _lost(worker)
                continue
            if isinstance(outcome, Outcome):
                del worker.held[outcome.index]
                yield outcome
    for index, path in feed:
        yield _failed(index, path, "no process was left to score it")


def _send(worker: Worker, item: Task | tuple[Any, ...]) -> None:
    # One that has died: the next read of its pipe finds that out and accounts for all it held.
    with contextlib.suppress(OSError):
        worker.connection.send(item)


def _lost(worker: Worker) -> Iterator[Outcome]:
    status = worker.end()
    for index, path in worker.held.items():
        yield _failed(index, path, f"the process of {worker.device} that had it ended with status {status}")
    worker.held.clear()


def _failed(index: int, path: str, why: str) -> Outcome:
    return Outcome(index, path, error=VqafastError(f"{path}: not scored: {why}", path=path))


def start(device: str) -> Worker:
    """Start a process that runs `serve`."""
    ours, theirs = Pipe()
    with theirs:
        process = python(f"from {__name__} import serve; serve({theirs.fileno()})", theirs)
    return Worker(device, process, ours)


def python(code: str, connection: Connection) -> subprocess.Popen[bytes]:
    """Run code in a process of its own, which takes over a connection under the same number."""
    # Not multiprocessing.Process: it would run the caller's main module again.
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        stdin=subprocess.DEVNULL,
        pass_fds=[connection.fileno()],
        # Ctrl-C is for the process that has the terminal, which then ends this one.
        process_group=0,
    )


def _await_ready(worker: Worker) -> None:
    try:
        error = worker.connection.recv()
    except (EOFError, OSError):
        status = worker.end()
        raise EngineUnavailable(
            f"device: the process of {worker.device} ended with status {status} while it loaded the model"
        ) from None
    if error is not None:
        raise error


def serve(descriptor: int) -> None:
    """Score what comes through the pipe until it is closed: the main function of a process."""
    die_with(os.getppid())
    connection: Connection = Connection(descriptor)
    got = loaded(connection)
    if got is not None:
        connection.send(None)
        answer(connection, *got)


def loaded(connection: Connection) -> tuple[Scorer, int, dict[str, Any]] | None:
    """Load the model that the other end names, and say nothing yet; the error instead if that fails."""
    options, videos, asked = connection.recv()
    try:
        return Scorer(**options), videos, asked
    except VqafastError as error:
        connection.send(error)
        return None


def answer(connection: Connection, scorer: Scorer, videos: int, asked: dict[str, Any]) -> None:
    """Score what comes through the pipe until it is closed."""
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    unwanted: set[int] = set()
    turn = threading.Lock()

    def say(item: int | Outcome) -> None:
        # A broken pipe: whoever asked has gone, and this process goes soon.
        with turn, contextlib.suppress(BrokenPipeError):
            connection.send(item)

    def read() -> None:
        for item in _received(connection):
            if isinstance(item, Task):
                tasks.put(item)
            else:
                unwanted.add(item)
        tasks.put(None)

    def work(_: int, task: Task) -> Outcome:
        def look(progress: Progress) -> None:
            if task.index in unwanted:
                raise Cancelled(f"{task.path}: nobody waits for the score any more", path=task.path)
            check_length(task, progress)

        say(task.index)
        try:
            return outcome_of(
                task.index,
                task.path,
                lambda name: scorer.assess(name, **{**asked, **task.asked}, progress=look),
            )
        finally:
            unwanted.discard(task.index)

    threading.Thread(target=read, name="vqafast-tasks", daemon=True).start()
    for outcome in run_all(iter(tasks.get, None), work, videos):
        say(outcome)


def check_length(task: Task, progress: Progress) -> None:
    """Raise `TooLong` for a video that says it is, or is, longer than the task allows."""
    if task.longest is None:
        return
    length = max(progress.pts, progress.duration or 0.0)
    if length > task.longest:
        raise TooLong(
            f"{task.path}: the video must be at most {task.longest:g} s, got {length:.1f} s or more",
            path=task.path,
        )


def die_with(parent: int) -> None:
    """End this process once its parent is gone: a decoder that hangs would never see the closed pipe."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH)
        os._exit(1)

    threading.Thread(target=watch, name="vqafast-watch", daemon=True).start()


def _received(connection: Connection) -> Iterator[Task | int]:
    while True:
        try:
            yield connection.recv()
        except (EOFError, OSError):
            return
