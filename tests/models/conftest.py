"""Where the tests of a family score: both engines of the CPU, and both of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.ops.cuda import require, use_tensorrt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vqafast.scoring.scorer import Scorer

_ON_GPU = {"torch on cuda": "torch", "tensorrt on cuda": "tensorrt"}
PLACES = ["openvino", "torch", *(pytest.param(place, marks=pytest.mark.cuda) for place in _ON_GPU)]
# A GPU sums up in another order, and networks with random weights amplify it.
_ROUGHER = 10


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    """One after the other."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def scorer_there(place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Scorer]:
    """Makes a scorer of a model at `place`."""
    from vqafast.scoring.scorer import Scorer

    def make(model: Path, **options: Any) -> Scorer:
        if place not in _ON_GPU:
            return Scorer(model, engine=place, threads=2, **options)
        require()
        if place.startswith("tensorrt"):
            use_tensorrt(monkeypatch, tmp_path)
        return Scorer(model, engine=_ON_GPU[place], device="cuda", **options)

    return make


@pytest.fixture
def rough(place: str) -> Callable[[float], float]:
    """Gives the tolerance there, of that of the CPU."""
    return lambda tolerance: tolerance * (_ROUGHER if place in _ON_GPU else 1)
