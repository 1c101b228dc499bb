"""Execution contexts of a TensorRT engine: torch tensors in and out, and every refusal an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tensorrt_plan import Plan


class Session:
    """What all execution contexts of an engine have in common, and the memory that they take turns to use."""

    def __init__(self, plan: Plan, engine: Any, stream: Any) -> None:
        import torch

        self.trt = plan.trt
        self.logger = plan.logger
        self.device = plan.arrays.device
        self.torch = torch
        self._engine = engine
        self._stream = stream
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name) for name in names}
        self.inputs = tuple(n for n in names if modes[n] == self.trt.TensorIOMode.INPUT)
        self.outputs = tuple(n for n in names if modes[n] == self.trt.TensorIOMode.OUTPUT)
        self.dtypes = {name: self._dtype(name) for name in names}
        self.limits: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for name in self.inputs:
            form = tuple(engine.get_tensor_shape(name))
            shapes = plan.key.profiles.get(name)
            self.limits[name] = (form, form) if shapes is None else (shapes.smallest, shapes.largest)
        self._memory = torch.empty(engine.device_memory_size_v2, dtype=torch.uint8, device=self.device)

    def _dtype(self, name: str) -> Any:
        kinds = {self.trt.DataType.FLOAT: self.torch.float32, self.trt.DataType.HALF: self.torch.float16}
        kind = self._engine.get_tensor_dtype(name)
        if kind not in kinds:
            raise ModelError(f"tensorrt: {name!r} must be float or half, is {kind}")
        return kinds[kind]

    def context(self) -> Context:
        """Make an execution context, with the shared memory and the only profile."""
        kind = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(kind)
        if context is None:
            raise self.failure("make an execution context")
        context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
        if not context.set_optimization_profile_async(0, self._stream.cuda_stream):
            raise self.failure("set the optimization profile")
        self._stream.synchronize()
        return Context(self, context)

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
            raise InvalidArgument(f"TensorRT: the graph does not take {shapes}: {e}") from e
        if missing:
            raise ModelError(f"TensorRT cannot tell shapes from {shapes}: {missing} are missing")
        outputs = []
        for name in session.outputs:
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise ModelError(f"TensorRT cannot tell the shape of {name!r} from {shapes}")
            outputs.append(session.torch.empty(shape, dtype=session.dtypes[name], device=session.device))
            self._address(name, outputs[-1])
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
