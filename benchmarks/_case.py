"""What every case of bench_ops.py is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Variants = dict[str, Callable[[int], Any]]


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    op: str
    name: str
    bytes: int
    verify: Callable[[], float]  # largest error against the reference
    variants: Callable[[int], Variants]  # by number of threads; "ours" is first
    tolerance: float = 1e-4
