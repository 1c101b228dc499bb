"""Torch on the emulated card: tensors of the CPU that say they are on ``cuda:0``, and `torch.cuda` for them.

A torch without CUDA, made to behave as one with it where this package uses it. Tensors on the card and on the
host do not mix and share no memory; graphs are recorded operator by operator and replayed into the same
memory, and a replay destroys the outputs of other graphs of its pool; what a stream that captures must not
do is refused. What the decoder copies comes when the default stream is waited for. Otherwise streams have no
time of their own, and a missing wait is not noticed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import threading
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CUDA = 2  # DLPack's kDLCUDA
_AFTER_DATA = 8  # bytes into a DLManagedTensor
_CARD = torch.device("cuda", 0)
_FACTORIES = ("empty", "zeros", "ones", "full", "arange", "tensor", "rand", "randn", "randint", "linspace")
_MOVES = ("copy_", "to", "cpu", "cuda")
_MEMORY = 8 << 30
_plain_to, _plain_from_dlpack = torch.Tensor.to, torch.utils.dlpack.from_dlpack
_local = threading.local()
_one_capture = threading.Lock()


class OnCard(torch.Tensor):
    """A tensor on the card."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == torch.Tensor.device.__get__:  # a new object each time
            return _CARD
        if func == torch.Tensor.is_cuda.__get__:
            return True
        name = getattr(func, "__name__", "")
        if name in ("item", "tolist", "__bool__", "nonzero"):
            _refuse_in_capture(name)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = "cpu"
        _reach(current_stream())
        if name not in _MOVES:
            _refuse_mixture((args, kwargs))
        return super().__torch_function__(func, types, args, kwargs)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, 0

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        # Anything else makes torch wait for a stream.
        assert stream == -1
        _reach(current_stream())
        capsule = self.detach().as_subclass(torch.Tensor).__dlpack__()
        kind_of(capsule).value = _CUDA
        return capsule


def kind_of(capsule: Any) -> ctypes.c_int32:
    """The kind of device in a DLPack capsule, in place."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_int32.from_address(pointer(capsule, b"dltensor") + _AFTER_DATA)


def _tensors(nested: Any) -> Iterator[torch.Tensor]:
    if isinstance(nested, torch.Tensor):
        yield nested
    elif isinstance(nested, dict):
        yield from _tensors(tuple(nested.values()))
    elif isinstance(nested, (list, tuple)):
        for part in nested:
            yield from _tensors(part)


def _refuse_mixture(arguments: Any) -> None:
    for tensor in _tensors(arguments):
        # A module keeps its parameters' type when it moves them.
        if not isinstance(tensor, (OnCard, torch.nn.Parameter)) and tensor.dim():
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and "
                "cpu!"
            )


def _refuse_in_capture(what: str) -> None:
    if getattr(_local, "capturing", None) is not None:
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")


def _to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    copy = kwargs.pop("copy", False)
    if args and isinstance(args[0], torch.Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    device, dtype, _, form = torch._C._nn._parse_to(*args, **kwargs)
    on_card = isinstance(self, OnCard)
    target = on_card if device is None else device.type == "cuda"
    if not on_card and not target:
        given = {} if device is None else {"device": device}
        kept = {} if form is None else {"memory_format": form}
        return _plain_to(self, dtype=dtype or self.dtype, copy=copy, **given, **kept)
    _reach(current_stream())
    if on_card and not target:
        _refuse_in_capture("copy to the host")
    with torch._C.DisableTorchFunctionSubclass():
        base = self.as_subclass(torch.Tensor)
        kept = {} if form is None else {"memory_format": form}
        moved = _plain_to(base, dtype=dtype or base.dtype, copy=copy or on_card != target, **kept)
    if on_card and target and moved is base:
        return self
    return moved.as_subclass(OnCard) if target else moved


def _made(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def on_its_device(*args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        pinned = kwargs.pop("pin_memory", False)
        if device is None or torch.device(device).type != "cuda":
            return make(*args, **kwargs)
        assert not pinned
        return make(*args, **{**kwargs, "device": "cpu"}).as_subclass(OnCard)

    return on_its_device


def from_dlpack(capsule: Any) -> torch.Tensor:
    """As torch's, also for capsules of the card."""
    if type(capsule).__name__ != "PyCapsule" or kind_of(capsule).value != _CUDA:
        return _plain_from_dlpack(capsule)
    kind_of(capsule).value = 1
    return _plain_from_dlpack(capsule).as_subclass(OnCard)


class Stream:
    """A number."""

    _numbers = itertools.count(1000)

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        assert device is None or torch.device(device) == _CARD
        self.device, self.priority = _CARD, priority
        self.cuda_stream = next(self._numbers)

    def wait_stream(self, other: Stream) -> None:
        _reach(other)

    def synchronize(self) -> None:
        _refuse_in_capture("synchronize")
        _reach(self)

    def query(self) -> bool:
        return True


class _Default(Stream):
    def __init__(self) -> None:
        super().__init__()
        self.cuda_stream = 0


_default = _Default()


def _reach(stream: Stream) -> None:
    """Let the work of a stream be done."""
    if stream is _default:
        _driver().card_flush()


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def current_stream(device: Any = None) -> Stream:
    assert device is None or torch.device(device) == _CARD
    current: Stream = getattr(_local, "stream", _default)
    return current


@contextlib.contextmanager
def stream(new: Stream | None) -> Iterator[None]:
    before = current_stream()
    if new is not None:
        _local.stream = new
    try:
        yield
    finally:
        _local.stream = before


class CUDAGraph:
    """Operators with their arguments and results, which stay where they are."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.steps: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[torch.Tensor]]] = []

    def replay(self) -> None:
        _refuse_in_capture("replay")
        for other in _pools.get(self.pool, []):
            if other is not self:
                other.destroy()
        with torch._C.DisableTorchFunctionSubclass(), torch.inference_mode():
            for func, args, kwargs, results in self.steps:
                again = list(_tensors(func(*args, **kwargs)))
                for result, value in zip(results, again, strict=False):
                    result.copy_(value)

    def destroy(self) -> None:
        with torch._C.DisableTorchFunctionSubclass(), torch.inference_mode():
            for *_, results in self.steps:
                for result in results:
                    result.fill_(float("nan") if result.is_floating_point() else 77)


_pools: dict[Any, list[CUDAGraph]] = {}


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: CUDAGraph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
        results = list(_tensors(out))
        # Views of what was given need nothing; what is made anew is written again.
        fresh = [t for t in results if t.untyped_storage().data_ptr() not in given]
        if func._schema.is_mutable or fresh:
            self._graph.steps.append((func, args, kwargs, results if fresh else []))
        return out


@contextlib.contextmanager
def graph(
    captured: CUDAGraph, *, pool: Any = None, stream: Stream, capture_error_mode: str = "global"
) -> Iterator[None]:
    """As torch's: what this thread computes inside becomes the graph."""
    assert capture_error_mode == "thread_local"
    if not _one_capture.acquire(blocking=False):
        raise RuntimeError("CUDA error: torch captures one graph at a time")
    captured.pool = pool
    before, _local.stream, _local.capturing = current_stream(), stream, captured
    try:
        with _Recorder(captured):
            yield
    finally:
        _local.stream, _local.capturing = before, None
        _one_capture.release()
    _pools.setdefault(pool, []).append(captured)


@functools.cache
def install() -> None:
    """Give this process's torch the card."""
    torch.Tensor.to = _to  # type: ignore[method-assign]
    torch.Tensor.cuda = lambda self, *_, **__: _to(self, "cuda")  # type: ignore[method-assign]
    torch.Tensor.cpu = lambda self, *_, **__: _to(self, "cpu")  # type: ignore[method-assign]
    for name in _FACTORIES:
        setattr(torch, name, _made(getattr(torch, name)))
    torch.utils.dlpack.from_dlpack = from_dlpack
    cuda: Any = torch.cuda
    cuda.is_available = lambda: True
    cuda.device_count = lambda: 1
    cuda.current_device = lambda: 0
    cuda.get_device_name = lambda _=None: "emulated card"
    cuda.Stream, cuda.stream = Stream, stream
    cuda.current_stream, cuda.default_stream = current_stream, lambda _=None: _default
    cuda.device = lambda _: contextlib.nullcontext()
    cuda.synchronize = lambda _=None: _default.synchronize()
    cuda.mem_get_info = lambda _=None: (_MEMORY // 2, _MEMORY)
    cuda.empty_cache = lambda: None
    cuda.get_rng_state = lambda *_: torch.zeros(16, dtype=torch.uint8)
    cuda.set_rng_state = lambda *_: None
    cuda.CUDAGraph, cuda.graph = CUDAGraph, graph
    cuda.graph_pool_handle = lambda: object()
