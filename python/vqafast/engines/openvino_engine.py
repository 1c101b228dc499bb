"""OpenVINO on the CPU: explicit precision, dynamic shapes, no copies, no telemetry, no files."""

from __future__ import annotations

import os
import sys
from functools import cache
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError, Unsupported

from .arrays import Arrays, HostArrays
from .base import Array, check_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PRECISIONS = ("f32", "bf16", "int8")
_QUANTISED = ("FakeQuantize", "QuantizeLinear")
_SOFTMAX = ("Softmax", "ScaledDotProductAttention")


class OpenVinoEngine:
    """An ONNX graph compiled for the CPU.

    Parameters
    ----------
    model : bytes or path
        ONNX graph with its weights inside. It may have dynamic dimensions.
    threads : int
        Upper limit on threads; 0 lets OpenVINO decide (one per physical core it may use).
        The thread count changes results by rounding only (tested: 1e-4 relative to the largest
        value of an output).
    precision : {"f32", "bf16", "int8"}
        "bf16" is set as a hint on CPUs that have it: 3.8 % was seen on std-pooled features, so
        scores made with it are other scores. "int8" takes a graph that was quantised with real
        calibration data; the rest of such a graph runs in f32.

    Raises
    ------
    EngineUnavailable
        When openvino cannot be imported.
    Unsupported
        When the CPU has no bf16, or int8 is wanted of a graph that is not quantised.
    ModelError
        When the graph cannot be read or compiled.
    """

    def __init__(
        self, model: bytes | str | PathLike[str], *, threads: int = 0, precision: str = "f32"
    ) -> None:
        if precision not in _PRECISIONS:
            raise InvalidArgument(
                f"precision must be one of {list(_PRECISIONS)} for openvino, got {precision!r}"
            )
        if threads < 0:
            raise InvalidArgument(f"threads must be >= 0, got {threads}")
        ov, core = _core()
        path = None if isinstance(model, bytes) else os.fspath(model)
        try:
            graph = core.read_model(model)
        except RuntimeError as e:
            raise ModelError(f"ONNX graph cannot be read: {_first_line(e)}", path=path) from e
        # Compiling may give a tensor the names of others that it removes, so they are taken here.
        inputs = tuple(i.get_any_name() for i in graph.inputs)
        outputs = tuple(o.get_any_name() for o in graph.outputs)
        _check_precision(graph, precision)
        kind = ov.Type.bf16 if precision == "bf16" else ov.Type.f32
        config: dict[str, Any] = {
            # The default would be bf16 wherever the CPU has it.
            "INFERENCE_PRECISION_HINT": kind,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Pinned threads of several processes, or of our decoder, would share the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        if any(op.get_type_name() in _SOFTMAX for op in graph.get_ops()):
            # OpenVINO 2026.4: once softmax ran over one element (T = 1) before anything longer, its
            # cached primitive makes later, longer runs wrong. Without the cache they are right.
            config["CPU_RUNTIME_CACHE_CAPACITY"] = 0
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = core.compile_model(graph, "CPU", config)
        except RuntimeError as e:
            raise ModelError(f"ONNX graph cannot be compiled: {_first_line(e)}", path=path) from e
        if compiled.get_property("INFERENCE_PRECISION_HINT") != kind:
            raise EngineUnavailable(f"openvino did not accept precision {precision}")
        self._request = compiled.create_infer_request()
        self._graph = graph
        self._taken: set[tuple[tuple[int, ...], ...]] = set()
        self._inputs = inputs
        self._outputs = outputs
        self._ranks = {n: i.get_partial_shape().rank for n, i in zip(inputs, compiled.inputs, strict=True)}
        self._name = f"openvino {_version(ov)}"
        self._precision = precision
        self._threads = threads

    @property
    def name(self) -> str:
        """Library and version."""
        return self._name

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self._precision

    @property
    def threads(self) -> int:
        """Threads in use; 0 when the library decides."""
        return self._threads

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        return self._outputs

    @property
    def device(self) -> str:
        """Always the CPU."""
        return "cpu"

    @property
    def arrays(self) -> Arrays:
        """NumPy."""
        return HostArrays()

    @property
    def static_shapes(self) -> bool:
        """False: dynamic shapes cost nothing."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """None: it does what it is asked or raises."""
        return ()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output; see `Engine.run`.

        C-contiguous inputs are read in place, the returned arrays are views of OpenVINO's memory.
        """
        check_inputs(self._name, self._inputs, inputs)
        for name, array in inputs.items():
            rank = self._ranks[name]
            if rank.is_static and array.ndim != rank.get_length():
                raise InvalidArgument(
                    f"{self._name}: input {name!r} must have {rank.get_length()} dimensions, "
                    f"got shape {array.shape}"
                )
        try:
            self._check_shapes(inputs)
            result = self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)
        except RuntimeError as e:
            shapes = {name: array.shape for name, array in inputs.items()}
            raise InvalidArgument(f"{self._name}: the graph does not take {shapes}: {_first_line(e)}") from e
        return {name: result[i] for i, name in enumerate(self._outputs)}

    def _check_shapes(self, inputs: Mapping[str, Array]) -> None:
        """Let what does not fit raise RuntimeError before OpenVINO computes.

        A call of OpenVINO 2026.4 that fails is felt by later ones. With one thread it raises nothing, gives
        the outputs of the call before, and the next may crash; with more, the shape of the call before is
        refused ever after.
        """
        shapes = tuple(inputs[name].shape for name in self._inputs)
        if shapes not in self._taken:
            self._graph.reshape({i: list(shape) for i, shape in enumerate(shapes)})
            self._taken.add(shapes)


class Library(NamedTuple):
    """What the installed OpenVINO is and does: its version, devices, and what its CPU device can do."""

    version: str
    devices: tuple[str, ...]
    cpu_capabilities: tuple[str, ...]


def library() -> Library:
    """Describe OpenVINO without making an engine; `EngineUnavailable` when it cannot be imported."""
    ov, core = _core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return Library(_version(ov), tuple(core.available_devices), tuple(sorted(able)))


def _version(ov: Any) -> str:
    return str(ov.__version__).split("-", maxsplit=1)[0]


@cache
def _core() -> tuple[Any, Any]:
    """Import openvino and make one Core, on first use.

    Importing openvino reports the import to an analytics service and leaves a client id in the
    home directory, unless its telemetry package is missing: then it uses its own stub. So that
    package is hidden for the moment of the import.
    """
    name = "openvino_telemetry"
    hidden = name not in sys.modules and "openvino" not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import openvino as ov
    except ImportError as e:
        raise EngineUnavailable(f"openvino cannot be imported: {e}") from e
    finally:
        if hidden:
            del sys.modules[name]
    return ov, ov.Core()


def convert_to_ir(model: str | PathLike[str], target: Path) -> None:
    """Write an ONNX graph as OpenVINO IR in f32: `target` (.xml) and its .bin beside it.

    Raises
    ------
    EngineUnavailable
        When openvino cannot be imported.
    ModelError
        When the graph cannot be read.
    """
    ov, core = _core()
    try:
        # Half precision would move the scores.
        ov.save_model(core.read_model(model), target, compress_to_fp16=False)
    except RuntimeError as e:
        name = os.path.basename(model)
        raise ModelError(
            f"model file {name} cannot be converted: {_first_line(e)}", path=os.fspath(model)
        ) from e


def _check_precision(graph: Any, precision: str) -> None:
    if precision == "bf16":
        able = library().cpu_capabilities
        if "BF16" not in able:
            raise Unsupported(f"precision bf16 needs a CPU with bf16, this one has {list(able)}")
    if precision == "int8" and not any(op.get_type_name() in _QUANTISED for op in graph.get_ops()):
        raise Unsupported("precision int8 needs a graph quantised with calibration data, got a float graph")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
