"""The only import of tensorrt, and what must be known to live with its objects."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

from vqafast.errors import EngineUnavailable

_MESSAGES = 20


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
        raise EngineUnavailable(f"tensorrt cannot be imported: {e}; pip install 'vqafast[gpu]'") from e
    return tensorrt


def collector(trt: Any) -> Any:
    """Make an ILogger that keeps the last warnings and errors, instead of printing them.

    `last()` gives them as one string, errors only where there are any, and forgets them; `failed()` says
    whether there are errors.
    """
    base = trt.ILogger
    bad = (base.INTERNAL_ERROR, base.ERROR)

    class Collector(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)
            self._kept: deque[tuple[bool, str]] = deque(maxlen=_MESSAGES)

        def log(self, severity: Any, msg: str) -> None:
            if severity in bad or severity == base.WARNING:
                self._kept.append((severity in bad, msg.strip()))

        def failed(self) -> bool:
            return any(error for error, _ in self._kept)

        def last(self) -> str:
            kept = list(self._kept)
            self._kept.clear()
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
