"""A queue between two threads that is bounded in items and bytes and carries the end and errors."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class ChannelClosedError(Exception):
    """The reader has gone: whoever is still putting should stop."""


class Channel(Generic[T]):
    """One writer, one reader.

    Parameters
    ----------
    max_items : int
        Items that may wait.
    max_bytes : int
        Bytes that may wait, by the sizes given to `put`. A single item may be larger: it then
        waits alone, so that no item can block for ever.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._done = False
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self.peak_items = 0

    def put(self, item: T, size: int = 0) -> None:
        """Wait for room, then add `item`; `ChannelClosedError` once the reader has closed."""
        with self._changed:
            while not self._closed and self._full(size):
                self._changed.wait()
            if self._closed:
                raise ChannelClosedError
            self._items.append((item, size))
            self._bytes += size
            self.peak_items = max(self.peak_items, len(self._items))
            self._changed.notify_all()

    def _full(self, size: int) -> bool:
        if not self._items:
            return False
        return len(self._items) >= self._max_items or self._bytes + size > self._max_bytes

    def finish(self, error: BaseException | None = None) -> None:
        """No more items will come; `error` reaches the reader after the items before it."""
        with self._changed:
            self._done = True
            self._error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what waits and release a writer that is waiting; for the reader to call."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Items in order until the writer finishes; raises the writer's error at its place."""
        while True:
            with self._changed:
                while not self._items and not self._done:
                    self._changed.wait()
                if not self._items:
                    # The error's traceback leads to this channel and to this call: neither may hold the
                    # error, or the writer's variables, decoded pictures among them, wait for the collector.
                    error, self._error = self._error, None
                    if error is None:
                        return
                    try:
                        raise error
                    finally:
                        del error
                item, size = self._items.popleft()
                self._bytes -= size
                self._changed.notify_all()
            yield item
