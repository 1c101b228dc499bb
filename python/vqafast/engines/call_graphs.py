"""Calls of an engine as CUDA graphs: one for each set of input shapes, captured at the second call."""

from __future__ import annotations

import contextlib
import gc
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import VqafastError

from .base import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Tensors = tuple[Any, ...]

# Each graph keeps its inputs and outputs, and shares the rest of its memory with the others.
MAX_GRAPHS = 16

# Torch can capture one graph at a time in a process, and waiting for the whole device, with which every
# capture begins, would break another thread's.
CAPTURING = threading.Lock()
# Why no graph is used any more, by device.
_failed: dict[str, str] = {}


@dataclass(slots=True)
class Recording:
    """A call on tensors that stay where they are.

    Attributes
    ----------
    warm_up : callable
        Makes the call once, outside of a graph.
    record : callable
        Makes it again, inside of one, and gives the outputs.
    kept : object
        Lives as long as the graph.
    """

    warm_up: Callable[[], Any]
    record: Callable[[], Tensors]
    kept: Any = None


@dataclass(slots=True)
class _Captured:
    graph: Any
    inputs: Tensors
    outputs: Tensors
    recording: Recording


class CallGraphs:
    """Makes the calls of one engine: the first with new shapes as it is, later ones by replaying a graph.

    A failed capture leaves torch in a state where replays of other graphs can fail (its generator of random
    numbers believes to be captured), so no graph is used on that device afterwards, by any engine.

    Parameters
    ----------
    torch : module
    device : str
        ``"cuda:N"``.
    compute : callable
        An ordinary call: tensors to outputs.
    recording : callable
        Gives the `Recording` of a call on tensors that stay.
    """

    def __init__(
        self,
        torch: Any,
        device: str,
        compute: Callable[[Tensors], Tensors],
        recording: Callable[[Tensors], Recording],
    ) -> None:
        self._torch = torch
        self._device = device
        self._compute = compute
        self._recording = recording
        # Nobody else draws from the streams of this priority. Ordinary ones are handed out in turns, and
        # what a decoding thread queues on a stream that captures would become part of the graph.
        self._stream = torch.cuda.Stream(device, priority=-1)
        self._pool: Any = None
        # None after the first call with these shapes.
        self._graphs: dict[tuple[Any, ...], _Captured | None] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Why no graph is used, if none is."""
        reason = _failed.get(self._device)
        return () if reason is None else (f"{self._device} runs without CUDA graphs: {reason}",)

    def run(self, tensors: Tensors) -> Tensors:
        """Compute, in the order of the current stream. Outputs are valid until the next call.

        When memory is short, all graphs are given up for it once.
        """
        try:
            return self._run(tensors)
        except self._torch.OutOfMemoryError:
            if not self._graphs:
                raise
        # Behind the handler: there the error would hold what the failed call had allocated.
        self.drop()
        self._torch.cuda.empty_cache()
        return self._compute(tensors)

    def drop(self) -> None:
        """Give up all graphs. One by one would not do: they share workspaces of torch's libraries."""
        self._torch.cuda.current_stream().synchronize()  # one may be running
        self._graphs.clear()
        self._pool = None

    def _run(self, tensors: Tensors) -> Tensors:
        key = tuple(tuple(t.shape) for t in tensors)
        if self._device in _failed:
            if self._graphs:
                self.drop()
            return self._compute(tensors)
        captured = self._graphs.get(key)
        if captured is None and key in self._graphs:
            captured = self._captured(key, tensors)
        if captured is None:
            outputs = self._compute(tensors)
            if len(self._graphs) >= MAX_GRAPHS and key not in self._graphs:
                self.drop()
            self._graphs[key] = None
            return outputs
        try:
            for static, tensor in zip(captured.inputs, tensors, strict=True):
                static.copy_(tensor)
            captured.graph.replay()
        except self._torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._fail(error)
            return self._compute(tensors)
        return captured.outputs

    def _captured(self, key: tuple[Any, ...], tensors: Tensors) -> _Captured | None:
        """Capture a call; None where that fails, which concerns the graph and not the call."""
        torch, cuda = self._torch, self._torch.cuda
        static = tuple(t.clone() for t in tensors)
        recording = self._recording(static)
        graph = cuda.CUDAGraph()
        with CAPTURING, _no_collection():
            self._stream.wait_stream(cuda.current_stream())
            with cuda.stream(self._stream):
                # Handles of libraries belong to a thread and cannot be made in a capture, and this may not
                # be the thread of the first call.
                recording.warm_up()
            self._stream.synchronize()
            if self._pool is None:
                self._pool = cuda.graph_pool_handle()
            try:
                with (
                    # Restores the stream also after a failure, which torch's capture does not.
                    cuda.stream(cuda.current_stream()),
                    # Torch's state of captures is everybody's, and must not become an inference tensor.
                    torch.inference_mode(False),
                    # Other threads go on to decode, which allocates: only this thread's calls are watched.
                    cuda.graph(
                        graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                    ),
                    torch.inference_mode(),
                ):
                    outputs = recording.record()
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, VqafastError) as error:
                self._end_pool()
                # The end of the capture fails too, and its error would take the place of a Ctrl-C.
                cause = error.__context__
                while cause is not None:
                    if not isinstance(cause, Exception):
                        raise cause from None
                    cause = cause.__context__
                self._fail(error)
                return None
        captured = self._graphs[key] = _Captured(graph, static, outputs, recording)
        return captured

    def _fail(self, error: Exception) -> None:
        _failed.setdefault(self._device, first_line(error))
        self.drop()

    def _end_pool(self) -> None:
        """After a failed capture torch may still direct allocations to the pool, and give back no memory."""
        library, index = self._torch._C, self._torch.device(self._device).index
        # Where the pool was ended already the first raises, and the graph itself releases it.
        with contextlib.suppress(RuntimeError, AttributeError):
            library._cuda_endAllocateToPool(index, self._pool)
            library._cuda_releasePool(index, self._pool)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage: a decoder that is freed by it calls the driver, in the middle of a capture."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
