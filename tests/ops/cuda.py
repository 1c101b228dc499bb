"""Where the CUDA tests get their device, and arrays on it.

The device is a GPU with torch's tensors, or in a build with VQAFAST_CUDA=EMULATED the CPU, with arrays that
claim to be on a CUDA device.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vqafast import _core

if TYPE_CHECKING:
    from pathlib import Path

EMULATED = "emulated" in _core.build_info()["cuda_architectures"]
#: Names the folder of pictures of an emulated card (tests/card_emulation), where there is one.
CARD_PICTURES = "VQAFAST_CARD_PICTURES"
CARD_EMULATED = CARD_PICTURES in os.environ
_CUDA = 2  # DLPack's kDLCUDA
_ALIGNMENT = 64
_AFTER_DATA = 8  # bytes into a DLManagedTensor


class Emulated:
    """An array of the CPU that says it is on the first CUDA device."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getattr__(self, name: str) -> Any:
        return getattr(self.array, name)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, 0

    def __dlpack__(self, stream: int | None = None) -> Any:
        assert stream == -1
        capsule = self.array.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        ctypes.c_int32.from_address(pointer(capsule, b"dltensor") + _AFTER_DATA).value = _CUDA
        return capsule


def why_not() -> str | None:
    """What keeps kernels from running on a GPU here."""
    if not _core.build_info()["cuda"]:
        return "this build has no CUDA kernels"
    if EMULATED and not CARD_EMULATED:
        return "this build emulates CUDA kernels on the CPU"
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return None


def require() -> Any:
    """Torch, on a machine with a GPU. Else a skip; with FAIL_WITHOUT_CUDA=1 a failure."""
    reason = why_not()
    if reason is None:
        import torch

        return torch
    if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        pytest.fail(f"FAIL_WITHOUT_CUDA=1, and {reason}")
    pytest.skip(reason)


def require_gpu() -> Any:
    """As `require`, and no emulated card will do."""
    if CARD_EMULATED:
        pytest.skip("the emulated card is no GPU")
    return require()


def use_tensorrt(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """TensorRT with no plans yet: on the emulated card a stand-in, else a skip where it is not installed."""
    monkeypatch.setenv("VQAFAST_CACHE", str(folder / "plans"))
    if not CARD_EMULATED:
        pytest.importorskip("tensorrt")
        return
    from tests.engines import card_tensorrt

    card_tensorrt.install(monkeypatch)


def python(code: str) -> list[str]:
    """Command of a process of its own that runs `code` with the same card."""
    if CARD_EMULATED:
        code = f"from tests.card_emulation import torch_card\ntorch_card.install()\n{code}"
    return [sys.executable, *(["-S"] if sys.flags.no_site else []), "-c", code]


def require_kernels() -> None:
    """As `require`, but a build that emulates the kernels will do."""
    if not EMULATED:
        require()


def to_device(array: Any) -> Any:
    """Give a NumPy array (None stays None) or tensor of the CPU on the device, strides as far as can be."""
    if EMULATED and array is not None and not isinstance(array, np.ndarray):
        return Emulated(array)
    if not isinstance(array, np.ndarray):
        return array if array is None else array.cuda()
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        array = array.copy()
    if EMULATED:
        return Emulated(array)
    import torch

    base = array
    # A view's memory goes along, so that what lies between its elements is there too, poisoned.
    while isinstance(base.base, np.ndarray):
        base = base.base
    if base is array or base.dtype != array.dtype or not base.flags.c_contiguous:
        return torch.from_numpy(array).cuda()
    item = array.itemsize
    offset = (array.ctypes.data - base.ctypes.data) // item
    flat = torch.from_numpy(base.reshape(-1)).cuda()
    return flat.as_strided(array.shape, [stride // item for stride in array.strides], offset)


def full(shape: tuple[int, ...], value: float, dtype: Any) -> Any:
    """An array on the device, of one value; on 64 bytes, as allocations there are."""
    count, dtype = math.prod(shape), np.dtype(dtype)
    room = np.full(count + _ALIGNMENT // dtype.itemsize, value, dtype=dtype)
    start = -room.ctypes.data % _ALIGNMENT // dtype.itemsize
    return to_device(room[start : start + count].reshape(shape))


def nan_like(shape: tuple[int, ...], dtype: Any) -> Any:
    """An output that shows what was not written."""
    return full(shape, float("nan"), dtype)


def to_host(array: Any) -> np.ndarray:
    """Result as NumPy, once it is complete."""
    if isinstance(array, Emulated):
        return np.asarray(array.array)
    result: np.ndarray = array.cpu().numpy()
    return result
