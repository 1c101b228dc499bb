"""A stand-in for tensorrt and for torch's CUDA streams, on this machine's memory.

It reads ONNX graphs with the onnx package and computes them at the addresses it is given, so that names,
shapes, types and memory must be right. `test_tensorrt_contract` holds its names against the real package.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from vqafast.engines import tensorrt_plan
from vqafast.engines.cuda_driver import DriverProbe, Gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADER = b"PLAN"


@dataclass
class Script:
    """What shall happen, and what did."""

    start_errors: list[str] = field(default_factory=list)
    parse_errors: list[str] = field(default_factory=list)
    build_error: str | None = None
    refuse_plans: int = 0
    refuse: set[str] = field(default_factory=set)
    timing_mismatch: bool = False
    built: list[SimpleNamespace] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)
    log: list[tuple[Any, ...]] = field(default_factory=list)
    capturing: Any = None
    replays: int = 0


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

    def device(self, _: str) -> Any:
        return contextlib.nullcontext()

    def Stream(self, _: str) -> Stream:  # noqa: N802
        return Stream(self._script, 77)

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
        return self.free, 2 * self.free

    def CUDAGraph(self) -> Any:  # noqa: N802
        calls: list[Callable[[], None]] = []

        def replay() -> None:
            self._script.replays += 1
            assert calls
            for call in calls:
                call()

        return SimpleNamespace(calls=calls, replay=replay)

    @contextlib.contextmanager
    def graph(self, graph: Any, *, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        assert self._script.log[-1][0] == "synchronize"
        # As torch's: on an error in the end of the capture its stream stays the current one.
        self._current = Stream(self._script, 99)
        self._script.capturing = graph
        try:
            yield
        finally:
            self._script.capturing = None
            if not graph.calls:
                raise RuntimeError("operation failed due to a previous error during capture")


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

    class DataType:
        FLOAT, HALF, INT64 = "FLOAT", "HALF", "INT64"

    class TensorIOMode:
        INPUT, OUTPUT = "INPUT", "OUTPUT"

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger
            for error in script.start_errors:
                logger.log(ILogger.ERROR, error)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            assert not script.start_errors, "the real one ends the process"
            if script.refuse_plans or not serialized_engine.startswith(HEADER):
                script.refuse_plans -= 1
                self._logger.log(ILogger.ERROR, "Serialization assertion failed")
                return None
            return ICudaEngine(serialized_engine[len(HEADER) :])

    class ICudaEngine:
        device_memory_size_v2 = 512

        def __init__(self, graph: bytes) -> None:
            self._graph = onnx.load_from_string(graph)
            body = self._graph.graph
            self._tensors = {v.name: v.type.tensor_type for v in (*body.input, *body.output)}
            self._inputs = [v.name for v in body.input]
            self._evaluator = ReferenceEvaluator(self._graph)

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
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._memory = (0, 0)
            script.contexts.append(self)

        def set_device_memory(self, memory: int, size: int) -> None:
            self._memory = (memory, size)

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            assert stream_handle != 0
            return profile_index == 0 and "profile" not in script.refuse

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self._shapes[name] = shape
            return "shape" not in script.refuse

        def infer_shapes(self) -> list[str]:
            if "infer" in script.refuse:
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
            assert self._memory[1] == ICudaEngine.device_memory_size_v2
            if script.capturing is None:
                script.log.append(("execute", stream_handle))
                if "execute" in script.refuse:
                    return False
                self._compute(dict(self._shapes), dict(self._addresses))
                return True
            assert stream_handle == 99
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

    class INetworkDefinition:
        def __init__(self, flags: int) -> None:
            self._flags = flags
            self._engine: Any = None

        @property
        def num_inputs(self) -> int:
            return len(self._engine._inputs)

        def get_input(self, index: int) -> Any:
            name = self._engine._inputs[index]
            return SimpleNamespace(name=name, shape=self._engine.get_tensor_shape(name))

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            self._network = network

        @property
        def num_errors(self) -> int:
            return len(script.parse_errors)

        def get_error(self, index: int) -> Any:
            return script.parse_errors[index]

        def parse(self, model: bytes) -> bool:
            if script.parse_errors:
                return False
            self._network._graph = model
            self._network._engine = ICudaEngine(model)
            return True

    class IOptimizationProfile:
        def __init__(self) -> None:
            self._shapes: dict[str, Any] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
            self._shapes[input] = (min, opt, max)

    class ITimingCache:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> bytes:
            return self._data + b"+"

    class IBuilderConfig:
        builder_optimization_level = -1

        def __init__(self) -> None:
            self._flags = {"TF32"}
            self._pools: dict[str, int] = {}
            self._profiles: list[Any] = []
            self._timing: Any = None

        def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
            self._pools[pool] = pool_size

        def clear_flag(self, flag: str) -> None:
            self._flags.remove(flag)

        def add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile._shapes)
            return -1 if "add" in script.refuse else len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
            return ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            if script.timing_mismatch and cache._data:
                return False
            self._timing = cache
            return True

        def get_timing_cache(self) -> ITimingCache:
            return self._timing

    class Builder:
        def __init__(self, logger: Any) -> None:
            if "builder" in script.refuse:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._logger = logger

        def create_network(self, flags: int) -> INetworkDefinition:
            return INetworkDefinition(flags)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            self._logger.log(ILogger.WARNING, "a warning")
            self._logger.log(ILogger.INFO, "chatter")
            if script.build_error is not None:
                self._logger.log(ILogger.ERROR, script.build_error)
                return None
            script.built.append(
                SimpleNamespace(
                    graph=network._graph,
                    network_flags=network._flags,
                    level=config.builder_optimization_level,
                    flags=config._flags,
                    pools=config._pools,
                    profiles=config._profiles,
                    timing=config._timing._data,
                )
            )
            return HEADER + network._graph

    enums = {
        "BuilderFlag": SimpleNamespace(TF32="TF32"),
        "MemoryPoolType": SimpleNamespace(WORKSPACE="WORKSPACE"),
        "NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=1),
        "ExecutionContextAllocationStrategy": SimpleNamespace(USER_MANAGED="USER_MANAGED"),
    }
    classes = (
        ILogger, DataType, TensorIOMode, Runtime, ICudaEngine, IExecutionContext, Builder, INetworkDefinition,
        OnnxParser, IOptimizationProfile, ITimingCache, IBuilderConfig,
    )  # fmt: skip
    return SimpleNamespace(__version__="11.4.0.106", **{c.__name__: c for c in classes}, **enums)


def install(monkeypatch: Any, script: Script) -> Cuda:
    """Put the stand-ins where the engine looks: one GPU, whose memory is the host's."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(script))
    gpu = Gpu(0, "NVIDIA H100", (9, 0), 80 << 30)
    monkeypatch.setattr(tensorrt_plan, "probe", lambda: DriverProbe((gpu,), (13, 0), None))
    monkeypatch.setattr(tensorrt_plan, "TorchArrays", lambda device: SimpleNamespace(device="cpu"))
    cuda = Cuda(script)
    for name in ("device", "Stream", "current_stream", "stream", "mem_get_info", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    return cuda
