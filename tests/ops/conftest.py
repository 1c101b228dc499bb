"""Fixtures of the op tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vqafast import _core

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = _core.build_info()["cpu_targets"]


@pytest.fixture(params=TARGETS)
def cpu_target(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test with the kernels of one instruction set."""
    best = _core.best_cpu_target()
    if TARGETS.index(request.param) > TARGETS.index(best):
        pytest.skip(f"this CPU stops at {best}")
    _core.set_cpu_target(request.param)
    yield request.param
    _core.set_cpu_target(best)
