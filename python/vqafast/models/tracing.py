"""Whether the tracing exporter is at work, which torch's stubs do not let us ask."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.jit._trace import TracerWarning

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["fixed", "is_tracing"]


def is_tracing() -> bool:
    """Whether a graph is being traced."""
    jit: Any = torch.jit
    return bool(jit.is_tracing())


def fixed(shape: Iterable[int]) -> tuple[int, ...]:
    """Sizes as numbers: a traced graph holds for these only."""
    with warnings.catch_warnings():
        if is_tracing():
            warnings.simplefilter("ignore", TracerWarning)
        return tuple(int(n) for n in shape)
