"""Which device scores: what was asked for, and why a GPU can or cannot be used."""

from __future__ import annotations

import re
from functools import cache

from vqafast import _core
from vqafast.engines.cuda_driver import probe
from vqafast.errors import EngineUnavailable, InvalidArgument
from vqafast.scoring.assessment import WarningNote

_DEVICE = re.compile(r"cpu|auto|cuda(?::([0-9]{1,3}))?")


def resolve_device(device: str) -> tuple[str, tuple[WarningNote, ...]]:
    """Give the device to use, ``"cpu"`` or ``"cuda:N"``, and what there is to say about the choice.

    Parameters
    ----------
    device : str
        ``"cpu"``; ``"cuda"`` or ``"cuda:N"``; or ``"auto"``, which takes the first GPU where one can be
        used, else the CPU.

    Raises
    ------
    InvalidArgument
        For another name.
    EngineUnavailable
        When a GPU is asked for that cannot be used.
    """
    match = _DEVICE.fullmatch(device) if isinstance(device, str) else None
    if match is None:
        raise InvalidArgument(f"device: must be cpu, cuda, cuda:N or auto, got {device!r}")
    if device == "cpu":
        return "cpu", ()
    obstacle = cuda_obstacle()
    if device == "auto":
        chosen = "cpu" if obstacle else "cuda:0"
        reason = obstacle or f"{probe().gpus[0].name} can be used"
        return chosen, (WarningNote("device_auto", f"device auto chose {chosen}: {reason}"),)
    if obstacle is not None:
        raise EngineUnavailable(f"device: {device} cannot be used: {obstacle}")
    index, count = int(match[1] or 0), len(probe().gpus)
    if index >= count:
        raise EngineUnavailable(f"device: must be below cuda:{count} on this machine, got {device}")
    return f"cuda:{index}", ()


@cache
def cuda_obstacle() -> str | None:
    """What keeps this installation from scoring on a GPU; None when nothing does."""
    driver = probe()
    if driver.reason is not None:
        return driver.reason
    if not _core.build_info()["cuda"]:
        return "this build has no CUDA kernels (nvcc was not found when it was built)"
    try:
        import torch
    except ImportError as error:
        return f"torch cannot be imported ({error}); pip install 'vqafast[gpu]'"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device; it must be a build for CUDA"
    return None


def gpu_index(device: str) -> int | None:
    """Index of the GPU of ``"cuda:N"``, None for ``"cpu"``."""
    kind, _, index = device.partition(":")
    return int(index or 0) if kind == "cuda" else None
