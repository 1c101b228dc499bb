"""What tests of the TensorRT engine share: a stand-in for the library, and a cache of plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.fake_tensorrt import Cuda, Script

    from vqafast.engines.tensorrt_cache import PlanCache


@pytest.fixture
def script() -> Script:
    # Here, because it needs torch and onnx, which other tests of engines do without.
    from tests.engines.fake_tensorrt import Script

    return Script()


@pytest.fixture
def fake(script: Script, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    from tests.engines.fake_tensorrt import install

    return install(monkeypatch, script)


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    from vqafast.engines.tensorrt_cache import PlanCache

    return PlanCache(tmp_path / "plans")
