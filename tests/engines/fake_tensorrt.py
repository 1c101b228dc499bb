"""A stand-in for tensorrt and for torch's CUDA streams, on this machine's memory.

It reads ONNX graphs with the onnx package and computes them at the addresses it is given, so that names,
shapes, types and memory must be right. `test_tensorrt_contract` holds its names against the real packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import threading
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from vqafast.engines import call_graphs, tensorrt_plan
from vqafast.engines.cuda_driver import DriverProbe, Gpu

from .fake_builder import HEADER, builder_half, unpacked
from .fake_cuda import CAPTURE, Cuda, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Cuda", "Script", "Stream", "fake_tensorrt", "install"]


@dataclass
class Script:
    """What shall happen, and what did."""

    start_errors: list[str] = field(default_factory=list)
    parse_errors: list[str] = field(default_factory=list)
    build_error: str | None = None
    refuse_plans: int = 0
    refuse: set[str] = field(default_factory=set)
    timing_mismatch: bool = False
    #: Of a build; `step` is called in each, and the build ends where the monitor says so.
    steps: int = 1
    step: Callable[[], None] = lambda: None
    cancelled: int = 0
    built: list[SimpleNamespace] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)
    log: list[tuple[Any, ...]] = field(default_factory=list)
    capturing: Any = None
    replays: int = 0
    local: Any = field(default_factory=threading.local)
    #: The stream that captures, while one does.
    capture_stream: Callable[[], int] = lambda: CAPTURE
    #: Computes a graph; slow, and by other code than any engine's.
    evaluator: Callable[[Any], Any] = ReferenceEvaluator


def at(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=int))
    buffer = (ctypes.c_byte * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(buffer, dtype).reshape(shape)


def fake_tensorrt(script: Script) -> Any:
    """A module whose classes have the names that the real ones have."""

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

        def log(self, severity: int, msg: str) -> None:
            raise NotImplementedError

    loggers: list[weakref.ref[Any]] = []

    def registered(logger: Any) -> Callable[[int, str], None]:
        if not loggers:
            loggers.append(weakref.ref(logger))

        def tell(severity: int, msg: str) -> None:
            first = loggers[0]()
            assert first is not None, "the real one calls what is freed"
            # What is raised in a callback is lost.
            with contextlib.suppress(BaseException):
                first.log(severity, msg)

        return tell

    class DataType:
        FLOAT, HALF, INT64 = "FLOAT", "HALF", "INT64"

    class TensorIOMode:
        INPUT, OUTPUT = "INPUT", "OUTPUT"

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._tell = registered(logger)
            for error in script.start_errors:
                self._tell(ILogger.ERROR, error)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            assert not script.start_errors, "the real one ends the process"
            if script.refuse_plans or not serialized_engine.startswith(HEADER):
                script.refuse_plans -= 1
                self._tell(ILogger.ERROR, "Serialization assertion failed")
                return None
            return ICudaEngine(*unpacked(serialized_engine), self._tell)

    class ICudaEngine:
        #: Enough for the largest shapes of all profiles, which nobody has.
        device_memory_size_v2 = 1 << 20

        def __init__(self, profiles: list[Any], graph: bytes, tell: Any = None) -> None:
            self._profiles = profiles
            self._tell = tell
            self._graph = onnx.load_from_string(graph)
            body = self._graph.graph
            self._tensors = {v.name: v.type.tensor_type for v in (*body.input, *body.output)}
            self._inputs = [v.name for v in body.input]
            self._evaluator = script.evaluator(self._graph)

        @property
        def num_io_tensors(self) -> int:
            return len(self._tensors)

        def get_tensor_name(self, index: int) -> str:
            return list(self._tensors)[index]

        def get_tensor_mode(self, name: str) -> str:
            return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> str:
            return {1: DataType.FLOAT, 10: DataType.HALF, 7: DataType.INT64}[self._tensors[name].elem_type]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(d.dim_value or -1 for d in self._tensors[name].shape.dim)

        def create_execution_context(self, strategy: str) -> IExecutionContext | None:
            assert strategy == "USER_MANAGED"
            return None if "context" in script.refuse else IExecutionContext(self)

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine) -> None:
            self._engine = engine
            self._profile: int | None = None
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._memory = (0, 0)
            script.contexts.append(self)

        def set_device_memory(self, memory: int, size: int) -> None:
            self._memory = (memory, size)

        def update_device_memory_size_for_shapes(self) -> int:
            assert set(self._shapes) == set(self._engine._inputs)
            return 0 if "size" in script.refuse else self._needed()

        def _needed(self) -> int:
            return 64 * sum(math.prod(shape) for shape in self._shapes.values())

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            assert stream_handle != 0
            if "profile" in script.refuse or profile_index >= max(1, len(self._engine._profiles)):
                raise RuntimeError("Error in set optimization profile async.")
            self._profile = profile_index
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self._shapes[name] = shape
            assert self._profile is not None
            if self._engine._profiles:
                low, _, high = self._engine._profiles[self._profile][name]
                assert all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True))
            return "shape" not in script.refuse

        def infer_shapes(self) -> list[str]:
            if "infer" in script.refuse:
                self._engine._tell(ILogger.ERROR, "IShapeLayer: 3 and 5")
                raise RuntimeError("dimensions do not broadcast")
            return [n for n in self._engine._inputs if n not in self._shapes or "missing" in script.refuse]

        def _feeds(self, make: Callable[[str, tuple[int, ...], Any], Any]) -> dict[str, Any]:
            kinds = {DataType.FLOAT: np.float32, DataType.HALF: np.float16}
            return {n: make(n, s, kinds[self._engine.get_tensor_dtype(n)]) for n, s in self._shapes.items()}

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            feeds = self._feeds(lambda _, shape, dtype: np.zeros(shape, dtype))
            (value,) = self._engine._evaluator.run([name], feeds)
            return (-1, *value.shape[1:]) if "unknown" in script.refuse else tuple(value.shape)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return name not in script.refuse

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert stream_handle != 0
            enough = ICudaEngine.device_memory_size_v2 if "size" in script.refuse else self._needed()
            assert self._memory[1] >= enough
            if script.capturing is None:
                script.log.append(("execute", stream_handle))
                if "execute" in script.refuse:
                    return False
                self._compute(dict(self._shapes), dict(self._addresses))
                return True
            assert stream_handle == script.capture_stream()
            if "capture" in script.refuse:
                return False
            shapes, addresses = dict(self._shapes), dict(self._addresses)
            script.capturing.calls.append(lambda: self._compute(shapes, addresses))
            return True

        def _compute(self, shapes: dict[str, Any], addresses: dict[str, int]) -> None:
            assert shapes == self._shapes, "a graph is captured, and its context has other shapes now"
            feeds = self._feeds(lambda name, shape, dtype: at(addresses[name], shape, dtype))
            names = [n for n in self._engine._tensors if n not in feeds]
            for name, value in zip(names, self._engine._evaluator.run(names, feeds), strict=True):
                at(addresses[name], value.shape, value.dtype)[...] = value

    def inputs_of(graph: bytes) -> list[Any]:
        engine = ICudaEngine([], graph)
        return [SimpleNamespace(name=n, shape=engine.get_tensor_shape(n)) for n in engine._inputs]

    strategies = SimpleNamespace(USER_MANAGED="USER_MANAGED")
    classes = (ILogger, DataType, TensorIOMode, Runtime, ICudaEngine, IExecutionContext)
    return SimpleNamespace(
        __version__="11.4.0.106",
        ExecutionContextAllocationStrategy=strategies,
        **{c.__name__: c for c in classes},
        **builder_half(script, inputs_of, registered, ILogger),
    )


def install(monkeypatch: Any, script: Script) -> Cuda:
    """Put the stand-ins where the engine looks: one GPU, whose memory is the host's."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(script))
    gpu = Gpu(0, "NVIDIA H100", (9, 0), 80 << 30)
    monkeypatch.setattr(tensorrt_plan, "probe", lambda: DriverProbe((gpu,), (13, 0), None))
    monkeypatch.setattr(tensorrt_plan, "TorchArrays", lambda device: SimpleNamespace(device="cpu"))
    # A failure is remembered for the device, which is every test's.
    monkeypatch.setattr(call_graphs, "_failed", {})
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *_: None, raising=False)
    record = lambda tensor, stream: script.log.append(("record", stream.cuda_stream))  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "record_stream", record)
    cuda = Cuda(script)
    for name in (
        "device", "Stream", "current_stream", "stream", "mem_get_info", "empty_cache", "graph_pool_handle",
        "CUDAGraph", "graph",
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    return cuda
