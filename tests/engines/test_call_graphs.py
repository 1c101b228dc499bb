"""Calls as CUDA graphs, with a torch that pretends: which call is captured, where, what a failure leaves."""

from __future__ import annotations

import contextlib
import gc
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from vqafast.engines import call_graphs  # noqa: E402
from vqafast.engines.call_graphs import MAX_GRAPHS, CallGraphs, Recording  # noqa: E402
from vqafast.errors import CudaError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Stream:
    def __init__(self, name: str) -> None:
        self.name = name

    def wait_stream(self, other: Stream) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Graph:
    """Replays by calling again what was called in it."""

    def __init__(self) -> None:
        self.made: tuple[Callable[[], Any], Any] | None = None

    def replay(self) -> None:
        assert self.made is not None
        call, out = self.made
        out.copy_(call())


class Machine:
    """Torch as far as `CallGraphs` asks for it. `log`: (thread, stream, what) of the engine's calls."""

    OutOfMemoryError = torch.OutOfMemoryError

    def __init__(self) -> None:
        self.log: list[tuple[str, str, str]] = []
        self.capturing: Graph | None = None
        self.refuses = False
        self.emptied = 0
        self._local = threading.local()
        self.cuda = SimpleNamespace(
            Stream=lambda device, priority=0: Stream(f"{device} priority {priority}"),
            stream=self._on,
            current_stream=self._current,
            CUDAGraph=Graph,
            graph=self._graph,
            graph_pool_handle=object,
            empty_cache=self._empty,
        )
        self._C = SimpleNamespace(
            _cuda_endAllocateToPool=lambda index, pool: self.ended.append((index, "ended")),
            _cuda_releasePool=lambda index, pool: self.ended.append((index, "released")),
        )
        self.ended: list[Any] = []
        self.inference_mode = torch.inference_mode
        self.device = torch.device

    def _current(self) -> Stream:
        return getattr(self._local, "stream", None) or Stream("caller's")

    def _empty(self) -> None:
        self.emptied += 1

    @contextlib.contextmanager
    def _on(self, stream: Stream) -> Iterator[None]:
        before = self._current()
        self._local.stream = stream
        try:
            yield
        finally:
            self._local.stream = before

    @contextlib.contextmanager
    def _graph(self, graph: Graph, *, pool: Any, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert pool is not None
        assert capture_error_mode == "thread_local"
        assert not gc.isenabled()
        assert not torch.is_inference_mode_enabled()
        assert self.capturing is None, "one capture at a time"
        self.capturing = graph
        self._local.stream = stream
        try:
            yield
            if self.refuses:
                raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")
        finally:
            self.capturing = None

    def compute(self, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        what = "captured" if self.capturing else "computed"
        self.log.append((threading.current_thread().name, self._current().name, what))
        out = tensors[0] * 2
        if self.capturing:
            self.capturing.made = (lambda: tensors[0] * 2, out)
        return (out,)

    def graphs(self, device: str = "cuda:0") -> CallGraphs:
        def recording(static: tuple[Any, ...]) -> Recording:
            return Recording(lambda: self.compute(static), lambda: self.compute(static))

        return CallGraphs(self, device, self.compute, recording)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(call_graphs, "_failed", {})
    return Machine()


def value(graphs: CallGraphs, x: float, width: int = 3) -> float:
    with torch.inference_mode():
        return float(graphs.run((torch.full((2, width), x),))[0][0, 0])


def test_the_second_call_is_captured_and_later_ones_replayed(machine: Machine) -> None:
    graphs = machine.graphs()
    assert [value(graphs, x) for x in (1, 2, 3, 4)] == [2, 4, 6, 8]
    side = "cuda:0 priority -1"
    assert [(stream, what) for _, stream, what in machine.log] == [
        ("caller's", "computed"), (side, "computed"), (side, "captured"),
    ]  # fmt: skip
    assert gc.isenabled()
    assert graphs.notes == ()


def test_the_thread_that_captures_warms_up_first(machine: Machine) -> None:
    """Handles of cuBLAS and cuDNN are a thread's own, and cannot be made in a capture."""
    graphs = machine.graphs()
    for name in "ab":
        thread = threading.Thread(target=value, args=(graphs, 1.0), name=name)
        thread.start()
        thread.join()
    assert [(thread, what) for thread, _, what in machine.log] == [
        ("a", "computed"), ("b", "computed"), ("b", "captured"),
    ]  # fmt: skip


def test_graphs_are_bounded_and_dropped_together(machine: Machine) -> None:
    graphs = machine.graphs()
    widths = range(1, MAX_GRAPHS + 1)
    for _ in range(3):
        for width in widths:
            assert value(graphs, width, width) == 2 * width
    assert sum(what == "captured" for *_, what in machine.log) == MAX_GRAPHS
    assert value(graphs, 1, MAX_GRAPHS + 1) == 2
    assert list(graphs._graphs.values()) == [None]


@pytest.mark.parametrize("at", ["capture", "replay"])
def test_after_a_failure_no_engine_of_the_device_uses_graphs(machine: Machine, at: str) -> None:
    failing, other, elsewhere = machine.graphs(), machine.graphs(), machine.graphs("cuda:1")
    for graphs in (other, elsewhere):
        value(graphs, 1), value(graphs, 2)
    value(failing, 1)
    machine.refuses = at == "capture"
    assert value(failing, 2) == 4
    if at == "replay":
        captured = next(iter(failing._graphs.values()))
        assert captured is not None
        captured.graph.made = None  # as if another's capture had failed
        captured.graph.replay = lambda: (_ for _ in ()).throw(
            RuntimeError("CUDA error: operation not permitted")
        )
        assert value(failing, 3) == 6
    else:
        assert machine.ended == [(0, "ended"), (0, "released")]
    machine.refuses = False
    machine.log.clear()
    assert [value(graphs, 5) for graphs in (failing, other, elsewhere)] == [10, 10, 10]
    assert [what for *_, what in machine.log] == ["computed", "computed"]
    assert other._graphs == {}
    reason = "cuda:0 runs without CUDA graphs: CUDA error: operation not permitted"
    assert [len(g.notes) for g in (failing, other, elsewhere)] == [1, 1, 0]
    assert all(g.notes[0].startswith(reason) and "\n" not in g.notes[0] for g in (failing, other))


def test_ctrl_c_in_a_capture_arrives(machine: Machine) -> None:
    """The end of the capture raises on top of it."""
    graphs = machine.graphs()
    value(graphs, 1)

    def recording(static: tuple[Any, ...]) -> Recording:
        def interrupted() -> Any:
            raise KeyboardInterrupt

        return Recording(lambda: machine.compute(static), interrupted)

    @contextlib.contextmanager
    def graph(*_: Any, **__: Any) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    graphs._recording = recording
    machine.cuda.graph = graph
    with pytest.raises(KeyboardInterrupt):
        value(graphs, 2)
    assert graphs.notes == ()


def test_memory_of_graphs_is_given_up_for_a_call_that_has_too_little(machine: Machine) -> None:
    graphs = machine.graphs()
    for width in (3, 4):
        value(graphs, 1, width), value(graphs, 2, width)
    plain, left = graphs._compute, [torch.OutOfMemoryError("CUDA out of memory.")]

    def compute(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        if left:
            raise left.pop()
        return plain(tensors)

    graphs._compute = compute
    assert value(graphs, 7, 9) == 14
    assert (graphs._graphs, machine.emptied, graphs.notes) == ({}, 1, ())
    left.append(torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        value(graphs, 7, 9)


def test_a_call_that_fails_is_no_warm_up(machine: Machine) -> None:
    graphs = machine.graphs()
    plain = graphs._compute

    def compute(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        raise CudaError("no")

    graphs._compute = compute
    with pytest.raises(CudaError):
        value(graphs, 1)
    graphs._compute = plain
    value(graphs, 1)
    assert [what for *_, what in machine.log] == ["computed"]


def test_captures_of_two_threads_come_one_after_another(machine: Machine) -> None:
    """The machine refuses a second capture at the same time."""
    all_graphs = [machine.graphs() for _ in range(4)]
    for graphs in all_graphs:
        value(graphs, 1)
    got: list[float] = []
    threads = [threading.Thread(target=lambda g=g: got.append(value(g, 3))) for g in all_graphs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [6, 6, 6, 6]
