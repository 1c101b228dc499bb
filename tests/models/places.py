"""Where the tests of a family score: both engines of the CPU, and a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.ops.cuda import require

from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from pathlib import Path

PLACES = ["openvino", "torch", pytest.param("cuda", marks=pytest.mark.cuda)]
# A GPU sums up in another order, and networks with random weights amplify it.
_ROUGHER = 10


def scorer_at(place: str, model: Path, **options: Any) -> Scorer:
    """A scorer of that engine, or on the GPU."""
    if place != "cuda":
        return Scorer(model, engine=place, threads=2, **options)
    require()
    return Scorer(model, device="cuda", **options)


def rough(place: str, tolerance: float) -> float:
    """Tolerance there, of that of the CPU."""
    return tolerance * (_ROUGHER if place == "cuda" else 1)
