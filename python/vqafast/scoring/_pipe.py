"""Reading a pipe in a thread that another thread can call off."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
from typing import Any, BinaryIO


class CancellableReader(io.RawIOBase):
    """Raw reader over the descriptor of a pipe, socket or terminal; `cancel` makes it end.

    A thread blocked in a plain ``read`` on a pipe whose writer has stalled cannot be woken, so
    Ctrl-C would hang. This one waits for either data or the cancellation.

    Parameters
    ----------
    fd : int
        Descriptor to read. It stays open when this reader is closed: its owner closes it.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._wake_read, self._wake_write = os.pipe()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with what is there; 0 at the end or after `cancel`."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if self._wake_read in ready:
            return 0
        return os.readv(self._fd, [buffer])

    def cancel(self) -> None:
        """Make the present and every later read end. May be called from any thread, repeatedly."""
        if not self.closed:
            os.write(self._wake_write, b"x")

    def close(self) -> None:
        """Release the wake-up pipe."""
        if not self.closed:
            super().close()
            os.close(self._wake_read)
            os.close(self._wake_write)


def cancellable(stream: BinaryIO) -> CancellableReader | None:
    """Return a `CancellableReader` if a read of `stream` may wait for somebody else, else None.

    Only descriptors qualify from whose buffer nothing has been read yet; the caller must not read
    from `stream` afterwards.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):
        fd = stream.fileno()
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode):
            return CancellableReader(fd)
    return None
