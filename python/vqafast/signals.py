"""Ctrl-C and SIGTERM once: what runs is finished first. A second time: stop now."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Context manager that takes both signals; the second one raises KeyboardInterrupt.

    Outside the main thread, where Python hands out no signals, it does nothing.

    Parameters
    ----------
    message : str
        Printed to stderr at the first signal.

    Attributes
    ----------
    received : int or None
        The first signal.
    """

    def __init__(self, message: str = "") -> None:
        self.received: int | None = None
        self._message = message
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.received is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._take) for s in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.received = number
        if self._message:
            print(self._message, file=sys.stderr)
