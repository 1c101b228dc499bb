"""Torch on the emulated card: tensors of the CPU that say they are on ``cuda:N``, and `torch.cuda` for them.

A torch without CUDA, made to behave as one with it where this package uses it. Tensors of a card, of another
card and of the host do not mix and share no memory. Graphs are recorded operator by operator and replayed
into the same memory; a replay destroys the outputs of other graphs of its pool, and what a stream that
captures must not do is refused. What the decoder copies comes when the default stream is waited for.
Otherwise streams have no time of their own, and a missing wait is not noticed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import threading
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CPU, _CUDA = 1, 2  # DLPack's kDLCPU, kDLCUDA
_AFTER_DATA = 8  # bytes into a DLManagedTensor
_FACTORIES = ("empty", "zeros", "ones", "full", "arange", "tensor", "rand", "randn", "randint", "linspace")
_MOVES = ("copy_", "to", "cpu", "cuda")
_MEMORY = 8 << 30
_plain_to, _plain_from_dlpack = torch.Tensor.to, torch.utils.dlpack.from_dlpack
_local = threading.local()
_one_capture = threading.Lock()


class OnCard(torch.Tensor):
    """A tensor on a card. Each card has a class, which its tensors' results are of."""

    card = 0

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == torch.Tensor.device.__get__:  # a new object each time
            return torch.device("cuda", cls.card)
        if func == torch.Tensor.is_cuda.__get__:
            return True
        name = getattr(func, "__name__", "")
        if name in ("item", "tolist", "__bool__", "nonzero"):
            _refuse_in_capture(name)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = "cpu"
        _reach(current_stream(cls.card))
        if name not in _MOVES:
            _refuse_mixture(cls.card, (args, kwargs))
        return super().__torch_function__(func, types, args, kwargs)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            f"can't convert cuda:{self.card} device type tensor to numpy. Use Tensor.cpu() first."
        )

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self.card

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        # Anything else makes torch wait for a stream.
        assert stream == -1
        _reach(current_stream(self.card))
        capsule = self.detach().as_subclass(torch.Tensor).__dlpack__()
        place = place_of(capsule)
        place[0], place[1] = _CUDA, self.card
        return capsule


@functools.cache
def on(card: int) -> type[OnCard]:
    """Class of the tensors on a card."""
    return type(f"OnCard{card}", (OnCard,), {"card": card})


def place_of(capsule: Any) -> Any:
    """Kind and number of the device in a DLPack capsule, to be read and changed."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return (ctypes.c_int32 * 2).from_address(pointer(capsule, b"dltensor") + _AFTER_DATA)


def _tensors(nested: Any) -> Iterator[torch.Tensor]:
    if isinstance(nested, torch.Tensor):
        yield nested
    elif isinstance(nested, dict):
        yield from _tensors(tuple(nested.values()))
    elif isinstance(nested, (list, tuple)):
        for part in nested:
            yield from _tensors(part)


def _refuse_mixture(card: int, arguments: Any) -> None:
    for tensor in _tensors(arguments):
        # A module keeps its parameters' type when it moves them.
        if not isinstance(tensor, (on(card), torch.nn.Parameter)) and tensor.dim():
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, cuda:{card} "
                f"and {tensor.device}!"
            )


def _card_of(device: Any) -> int | None:
    """Number of the card that a device is; None for the host."""
    place = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if place.type != "cuda":
        return None
    card = current_device() if place.index is None else place.index
    if card >= device_count():
        raise RuntimeError("CUDA error: invalid device ordinal")
    return card


def _refuse_in_capture(what: str) -> None:
    if capturing():
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")


def _to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    copy = kwargs.pop("copy", False)
    if args and isinstance(args[0], torch.Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    device, dtype, _, form = torch._C._nn._parse_to(*args, **kwargs)
    here = self.card if isinstance(self, OnCard) else None
    there = here if device is None else _card_of(device)
    if here is None and there is None:
        given = {} if device is None else {"device": device}
        kept = {} if form is None else {"memory_format": form}
        return _plain_to(self, dtype=dtype or self.dtype, copy=copy, **given, **kept)
    for card in {here, there} - {None}:
        _reach(current_stream(card))
    if there is None:
        _refuse_in_capture("copy to the host")
    with torch._C.DisableTorchFunctionSubclass():
        base = self.as_subclass(torch.Tensor)
        kept = {} if form is None else {"memory_format": form}
        moved = _plain_to(base, dtype=dtype or base.dtype, copy=copy or here != there, **kept)
    if there is None:
        return moved
    return self if moved is base else moved.as_subclass(on(there))


def _made(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def on_its_device(*args: Any, **kwargs: Any) -> Any:
        pinned = kwargs.pop("pin_memory", False)
        card = None if kwargs.get("device") is None else _card_of(kwargs["device"])
        if card is None:
            return make(*args, **kwargs)
        assert not pinned
        return make(*args, **{**kwargs, "device": "cpu"}).as_subclass(on(card))

    return on_its_device


def from_dlpack(capsule: Any) -> torch.Tensor:
    """As torch's, also for capsules of the card."""
    if type(capsule).__name__ != "PyCapsule" or place_of(capsule)[0] != _CUDA:
        return _plain_from_dlpack(capsule)
    place = place_of(capsule)
    card, place[0], place[1] = place[1], _CPU, 0
    return _plain_from_dlpack(capsule).as_subclass(on(card))


class Stream:
    """A number, or 0 for the default stream of a card."""

    _numbers = itertools.count(1000)

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        card = current_device() if device is None else _card_of(device)
        assert card is not None
        self.card, self.priority = card, priority
        self.cuda_stream = next(self._numbers)

    def wait_stream(self, other: Stream) -> None:
        _reach(other)

    def synchronize(self) -> None:
        _refuse_in_capture("synchronize")
        _reach(self)

    def query(self) -> bool:
        return True


@functools.cache
def _default(card: int) -> Stream:
    made = Stream(card)
    made.cuda_stream = 0
    return made


def default_stream(device: Any = None) -> Stream:
    return _default(current_device() if device is None else _card_of(device) or 0)


def _reach(stream: Stream) -> None:
    """Let the work of a stream be done."""
    if stream.cuda_stream == 0:
        _driver().card_flush()


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def device_count() -> int:
    return int(os.environ.get("VQAFAST_CARD_DEVICES", "1"))


def current_device() -> int:
    return getattr(_local, "device", 0)


@contextlib.contextmanager
def device(new: Any) -> Iterator[None]:
    before, _local.device = current_device(), _card_of(new)
    try:
        yield
    finally:
        _local.device = before


def _streams() -> dict[int, Stream]:
    """This thread's current stream of each card."""
    if not hasattr(_local, "streams"):
        _local.streams = {}
    streams: dict[int, Stream] = _local.streams
    return streams


def current_stream(device: Any = None) -> Stream:
    card = current_device() if device is None else _card_of(device) or 0
    return _streams().get(card) or _default(card)


@contextlib.contextmanager
def stream(new: Stream | None) -> Iterator[None]:
    if new is None:
        yield
        return
    streams = _streams()
    before, streams[new.card] = current_stream(new.card), new
    try:
        with device(new.card):
            yield
    finally:
        streams[new.card] = before


def capturing() -> bool:
    """Whether this thread captures."""
    return getattr(_local, "capturing", None) is not None


def record(call: Callable[[], Any]) -> None:
    """Put another library's work into the graph that this thread captures."""
    _local.capturing.steps.append((call, (), {}, []))


_switch = stream  # its name is a parameter's below


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
    _local.capturing = captured
    try:
        with _switch(stream), _Recorder(captured):
            yield
    finally:
        _local.capturing = None
        _one_capture.release()
    _pools.setdefault(pool, []).append(captured)


@functools.cache
def install() -> None:
    """Give this process's torch the card."""
    torch.Tensor.to = _to  # type: ignore[method-assign]
    torch.Tensor.cuda = lambda self, device="cuda", **_: _to(self, device)  # type: ignore[method-assign]
    torch.Tensor.record_stream = lambda *_: None  # type: ignore[method-assign]
    torch.Tensor.cpu = lambda self, *_, **__: _to(self, "cpu")  # type: ignore[method-assign]
    for name in _FACTORIES:
        setattr(torch, name, _made(getattr(torch, name)))
    torch.utils.dlpack.from_dlpack = from_dlpack
    cuda: Any = torch.cuda
    cuda.is_available = lambda: True
    cuda.device_count, cuda.current_device, cuda.device = device_count, current_device, device
    cuda.get_device_name = lambda _=None: "emulated card"
    cuda.Stream, cuda.stream = Stream, stream
    cuda.current_stream, cuda.default_stream = current_stream, default_stream
    cuda.synchronize = lambda device=None: default_stream(device).synchronize()
    cuda.mem_get_info = lambda _=None: (_MEMORY // 2, _MEMORY)
    cuda.empty_cache = lambda: None
    cuda.get_rng_state = lambda *_: torch.zeros(16, dtype=torch.uint8)
    cuda.set_rng_state = lambda *_: None
    cuda.CUDAGraph, cuda.graph = CUDAGraph, graph
    cuda.graph_pool_handle = lambda: object()
