"""The only import of tensorrt, and what must be known to live with its objects."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from typing import Any

from vqafast.errors import EngineUnavailable

_MESSAGES = 20

_collectors: list[tuple[Any, Any]] = []
_making = threading.Lock()


def library() -> Any:
    """Import tensorrt. Only after `cuda_driver.probe` found a GPU; else `EngineUnavailable` is due.

    Raises
    ------
    EngineUnavailable
        When it cannot be imported.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as e:
        raise EngineUnavailable(f"tensorrt cannot be imported: {e}; pip install 'vqafast[tensorrt]'") from e
    return tensorrt


def collector(trt: Any) -> Any:
    """Give the ILogger that keeps the last warnings and errors of each thread, instead of printing them.

    `last()` gives this thread's as one string, errors only where there are any, and forgets them;
    `failed()` says whether there are errors. What TensorRT logs in threads of its own is told to whoever
    asks first.

    There is one, which lives as long as the process: TensorRT keeps the first logger that it is given,
    and tells it what concerns the objects of all others.
    """
    with _making:
        for module, made in _collectors:
            if module is trt:
                return made
        made = _collector(trt)
        # One reference more than there are: TensorRT may still log when Python frees its modules.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        _collectors.append((trt, made))
        return made


def _collector(trt: Any) -> Any:
    base = trt.ILogger
    bad = (base.INTERNAL_ERROR, base.ERROR)

    class Collector(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)
            self._local = threading.local()
            self._others: deque[tuple[bool, str]] = deque(maxlen=_MESSAGES)

        def _mine(self) -> deque[tuple[bool, str]]:
            kept: deque[tuple[bool, str]] | None = getattr(self._local, "kept", None)
            if kept is None:
                kept = self._local.kept = deque(maxlen=_MESSAGES)
            return kept

        def log(self, severity: Any, msg: str) -> None:
            if severity in bad or severity == base.WARNING:
                here = threading.get_ident()
                known = any(thread.ident == here for thread in threading.enumerate())
                kept = self._mine() if known else self._others
                kept.append((severity in bad, msg.strip()))

        def failed(self) -> bool:
            return any(error for error, _ in self._mine())

        def last(self) -> str:
            kept = [*self._others, *self._mine()]
            self._others.clear()
            self._mine().clear()
            errors = [message for error, message in kept if error]
            return "; ".join(errors or [message for _, message in kept]) or "it did not say why"

    return Collector()


def started(kind: Any, logger: Any) -> Any:
    """Make a Runtime or a Builder.

    With a driver that is missing or too old a Runtime is made all the same, of which only the log says
    that it is none: using it ends the process, and so does deleting it.

    Raises
    ------
    EngineUnavailable
    """
    logger.last()
    try:
        made = kind(logger)
    except TypeError as e:
        # What the bindings make of a null pointer.
        raise EngineUnavailable(f"TensorRT cannot start: {logger.last()}") from e
    if logger.failed():
        # One reference more than there are: it is not deleted when the process ends either.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        raise EngineUnavailable(f"TensorRT cannot start: {logger.last()}")
    return made
