"""Where the CUDA tests get their device, and arrays on it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from vqafast import _core


def why_not() -> str | None:
    """What keeps CUDA kernels from running here."""
    if not _core.build_info()["cuda"]:
        return "this build has no CUDA kernels"
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return None


def require() -> Any:
    """Torch, on a machine that can run the kernels. Else a skip; with FAIL_WITHOUT_CUDA=1 a failure."""
    reason = why_not()
    if reason is None:
        import torch

        return torch
    if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        pytest.fail(f"FAIL_WITHOUT_CUDA=1, and {reason}")
    pytest.skip(reason)


def to_device(array: Any) -> Any:
    """A NumPy array (None stays None) on the device, with its strides as far as torch can have them."""
    if array is None or not isinstance(array, np.ndarray):
        return array
    torch = require()
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        array = array.copy()
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


def nan_like(shape: tuple[int, ...], dtype: Any) -> Any:
    """An output that shows what was not written."""
    torch = require()
    return torch.full(shape, float("nan"), dtype=getattr(torch, np.dtype(dtype).name), device="cuda")


def to_host(tensor: Any) -> np.ndarray:
    """Result as NumPy."""
    array: np.ndarray = tensor.cpu().numpy()
    return array
