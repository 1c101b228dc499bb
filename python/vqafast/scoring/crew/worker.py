"""A process that scores what comes through a pipe, and how one is started."""

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
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

from vqafast.errors import Cancelled, TooLong, VqafastError
from vqafast.scoring.many import Outcome, outcome_of, run_all
from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vqafast.scoring.pipeline import Progress

DEVICE_LOST = 75  # exit status
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


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, and the end of its pipe.

    It takes ``(options, videos, asked)`` and answers None once it is ready, or the error that kept it from
    that; then it takes a `Task`, and answers with its index when it begins with it and with its `Outcome`,
    or the index of one that nobody waits for any more, whose outcome is then `Cancelled`.
    """

    process: Process
    connection: Connection

    def end(self) -> int:
        """Wait for the process, in the end by force, and give its exit status."""
        self.connection.close()
        try:
            return self.process.wait(_PATIENCE)
        except (subprocess.TimeoutExpired, TimeoutError):
            self.process.kill()
            return self.process.wait()


def start() -> Worker:
    """Start a process that runs `serve`."""
    ours, theirs = Pipe()
    with theirs:
        process = python(f"from {__name__} import serve; serve({theirs.fileno()})", theirs)
    return Worker(process, ours)


def python(code: str, connection: Connection) -> subprocess.Popen[bytes]:
    """Run code in a process of its own, which takes over a connection under the same number."""
    # What a .pth file does would come on top of the path, which is given.
    without_site = ["-S"] if sys.flags.no_site else []
    # Not multiprocessing.Process: it would run the caller's main module again.
    return subprocess.Popen(
        [sys.executable, *without_site, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        stdin=subprocess.DEVNULL,
        pass_fds=[connection.fileno()],
        # Ctrl-C is for the process that has the terminal, which then ends this one.
        process_group=0,
    )


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
            outcome = outcome_of(
                task.index,
                task.path,
                lambda name: scorer.assess(name, **{**asked, **task.asked}, progress=look),
            )
        finally:
            unwanted.discard(task.index)
        end_if_lost(scorer, outcome)
        return outcome

    threading.Thread(target=read, name="vqafast-tasks", daemon=True).start()
    for outcome in run_all(iter(tasks.get, None), work, videos):
        say(outcome)


def end_if_lost(scorer: Scorer, outcome: Outcome) -> None:
    """End this process when an error left it without its device, before it says so of a video.

    Nothing else could be scored here. Whoever gave the videos to this process gives them to the next one,
    and knows what to think of one that this happens with again.
    """
    if outcome.error is None:
        return
    try:
        reason: str | None = scorer.device_failure()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    if reason is None:
        return
    # Nobody may be reading it any more.
    with contextlib.suppress(OSError, ValueError):
        print(f"{outcome.path!r}: {outcome.error}; ending: {reason}", file=sys.stderr, flush=True)
    os._exit(DEVICE_LOST)


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
