"""A stand-in for torch's CUDA streams and graphs, on this machine's memory; it logs what it is asked for."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .fake_tensorrt import Script

#: Handles of the engine's own stream, and of the one that captures.
SIDE, CAPTURE = 77, 99


class Stream:
    def __init__(self, script: Script, handle: int) -> None:
        self.cuda_stream = handle
        self._script = script

    def wait_stream(self, other: Stream) -> None:
        self._script.log.append(("wait", self.cuda_stream, other.cuda_stream))

    def synchronize(self) -> None:
        self._script.log.append(("synchronize", self.cuda_stream))


class Cuda:
    """`torch.cuda`, as far as it is used."""

    free = 8 << 30

    def __init__(self, script: Script) -> None:
        self.default = Stream(script, 0)
        self._current = self.default
        self._script = script

    @contextlib.contextmanager
    def device(self, _: str) -> Iterator[None]:
        before = getattr(self._script.local, "device", None)
        self._script.local.device = "set"
        try:
            yield
        finally:
            self._script.local.device = before

    def Stream(self, _: str, priority: int = 0) -> Stream:  # noqa: N802
        return Stream(self._script, SIDE if priority == 0 else CAPTURE)

    def current_stream(self) -> Stream:
        return self._current

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self._current = self._current, stream
        try:
            yield
        finally:
            self._current = before

    def mem_get_info(self) -> tuple[int, int]:
        assert self._script.local.device == "set"
        return self.free, 2 * self.free

    def empty_cache(self) -> None:
        pass

    def graph_pool_handle(self) -> tuple[int, int]:
        return (0, 1)

    def CUDAGraph(self) -> Any:  # noqa: N802
        calls: list[Callable[[], None]] = []

        def replay() -> None:
            self._script.replays += 1
            assert calls
            for call in calls:
                call()

        return SimpleNamespace(calls=calls, replay=replay)

    @contextlib.contextmanager
    def graph(self, graph: Any, *, pool: Any, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        assert self._script.log[-1] == ("synchronize", stream.cuda_stream)
        # As torch's: on an error in the end of the capture its stream stays the current one.
        self._current = stream
        self._script.capturing = graph
        try:
            yield
        finally:
            self._script.capturing = None
            if not graph.calls:
                raise RuntimeError("operation failed due to a previous error during capture")
