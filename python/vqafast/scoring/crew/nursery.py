"""Worker processes that share one loaded model: forked from a process that has loaded it.

The threads of an inference engine do not survive a fork. One that was loaded for a single thread does its
work in the thread that asks, so nothing is missing in a child; whether that holds on this machine is tried
with a child before any other is made. Children share all pages that they do not write to: the weights.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import sys
import time
import traceback
import warnings
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import TYPE_CHECKING, Any

from vqafast.scoring.crew.worker import Worker, answer, die_with, loaded, python
from vqafast.scoring.trial_clip import trial_clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.scoring.scorer import Scorer, ScorerOptions

# Seconds that the first child has to score a second of video.
_TRIAL = 120.0


def can_share(options: ScorerOptions, devices: Sequence[str]) -> bool:
    """Whether workers on `devices` with these options may be forked from one process.

    One worker alone has nobody to share with.
    """
    return (
        sys.platform == "linux"
        and len(devices) > 1
        and all(device == "cpu" for device in devices)
        and options.get("threads") == 1
        and options.get("engine") in (None, "openvino")
    )


class Child:
    """A forked worker, with what is needed of `subprocess.Popen`.

    Attributes
    ----------
    pid : int
    orphaned : bool
        Whether it ended when the process that it was forked from was gone.
    """

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.orphaned = False
        self._nursery = nursery
        self._status: int | None = None
        # Its number may become another's once the process that it was forked from is gone; this may not.
        self._handle = os.pidfd_open(pid)

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; exit status, or that of SIGKILL when the process it was forked from is gone too.

        Raises
        ------
        TimeoutError
        """
        if self._status is None:
            if not wait([self._handle], timeout):
                raise TimeoutError(f"process {self.pid} must end within {timeout} s, it did not")
            try:
                self._status = self._nursery.status(self.pid)
            except (EOFError, OSError):
                self.orphaned = True
                self._status = -signal.SIGKILL
            os.close(self._handle)
        return self._status


class Nursery:
    """A process that loads a model, and forks.

    Its connection says, once: an error that kept it from loading the model, or whether it can fork. Then
    `fork` may be called.

    Attributes
    ----------
    connection : Connection
    since : float
        When it was started, in seconds of `time.monotonic`.
    ready : bool
        For whom waits for it: whether it may be asked for workers.
    """

    def __init__(self, options: ScorerOptions, videos: int, asked: dict[str, Any]) -> None:
        self.connection, theirs = Pipe()
        self.since, self.ready = time.monotonic(), False
        with theirs:
            self._process = python(f"from {__name__} import nurse; nurse({theirs.fileno()})", theirs)
        with contextlib.suppress(OSError):
            self.connection.send((options, videos, asked))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def fork(self) -> Worker:
        """Make a worker that is ready.

        Raises
        ------
        EOFError, OSError
            When the process is gone.
        """
        ours, theirs = Pipe()
        with theirs:
            self.connection.send("fork")
            send_handle(self.connection, theirs.fileno(), self.pid)
            pid = self.connection.recv()
        return Worker(Child(self, pid), ours)

    def status(self, pid: int) -> int:
        """Exit status of a worker that has ended.

        Raises
        ------
        EOFError, OSError
            When the process is gone.
        """
        self.connection.send(pid)
        status: int = self.connection.recv()
        return status

    def close(self) -> int:
        """End the process, and give its exit status."""
        self.connection.close()
        self._process.kill()
        return self._process.wait()


def nurse(descriptor: int) -> None:
    """Load a model and fork as asked, until the pipe is closed: the main function of a process."""
    die_with(os.getppid())
    _call("vqafast-model")
    connection: Connection = Connection(descriptor)
    got = loaded(connection)
    if got is None:
        return
    gc.collect()
    # What is there now is never looked at by the collector, so that children need no copies of it.
    gc.freeze()
    connection.send(_survives(got[0]))
    while True:
        try:
            asked_for = connection.recv()
            if asked_for == "fork":
                handle = recv_handle(connection)
                connection.send(_forked(connection, handle, *got))
                os.close(handle)
            else:
                connection.send(os.waitstatus_to_exitcode(os.waitpid(asked_for, 0)[1]))
        except (EOFError, OSError):
            return


def _forked(upward: Connection, handle: int, scorer: Scorer, videos: int, asked: dict[str, Any]) -> int:
    parent, pid = os.getpid(), _fork()
    if pid:
        return pid
    status = 1
    try:
        upward.close()
        die_with(parent)
        _call("vqafast-worker")
        connection: Connection = Connection(handle)
        connection.send(None)
        answer(connection, scorer, videos, asked)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # Nothing of the engine is taken down: it would wait for threads that are not there.
        os._exit(status)


def _fork() -> int:
    with warnings.catch_warnings():
        # From Python 3.12 on: that there are threads. Those of the engine are idle, see above.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _survives(scorer: Scorer) -> bool:
    """Whether a child can score, tried with one."""
    pid = _fork()
    if not pid:
        try:
            result = scorer.assess(trial_clip())
            os._exit(not math.isfinite(result.score))
        finally:
            os._exit(1)
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        ended = False
    else:
        ended = bool(wait([handle], _TRIAL))
        os.close(handle)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1] == 0


def _call(name: str) -> None:
    """Give this process a name for people who look at lists of processes."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(name)
