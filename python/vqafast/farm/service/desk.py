"""Between requests, in an event loop, and the processes that score, which a thread leads."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import deque
from multiprocessing import Pipe
from typing import TYPE_CHECKING, Any

from vqafast.errors import Cancelled
from vqafast.farm.service.errors import Busy, Stopping
from vqafast.scoring.crew.base import Job
from vqafast.scoring.crew.worker import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from vqafast.scoring.crew.base import Result
    from vqafast.scoring.crew.pool import Pool


class Desk:
    """Takes tasks as long as there is a place for them, and gives each its outcome.

    All but the thread's own part belongs to the event loop in which `open` was called.

    Parameters
    ----------
    make : callable
        Makes the pool, given what wakes it. Called in the thread.
    places : int
        Requests at once: those that are received, those that wait and those under way.
    failed : callable
        Called in the event loop, once, when the workers cannot go on.
    """

    def __init__(self, make: Callable[[Connection], Pool], places: int, failed: Callable[[], None]) -> None:
        self._make, self._places, self._failed = make, places, failed
        self._taken = 0
        self._numbers = itertools.count()
        self._futures: dict[int, asyncio.Future[Result]] = {}
        # Shared with the thread; single operations on them are atomic.
        self._tasks: deque[Task] = deque()
        self._under_way: set[int] = set()
        self._left: set[int] = set()
        self._closing = self._abandoned = False
        self._ear, self._bell = Pipe(duplex=False)
        self._pool: Pool | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._lead, name="vqafast-desk", daemon=True)

    async def open(self) -> None:
        """Start the workers, and wait until one has loaded the model.

        Raises
        ------
        VqafastError
            What a worker raises while it loads the model.
        """
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._thread.start()
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """End the workers; what they still have is given up."""
        self._closing = True
        # What is still under way, nobody waits for: requests that were not given up are done by now.
        self._abandoned = bool(self._futures or self._under_way)
        self._ring()
        await asyncio.to_thread(self._thread.join)

    @property
    def waiting(self) -> int:
        """Requests for which no worker was free yet."""
        return len(self._tasks)

    @property
    def under_way(self) -> int:
        """Requests that a worker has."""
        return len(self._under_way)

    @property
    def pool(self) -> Pool | None:
        """The workers, once they were started."""
        return self._pool

    @property
    def healthy(self) -> bool:
        """Whether scores can be had."""
        return self._error is None and not self._closing

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for a request.

        Raises
        ------
        Busy
            When there is none.
        Stopping
            When the service ends.
        """
        if not self.healthy:
            raise Stopping("the service ends, try another one")
        if self._taken >= self._places:
            raise Busy(f"{self._places} requests are waiting or under way, no more are taken; try again")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def result(self, path: str, asked: dict[str, Any], longest: float | None) -> Result:
        """Wait for the outcome of a file; a place must be held. A wait that is cancelled ends the work."""
        number = next(self._numbers)
        future: asyncio.Future[Result] = self._loop.create_future()
        self._futures[number] = future
        self._tasks.append(Task(number, path, asked, longest))
        self._ring()
        try:
            return await future
        except asyncio.CancelledError:
            self._left.add(number)
            self._ring()
            raise
        finally:
            del self._futures[number]

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._bell.send_bytes(b"!")

    def _deliver(self, result: Result) -> None:
        future = self._futures.get(result.index)
        if future is not None and not future.done():
            future.set_result(result)

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        for future in self._futures.values():
            if not future.done():
                future.set_exception(Stopping("the service ends, try another one"))
        if error is not None and self._ready.is_set():
            self._failed()
        self._ready.set()

    # What follows runs in the thread.

    def _lead(self) -> None:
        error: BaseException | None = None
        try:
            with self._make(self._ear) as pool:
                self._pool = pool
                told: set[int] = set()
                for result in pool.run(self._jobs()):
                    if pool.ready:
                        self._loop.call_soon_threadsafe(self._ready.set)
                    if result is not None:
                        self._under_way.discard(result.index)
                        self._left.discard(result.index)
                        told.discard(result.index)
                        self._loop.call_soon_threadsafe(self._deliver, result)
                    for number in (self._left & self._under_way) - told:
                        told.add(number)
                        pool.cancel(number)
                    if self._abandoned:
                        break
        except BaseException as caught:
            error = caught
        # The loop may have ended: then nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, error)

    def _jobs(self) -> Iterator[Job | None]:
        while not (self._closing and not self._tasks):
            if not self._tasks:
                yield None
                continue
            task = self._tasks.popleft()
            if task.index in self._left:
                self._left.discard(task.index)
                continue
            self._under_way.add(task.index)
            yield Job(task)


async def unless_left(work: asyncio.Task[Result], left: asyncio.Task[None]) -> Result:
    """Wait for `work`, and give it up when `left` is done first.

    Raises
    ------
    Cancelled
    """
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Cancelled("nobody waits for the score any more")
        return work.result()
    finally:
        for task in (work, left):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
