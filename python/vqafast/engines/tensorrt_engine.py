"""TensorRT on an NVIDIA GPU: strongly typed plans from the cache, CUDA graphs for shapes that come again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument

from .base import check_names
from .tensorrt_plan import Plan, build_plan
from .tensorrt_session import Context, Session
from .torch_engine import MAX_GRAPHS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from .arrays import Arrays
    from .base import Shapes
    from .tensorrt_cache import PlanCache

__all__ = ["TensorRtEngine", "build_plan"]


class TensorRtEngine:
    """An ONNX graph built for one GPU. Building takes minutes, once: plans are kept, see `PlanCache`.

    On a stream of the caller's own the work is enqueued there. TensorRT must not have the default
    stream: for callers on that one it works on a stream of its own, and the streams wait for each
    other. From the second call with the same shapes on, a call is replayed as one CUDA graph.

    Parameters
    ----------
    model : bytes or path
        ONNX graph in f32 with its weights inside.
    device : str
        ``"cuda"`` or ``"cuda:N"``.
    precision : {"f32", "f16"}
        "f32" is without TF32. "f16" builds `half_graph`: outputs are half too.
    profiles : mapping of str to Shapes, optional
        Of each input with dynamic dimensions. TensorRT tunes for the usual shape, and takes no shape
        outside of smallest and largest.
    cache : PlanCache, optional
        Default: `PlanCache()`.
    cuda_graphs : bool
        False enqueues every call, always.

    Raises
    ------
    EngineUnavailable
        Without a GPU, a driver, tensorrt, or torch with CUDA; when TensorRT cannot build the graph.
    ModelError
        When the graph cannot be read, or has no half variant.
    InvalidArgument
        For another precision, or profiles that do not fit the graph.
    """

    def __init__(
        self,
        model: bytes | str | PathLike[str],
        *,
        device: str = "cuda:0",
        precision: str = "f32",
        profiles: Mapping[str, Shapes] | None = None,
        cache: PlanCache | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        plan = Plan(model, device=device, precision=precision, profiles=profiles, cache=cache)
        import torch

        self._torch: Any = torch
        self._arrays = plan.arrays
        self._precision = precision
        self._name = "tensorrt " + ".".join(plan.key.tensorrt.split(".")[:3])
        self._notes = plan.notes
        self._capture = cuda_graphs
        # None after the first call with these shapes, False where capturing failed.
        self._graphs: OrderedDict[tuple[Any, ...], _Captured | bool | None] = OrderedDict()
        self._last: Any = None
        engine = plan.engine()
        with self._torch.cuda.device(self.device):
            self._side = self._torch.cuda.Stream(self.device)
            self._session = Session(plan, engine, self._side)
            self._context = self._session.context()

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
        """Always 0: none of the CPU's."""
        return 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        return self._session.outputs

    @property
    def device(self) -> str:
        """Where it computes: ``"cuda:N"``."""
        return self._arrays.device

    @property
    def arrays(self) -> Arrays:
        """Torch tensors on `device`."""
        return self._arrays

    @property
    def static_shapes(self) -> bool:
        """True: every new shape costs a capture."""
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """What did not go as it should, and was done in another way."""
        return tuple(self._notes)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output; see `Engine.run`. The tensors are ready in the order of the caller's stream.

        Raises
        ------
        InvalidArgument
            Also for a shape outside of the profile.
        EngineUnavailable
            When TensorRT fails.
        """
        check_names(self._name, self.inputs, inputs)
        cuda = self._torch.cuda
        with self._torch.inference_mode(), cuda.device(self.device):
            tensors = tuple(self._prepared(name, inputs[name]) for name in self.inputs)
            caller = cuda.current_stream()
            stream = caller if caller.cuda_stream != 0 else self._side
            if stream is not caller:
                stream.wait_stream(caller)
            if self._last is not None and self._last != caller:
                # Calls share memory: on another stream this one must not overtake the one before.
                stream.wait_stream(self._last)
            with cuda.stream(stream):
                results = self._replayed(tensors) if self._capture else self._context.run(tensors)
            if stream is not caller:
                caller.wait_stream(stream)
            self._last = caller
        return dict(zip(self.outputs, results, strict=True))

    def _prepared(self, name: str, tensor: Any) -> Any:
        torch = self._torch
        wanted = self._session.dtypes[name]
        good = isinstance(tensor, torch.Tensor) and tensor.device == torch.device(self.device)
        if not good or tensor.dtype not in (torch.float32, wanted):
            kind = "" if wanted == torch.float32 else " or float16"
            got = f"{tensor.dtype} on {tensor.device}" if hasattr(tensor, "dtype") else type(tensor).__name__
            raise InvalidArgument(
                f"{self._name}: input {name!r} must be a float32{kind} tensor on {self.device}, got {got}"
            )
        smallest, largest = self._session.limits[name]
        shape = tuple(tensor.shape)
        inside = len(shape) == len(smallest) and all(
            a <= d <= b for a, d, b in zip(smallest, shape, largest, strict=True)
        )
        if not inside:
            raise InvalidArgument(
                f"{self._name}: shape of input {name!r} must be from {smallest} to {largest}, got {shape}"
            )
        return tensor.to(dtype=wanted).contiguous()

    def _replayed(self, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        key = tuple(tuple(t.shape) for t in tensors)
        if key not in self._graphs:
            self._graphs[key] = None
            if len(self._graphs) > MAX_GRAPHS:
                # It may still be running.
                self._torch.cuda.current_stream().synchronize()
                self._graphs.popitem(last=False)
            return self._context.run(tensors)
        self._graphs.move_to_end(key)
        captured = self._graphs[key]
        if captured is None:
            captured = self._graphs[key] = self._captured(tensors)
            if isinstance(captured, _Captured):
                return captured.outputs
        if not isinstance(captured, _Captured):
            return self._context.run(tensors)
        for static, tensor in zip(captured.inputs, tensors, strict=True):
            static.copy_(tensor)
        captured.graph.replay()
        return captured.outputs

    def _captured(self, tensors: tuple[Any, ...]) -> _Captured | bool:
        """Capture a call, of which the outputs are then there too; False when that is not possible."""
        cuda = self._torch.cuda
        static = tuple(t.clone() for t in tensors)
        graph = cuda.CUDAGraph()
        try:
            # Another shape in the same context would make the graph invalid.
            context = self._session.context()
            # TensorRT does what new shapes need in the first call, and no graph may hold that.
            outputs = context.run(static)
            cuda.current_stream().synchronize()
            # Other threads go on to decode, which allocates: only this thread's calls are watched.
            # The outer one restores the stream also after a failure, which torch's capture does not.
            with cuda.stream(cuda.current_stream()), cuda.graph(graph, capture_error_mode="thread_local"):
                context.launch()
        except RuntimeError as e:
            shapes = [tuple(t.shape) for t in tensors]
            self._notes.append(f"{self._name} runs without a CUDA graph for shapes {shapes}: {e}")
            return False
        return _Captured(graph, static, outputs, context)


@dataclass(slots=True)
class _Captured:
    graph: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    context: Context
