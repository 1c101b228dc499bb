"""Execution contexts of a TensorRT engine: torch tensors in and out, and every refusal an error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from vqafast.errors import CudaError, EngineUnavailable, InvalidArgument, ModelError

from .base import first_line
from .tensorrt_shapes import by_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .tensorrt_plan import Plan

Shape = tuple[int, ...]


class NoContext(EngineUnavailable):
    """TensorRT makes no further execution context."""


class Session:
    """What all execution contexts of an engine have in common, and the memory that they take turns to use.

    Parameters
    ----------
    plan : Plan
    engine : ICudaEngine
    stream : Stream
        Neither the default one nor one that captures.
    release : callable
        Gives up what holds addresses in that memory, once all work is done: more is needed.
    """

    def __init__(self, plan: Plan, engine: Any, stream: Any, release: Callable[[], None]) -> None:
        import torch

        self.trt = plan.trt
        self.logger = plan.logger
        self.device = plan.arrays.device
        self.torch: Any = torch
        self._engine = engine
        self._stream = stream
        self._release = release
        self._memory: Any = None
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self.inputs = tuple(n for n in names if modes[n] == self.trt.TensorIOMode.INPUT)
        self.outputs = tuple(n for n in names if modes[n] == self.trt.TensorIOMode.OUTPUT)
        self.dtypes = {name: self._dtype(name) for name in names}
        forms = {name: tuple(engine.get_tensor_shape(name)) for name in self.inputs}
        static = {name: (form, form) for name, form in forms.items()}
        #: Smallest and largest shape of each input, in each profile.
        self.limits: list[dict[str, tuple[Shape, Shape]]] = [
            static | {name: (one.smallest, one.largest) for name, one in profile.items()}
            for profile in by_profile(plan.key.profiles) or [{}]
        ]
        self._contexts: dict[int, Context] = {0: self.context(0)}

    def _dtype(self, name: str) -> Any:
        kinds = {self.trt.DataType.FLOAT: self.torch.float32, self.trt.DataType.HALF: self.torch.float16}
        kind = self._engine.get_tensor_dtype(name)
        if kind not in kinds:
            raise ModelError(f"tensorrt: {name!r} must be float or half, is {kind}")
        return kinds[kind]

    def profile(self, shapes: Mapping[str, Shape]) -> int:
        """Give the first profile that holds all `shapes`.

        Raises
        ------
        InvalidArgument
            Where none does; it names the ranges of an input that fits in none.
        """
        for index, limits in enumerate(self.limits):
            if all(_inside(shape, *limits[name]) for name, shape in shapes.items()):
                return index
        name = next(n for n in shapes if n == self.inputs[-1] or not self._fits(n, shapes[n]))
        ranges = " or ".join(f"from {low} to {high}" for low, high in self._ranges(name))
        raise InvalidArgument(f"shape of input {name!r} must be {ranges}, got {shapes[name]}")

    def _ranges(self, name: str) -> list[tuple[Shape, Shape]]:
        return list(dict.fromkeys(limits[name] for limits in self.limits))

    def _fits(self, name: str, shape: Shape) -> bool:
        return any(_inside(shape, low, high) for low, high in self._ranges(name))

    def run(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Enqueue as `Context.run`, in the context of the profile that holds the shapes."""
        index = self.profile({n: tuple(t.shape) for n, t in zip(self.inputs, tensors, strict=True)})
        if index not in self._contexts:
            self._contexts[index] = self.context(index)
        return self._contexts[index].run(tensors)

    def context(self, profile: int) -> Context:
        """Make an execution context for the shapes of `profile`; it has the shared memory.

        Raises
        ------
        NoContext
        """
        kind = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(kind)
        if context is None:
            raise NoContext(f"TensorRT could not make an execution context: {self.logger.last()}")
        try:
            chosen = context.set_optimization_profile_async(profile, self._stream.cuda_stream)
        except RuntimeError as e:
            raise NoContext(
                f"TensorRT could not set the optimization profile: {e} {self.logger.last()}"
            ) from e
        if not chosen:
            raise NoContext(f"TensorRT could not set the optimization profile: {self.logger.last()}")
        self._stream.synchronize()
        return Context(self, context)

    def lend(self, context: Any, shapes: Mapping[str, Shape]) -> None:
        """Give `context`, which has the `shapes`, the memory that it needs for them."""
        # 0 may also mean that TensorRT cannot tell.
        size = context.update_device_memory_size_for_shapes() or self._engine.device_memory_size_v2
        if self._memory is None or self._memory.numel() < size:
            self._grow(max(1, size), shapes)
        context.set_device_memory(self._memory.data_ptr(), self._memory.numel())

    def _grow(self, size: int, shapes: Mapping[str, Shape]) -> None:
        stream = self.torch.cuda.current_stream()
        # Earlier calls may still be running: the current stream is behind them, the allocator is not.
        stream.synchronize()
        self._release()
        self._memory = None
        try:
            self._memory = self.torch.empty(size, dtype=self.torch.uint8, device=self.device)
        except self.torch.OutOfMemoryError as e:
            raise CudaError(
                f"TensorRT needs {_words(size)} of memory on {self.device} for {dict(shapes)}, and there is "
                f"not so much; score fewer videos at once, or with a smaller batch: {first_line(e)}"
            ) from e
        # The next call may be on another stream, and what used this memory before on the current one.
        stream.synchronize()

    def failure(self, what: str) -> EngineUnavailable:
        """Make the error for what TensorRT did not do, in its own words."""
        return EngineUnavailable(f"TensorRT could not {what}: {self.logger.last()}")


class Context:
    """One execution context; what it refuses becomes an error."""

    def __init__(self, session: Session, context: Any) -> None:
        self._session = session
        self._context = context

    def run(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Enqueue `tensors`, in order of the inputs, on torch's current stream; give new outputs."""
        session, context = self._session, self._context
        shapes = {name: tuple(t.shape) for name, t in zip(session.inputs, tensors, strict=True)}
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            if not context.set_input_shape(name, shape):
                raise InvalidArgument(f"TensorRT does not take {name!r} as {shape}: {session.logger.last()}")
            self._address(name, tensor)
        try:
            missing = context.infer_shapes()
        except RuntimeError as e:
            raise InvalidArgument(
                f"TensorRT: the graph does not take {shapes}: {e} {session.logger.last()}"
            ) from e
        if missing:
            raise ModelError(f"TensorRT cannot tell shapes from {shapes}: {missing} are missing")
        outputs = []
        for name in session.outputs:
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise ModelError(f"TensorRT cannot tell the shape of {name!r} from {shapes}")
            outputs.append(session.torch.empty(shape, dtype=session.dtypes[name], device=session.device))
            self._address(name, outputs[-1])
        session.lend(context, shapes)
        self.launch()
        return tuple(outputs)

    def launch(self) -> None:
        """Enqueue once more, with the same addresses."""
        stream = self._session.torch.cuda.current_stream().cuda_stream
        if not self._context.execute_async_v3(stream):
            raise self._session.failure("run the graph")

    def _address(self, name: str, tensor: Any) -> None:
        if not self._context.set_tensor_address(name, tensor.data_ptr()):
            raise self._session.failure(f"set the address of {name!r}")


def _inside(shape: Shape, low: Shape, high: Shape) -> bool:
    return len(shape) == len(low) and all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True))


def _words(size: int) -> str:
    """A number of bytes in GiB or MiB."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{math.ceil(size / (1 << 20))} MiB"
