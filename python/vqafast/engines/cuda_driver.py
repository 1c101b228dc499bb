"""Asks the CUDA driver: which devices there are, and whether they still work. No CUDA library is needed."""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vqafast.errors import CudaError

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY = "libcuda.so.1"
_NAME_BYTES = 256
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NOT_INITIALIZED, _NO_DEVICE = 3, 100


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device, with the number that CUDA, and so torch, gives it.

    Attributes
    ----------
    index : int
        N of ``"cuda:N"``.
    name : str
    compute_capability : (int, int)
    memory : int
        In bytes, used or not.
    """

    index: int
    name: str
    compute_capability: tuple[int, int]
    memory: int


@dataclass(frozen=True, slots=True)
class DriverProbe:
    """What was found.

    Attributes
    ----------
    gpus : tuple of Gpu
        Empty when `reason` is not None.
    driver_version : (int, int) or None
        Newest CUDA that the driver can run.
    reason : str or None
        Why there is no device, in words to act on.
    """

    gpus: tuple[Gpu, ...]
    driver_version: tuple[int, int] | None
    reason: str | None


def probe() -> DriverProbe:
    """Ask this machine's driver, once in each process. Never raises.

    Notes
    -----
    This calls ``cuInit``. After that a forked child cannot use CUDA, as after any other use of it:
    start processes with "spawn". A forked child asks again, and is told so.
    """
    return _probed(os.getpid())


@lru_cache(maxsize=1)
def _probed(_process: int) -> DriverProbe:
    return probe_library(ctypes.CDLL)


def probe_library(load: Callable[[str], Any]) -> DriverProbe:
    """Ask the driver that ``load("libcuda.so.1")`` gives. Never raises.

    Parameters
    ----------
    load : callable
        As `ctypes.CDLL`: an object with the driver's functions, or `OSError`.
    """
    try:
        cuda = load(LIBRARY)
    except OSError as e:
        return DriverProbe((), None, f"{LIBRARY} cannot be loaded (no NVIDIA driver): {e}")
    version = None
    try:
        _call(cuda, "cuInit", 0)
        number, count = ctypes.c_int(), ctypes.c_int()
        _call(cuda, "cuDriverGetVersion", ctypes.byref(number))
        version = (number.value // 1000, number.value % 1000 // 10)
        _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
        gpus = tuple(_gpu(cuda, index) for index in range(count.value))
    except _CallFailed as e:
        return DriverProbe((), version, str(e))
    except AttributeError as e:
        return DriverProbe((), version, f"{LIBRARY} is not a CUDA driver: {e}")
    return DriverProbe(gpus, version, None if gpus else f"no CUDA device is visible{_hidden()}")


def use_primary_context(index: int, load: Callable[[str], Any] = ctypes.CDLL) -> None:
    """Make a device's primary context, in which torch and our kernels work, current in this thread.

    For libraries that work in whatever context is current. It is made here when torch has not made it
    yet, and kept until the process ends, as torch keeps it.

    Raises
    ------
    CudaError
        When the driver refuses, or there is none.
    """
    try:
        cuda = load(LIBRARY)
        with _contexts_lock:
            if index not in _contexts:
                device, context = ctypes.c_int(), ctypes.c_void_p()
                _call(cuda, "cuInit", 0)
                _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
                _call(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
                _contexts[index] = context
        _call(cuda, "cuCtxSetCurrent", _contexts[index])
    except OSError as e:
        raise CudaError(f"{LIBRARY} cannot be loaded (no NVIDIA driver): {e}") from e
    except (_CallFailed, AttributeError) as e:
        raise CudaError(f"the context of GPU {index} cannot be used: {e}") from e


def context_failure(index: int, load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Why nothing can be computed any more in a device's primary context; None while it works.

    After a kernel's illegal access, or a fault of the card, every call in the context fails until the
    process ends. This waits for all work on the device.
    """
    try:
        use_primary_context(index, load)
        _call(load(LIBRARY), "cuCtxSynchronize")
    except (CudaError, _CallFailed) as e:
        return str(e)
    return None


_contexts: dict[int, ctypes.c_void_p] = {}
_contexts_lock = threading.Lock()


class _CallFailed(Exception):  # noqa: N818 - the name says what happened
    pass


def _gpu(cuda: Any, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory = ctypes.c_size_t()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _call(cuda, "cuDeviceGet", ctypes.byref(device), index)
    _call(cuda, "cuDeviceGetName", name, _NAME_BYTES, device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
    _call(cuda, "cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
    # Without the suffix it is the function of CUDA 3, which counts in 32 bits.
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    return Gpu(index, name.value.decode("utf-8", "replace"), (major.value, minor.value), memory.value)


def _call(cuda: Any, function: str, *arguments: Any) -> None:
    status = int(getattr(cuda, function)(*arguments))
    if status == 0:
        return
    name = ctypes.c_char_p()
    known = int(cuda.cuGetErrorName(status, ctypes.byref(name))) == 0 and name.value is not None
    words = name.value.decode("ascii", "replace") if known and name.value else "an unknown error"
    hint = ""
    if status == _NO_DEVICE:
        hint = _hidden()
    elif status == _NOT_INITIALIZED:
        hint = " (a process that was forked after CUDA was used cannot use it; start it with spawn)"
    raise _CallFailed(f"{function} failed with {words}: {status}{hint}")


def _hidden() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r})"
