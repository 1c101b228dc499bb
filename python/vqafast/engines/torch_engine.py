"""Graphs run by torch: the reference of the other engines, and a GPU engine that needs no TensorRT."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import EngineUnavailable, InvalidArgument

from .arrays import Arrays, TorchArrays
from .base import check_inputs, check_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

_PRECISIONS = ("f32", "f16")
# Each graph keeps its inputs and outputs, and shares the rest of its memory with the others.
MAX_GRAPHS = 16
_IMAGE_DIMS = 4


@dataclass(slots=True)
class _Captured:
    graph: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


class TorchEngine:
    """Runs `module` in evaluation mode without gradients.

    On CUDA, from the second call with the same shapes on, the kernels of a call are replayed as one
    CUDA graph. TF32 is off: f32 means f32.

    Parameters
    ----------
    module : torch.nn.Module
        Takes the inputs in order; returns a tensor, or a sequence of tensors.
    inputs, outputs : sequence of str
        Their names, in order.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; the module is moved there.
    precision : {"f32", "f16"}
        In "f16" weights and maps are half, pictures with channels last; outputs are half too.
    cuda_graphs : bool
        False launches every kernel by itself, always.

    Raises
    ------
    EngineUnavailable
        When torch cannot be imported, or sees no such device.
    InvalidArgument
        For another precision.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        device: str = "cpu",
        precision: str = "f32",
        cuda_graphs: bool = True,
    ) -> None:
        if precision not in _PRECISIONS:
            raise InvalidArgument(
                f"precision must be one of {list(_PRECISIONS)} for torch, got {precision!r}"
            )
        try:
            import torch
        except ImportError as e:
            raise EngineUnavailable(f"torch cannot be imported: {e}; pip install 'vqafast[gpu]'") from e
        self._torch = torch
        self._arrays = TorchArrays(device)
        self._dtype = torch.float16 if precision == "f16" else torch.float32
        self._module = module.eval().to(device=self._arrays.device, dtype=self._dtype)
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._precision = precision
        self._cuda = self._arrays.device != "cpu"
        self._capture = self._cuda and cuda_graphs
        self._pool: Any = None
        self._notes: list[str] = []
        # None after the first call with these shapes, False where capturing failed.
        self._graphs: OrderedDict[tuple[Any, ...], _Captured | bool | None] = OrderedDict()

    @property
    def name(self) -> str:
        """Library and version."""
        return f"torch {self._torch.__version__}"

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self._precision

    @property
    def threads(self) -> int:
        """Threads in use: torch's own setting for the process."""
        return int(self._torch.get_num_threads())

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
        """Where it computes."""
        return self._arrays.device

    @property
    def arrays(self) -> Arrays:
        """Torch tensors on `device`."""
        return self._arrays

    @property
    def static_shapes(self) -> bool:
        """True on CUDA: every new shape costs a capture."""
        return self._cuda

    @property
    def notes(self) -> tuple[str, ...]:
        """Shapes that run without a CUDA graph, and why."""
        return tuple(self._notes)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output; see `Engine.run`. NumPy arrays in give NumPy arrays out."""
        check_names(self.name, self._inputs, inputs)
        if all(isinstance(array, np.ndarray) for array in inputs.values()):
            check_inputs(self.name, self._inputs, inputs)
            loaded = {name: self._arrays.load(array) for name, array in inputs.items()}
            return {name: self._arrays.host(array) for name, array in self.run(loaded).items()}
        tensors = tuple(self._prepared(name, inputs[name]) for name in self._inputs)
        with self._torch.inference_mode(), self._exactly():
            results = self._replayed(tensors) if self._capture else self._computed(tensors)
        return dict(zip(self._outputs, results, strict=True))

    def _prepared(self, name: str, tensor: Any) -> Any:
        torch = self._torch
        good = isinstance(tensor, torch.Tensor) and tensor.device == torch.device(self.device)
        if not good or tensor.dtype not in (torch.float32, self._dtype):
            kind = " or float16" if self._precision == "f16" else ""
            got = f"{tensor.dtype} on {tensor.device}" if hasattr(tensor, "dtype") else type(tensor).__name__
            raise InvalidArgument(
                f"{self.name}: input {name!r} must be a float32{kind} tensor on {self.device}, got {got}"
            )
        # Tensor cores read the channels of a pixel together.
        last = self._precision == "f16" and tensor.ndim == _IMAGE_DIMS
        kept = torch.channels_last if last else torch.contiguous_format
        return tensor.to(dtype=self._dtype, memory_format=kept)

    def _computed(self, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        try:
            result = self._module(*tensors)
        except RuntimeError as e:
            if "CUDA" in str(e) or "out of memory" in str(e):
                raise
            shapes = {name: tuple(t.shape) for name, t in zip(self._inputs, tensors, strict=True)}
            first = str(e).strip().splitlines()[0]
            raise InvalidArgument(f"{self.name}: the graph does not take {shapes}: {first}") from e
        results = (result,) if isinstance(result, self._torch.Tensor) else tuple(result)
        if len(results) != len(self._outputs):
            raise InvalidArgument(
                f"{self.name}: module must return {len(self._outputs)} tensors, got {len(results)}"
            )
        return results

    def _replayed(self, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        key = tuple(tuple(t.shape) for t in tensors)
        if key not in self._graphs:
            # The first call is an ordinary one: libraries set themselves up, which no graph may hold.
            self._graphs[key] = None
            if len(self._graphs) > MAX_GRAPHS:
                # It may still be running.
                self._torch.cuda.current_stream().synchronize()
                self._graphs.popitem(last=False)
            return self._computed(tensors)
        self._graphs.move_to_end(key)
        captured = self._graphs[key]
        if captured is None:
            captured = self._graphs[key] = self._captured(tensors)
        if not isinstance(captured, _Captured):
            return self._computed(tensors)
        for static, tensor in zip(captured.inputs, tensors, strict=True):
            static.copy_(tensor)
        captured.graph.replay()
        return captured.outputs

    def _captured(self, tensors: tuple[Any, ...]) -> _Captured | bool:
        cuda = self._torch.cuda
        if self._pool is None:
            self._pool = cuda.graph_pool_handle()
        static = tuple(t.clone() for t in tensors)
        graph = cuda.CUDAGraph()
        try:
            # Other threads go on to decode, which allocates: only this thread's calls are watched.
            # The outer one restores the stream also after a failure, which torch's capture does not.
            with (
                cuda.stream(cuda.current_stream()),
                cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
            ):
                outputs = self._computed(static)
        except RuntimeError as e:
            shapes = [tuple(t.shape) for t in tensors]
            first = str(e).strip().splitlines()[0]
            self._notes.append(f"{self.name} runs without a CUDA graph for shapes {shapes}: {first}")
            return False
        return _Captured(graph, static, outputs)

    @contextlib.contextmanager
    def _exactly(self) -> Iterator[None]:
        """Float32 without TF32, and the same algorithm every time; torch's settings are put back."""
        if not self._cuda:
            yield
            return
        cudnn = self._torch.backends.cudnn
        # By the names of torch 2.9: the older ones raise where a caller has used the newer ones.
        exact = [
            (self._torch.backends.cuda.matmul, "fp32_precision", "ieee"),
            (cudnn.conv, "fp32_precision", "ieee"),
            (cudnn.rnn, "fp32_precision", "ieee"),
            (cudnn, "benchmark", False),
            (cudnn, "deterministic", True),
        ]
        before = [getattr(owner, name) for owner, name, _ in exact]
        try:
            for owner, name, value in exact:
                setattr(owner, name, value)
            yield
        finally:
            for (owner, name, _), value in zip(exact, before, strict=True):
                setattr(owner, name, value)
