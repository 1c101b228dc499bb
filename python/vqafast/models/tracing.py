"""Whether the tracing exporter is at work, which torch's stubs do not let us ask."""

from __future__ import annotations

from typing import Any

import torch
from torch.jit._trace import TracerWarning

__all__ = ["TracerWarning", "is_tracing"]


def is_tracing() -> bool:
    """Whether a graph is being traced."""
    jit: Any = torch.jit
    return bool(jit.is_tracing())
