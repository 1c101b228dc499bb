"""TensorRT on an NVIDIA GPU: strongly typed plans from the cache, CUDA graphs for shapes that come again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vqafast.errors import CudaError, InvalidArgument

from .base import check_names, first_line
from .call_graphs import CallGraphs, Recording
from .tensorrt_plan import Plan, build_plan
from .tensorrt_session import NoContext, Session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from .arrays import Arrays
    from .base import Shapes
    from .tensorrt_cache import PlanCache

__all__ = ["TensorRtEngine", "build_plan"]

# TensorRT reads inputs from addresses that are multiples of this.
_ALIGNMENT = 256


class TensorRtEngine:
    """An ONNX graph built for one GPU. Building takes minutes, once: plans are kept, see `PlanCache`.

    On a stream of the caller's own the work is enqueued there. TensorRT must not have the default
    stream: for callers on that one it works on a stream of its own, and the streams wait for each
    other. From the second call with the same shapes on, a call is replayed as one CUDA graph. Memory is
    taken for the largest shapes that were there so far.

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
        outside of smallest and largest. `ShapeRanges` are several of these.
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
        self._last: Any = None
        self._graphs: CallGraphs | None = None
        engine = plan.engine()
        with plan.cuda.device(self.device):
            self._side = plan.cuda.Stream(self.device)
            self._session = Session(plan, engine, self._side, self._drop_graphs)
            if cuda_graphs:
                self._graphs = CallGraphs(torch, self.device, self._session.run, self._recording)

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
        graphs = self._graphs  # another thread may give them up
        return (*self._notes, *(() if graphs is None else graphs.notes))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output; see `Engine.run`. The tensors are ready in the order of the caller's stream.

        Raises
        ------
        InvalidArgument
            Also for a shape outside of the profile.
        EngineUnavailable
            When TensorRT fails.
        CudaError
            When the GPU's memory is full.
        """
        check_names(self._name, self.inputs, inputs)
        self._check(inputs)
        cuda = self._torch.cuda
        with self._torch.inference_mode(), cuda.device(self.device):
            try:
                results = self._ordered(inputs)
            except self._torch.OutOfMemoryError as e:
                shapes = {name: tuple(inputs[name].shape) for name in self.inputs}
                raise CudaError(
                    f"{self._name}: {self.device} has no memory for {shapes}; score fewer videos at once: "
                    f"{first_line(e)}"
                ) from e
        return dict(zip(self.outputs, results, strict=True))

    def _check(self, inputs: Mapping[str, Any]) -> None:
        torch = self._torch
        for name in self.inputs:
            tensor, wanted = inputs[name], self._session.dtypes[name]
            good = isinstance(tensor, torch.Tensor) and tensor.device == torch.device(self.device)
            if not good or tensor.dtype not in (torch.float32, wanted):
                kind = "" if wanted == torch.float32 else " or float16"
                got = type(tensor).__name__
                if hasattr(tensor, "dtype"):
                    got = f"{tensor.dtype} on {tensor.device}"
                raise InvalidArgument(
                    f"{self._name}: input {name!r} must be a float32{kind} tensor on {self.device}, got {got}"
                )
        try:
            self._session.profile({name: tuple(inputs[name].shape) for name in self.inputs})
        except InvalidArgument as e:
            raise InvalidArgument(f"{self._name}: {e}") from None

    def _ordered(self, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Compute behind what the caller's stream does, and behind the call before."""
        cuda = self._torch.cuda
        tensors = tuple(self._prepared(name, inputs[name]) for name in self.inputs)
        caller = cuda.current_stream()
        stream = caller if caller.cuda_stream != 0 else self._side
        if stream is not caller:
            stream.wait_stream(caller)
        if self._last is not None and self._last != caller:
            # Calls share memory: on another stream this one must not overtake the one before.
            stream.wait_stream(self._last)
        with cuda.stream(stream):
            results = self._computed(tensors)
        if stream is not caller:
            caller.wait_stream(stream)
            for result in results:
                # Their memory is the side stream's, which would use it again while the caller reads.
                result.record_stream(caller)
        self._last = caller
        return results

    def _prepared(self, name: str, tensor: Any) -> Any:
        whole = tensor.to(dtype=self._session.dtypes[name]).contiguous()
        return whole.clone() if whole.data_ptr() % _ALIGNMENT else whole

    def _computed(self, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._graphs is not None:
            try:
                return self._graphs.run(tensors)
            except NoContext as e:
                # Each graph needs one of its own.
                self._notes.append(f"{self._name} runs without CUDA graphs: {e}")
            self._graphs.drop()
            self._graphs = None
        return self._session.run(tensors)

    def _recording(self, static: tuple[Any, ...]) -> Recording:
        shapes = {name: tuple(t.shape) for name, t in zip(self.inputs, static, strict=True)}
        # Another shape in the same context would make the graph invalid.
        context = self._session.context(self._session.profile(shapes))
        outputs: list[Any] = []

        def warm_up() -> None:
            # TensorRT does what new shapes need in the first call, and no graph may hold that.
            outputs[:] = context.run(static)

        def record() -> tuple[Any, ...]:
            context.launch()
            return tuple(outputs)

        return Recording(warm_up, record, context)

    def _drop_graphs(self) -> None:
        if self._graphs is not None:
            self._graphs.drop()
