"""Graphs run by torch: the reference of the other engines, and a GPU engine that needs no TensorRT."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import CudaError, EngineUnavailable, InvalidArgument, VqafastError

from .arrays import Arrays, TorchArrays
from .base import check_inputs, check_names, first_line
from .call_graphs import CallGraphs, Recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

_PRECISIONS = ("f32", "f16")
_IMAGE_DIMS = 4
# What CUDA and its libraries say of themselves, rather than of the shapes of a call.
_CUDA_FAULT = re.compile(r"CUDA|cudnn|cublas|cufft|nvrtc|unable to find an engine", re.IGNORECASE)


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
        self._graphs: CallGraphs | None = None
        if self._cuda and cuda_graphs:
            self._graphs = CallGraphs(torch, self._arrays.device, self._computed, self._recording)

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
        """Why it runs without CUDA graphs, if it does."""
        return () if self._graphs is None else self._graphs.notes

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output; see `Engine.run`. NumPy arrays in give NumPy arrays out.

        Raises
        ------
        InvalidArgument
            Also when the graph does not take the shapes.
        CudaError
            When the GPU's memory is full, or CUDA fails.
        """
        check_names(self.name, self._inputs, inputs)
        if all(isinstance(array, np.ndarray) for array in inputs.values()):
            check_inputs(self.name, self._inputs, inputs)
            loaded = {name: self._arrays.load(array) for name, array in inputs.items()}
            return {name: self._arrays.host(array) for name, array in self.run(loaded).items()}
        tensors = tuple(self._prepared(name, inputs[name]) for name in self._inputs)
        current = self._torch.cuda.device(self.device) if self._cuda else contextlib.nullcontext()
        with self._torch.inference_mode(), current, _exactly(self._torch, self._cuda):
            try:
                results = self._computed(tensors) if self._graphs is None else self._graphs.run(tensors)
            except self._torch.OutOfMemoryError as e:
                raise CudaError(
                    f"{self.name}: {self.device} has no memory for {self._shapes(tensors)}; "
                    f"score fewer videos at once: {first_line(e)}"
                ) from e
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
        except (VqafastError, self._torch.OutOfMemoryError):
            raise
        except RuntimeError as e:
            if self._cuda and _CUDA_FAULT.search(str(e)):
                raise CudaError(f"{self.name}: CUDA failed on {self.device}: {first_line(e)}") from e
            raise InvalidArgument(
                f"{self.name}: the graph does not take {self._shapes(tensors)}: {first_line(e)}"
            ) from e
        results = (result,) if isinstance(result, self._torch.Tensor) else tuple(result)
        if len(results) != len(self._outputs):
            raise InvalidArgument(
                f"{self.name}: module must return {len(self._outputs)} tensors, got {len(results)}"
            )
        return results

    def _recording(self, static: tuple[Any, ...]) -> Recording:
        return Recording(lambda: self._computed(static), lambda: self._computed(static))

    def _shapes(self, tensors: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(t.shape) for name, t in zip(self._inputs, tensors, strict=True)}


class _Exact:
    """Settings that are the process's: the first call that needs them makes them, the last restores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._before: list[Any] = []

    def enter(self, torch: Any) -> None:
        with self._lock:
            if self._calls == 0:
                wanted = self._wanted(torch)
                self._before = [getattr(owner, name) for owner, name, _ in wanted]
                for owner, name, value in wanted:
                    setattr(owner, name, value)
            self._calls += 1

    def leave(self, torch: Any) -> None:
        with self._lock:
            self._calls -= 1
            if self._calls == 0:
                for (owner, name, _), value in zip(self._wanted(torch), self._before, strict=True):
                    setattr(owner, name, value)

    @staticmethod
    def _wanted(torch: Any) -> list[tuple[Any, str, Any]]:
        cudnn = torch.backends.cudnn
        # By the names of torch 2.9: the older ones raise where a caller has used the newer ones.
        return [
            (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
            (cudnn.conv, "fp32_precision", "ieee"),
            (cudnn.rnn, "fp32_precision", "ieee"),
            (cudnn, "benchmark", False),
            (cudnn, "deterministic", True),
        ]


_exact = _Exact()


@contextlib.contextmanager
def _exactly(torch: Any, cuda: bool) -> Iterator[None]:
    """Float32 without TF32, and the same algorithm every time; torch's settings are put back."""
    if not cuda:
        yield
        return
    _exact.enter(torch)
    try:
        yield
    finally:
        _exact.leave(torch)
