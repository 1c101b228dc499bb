"""The differentiable definitions and the fused operators are the same functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vqafast import ops  # noqa: E402
from vqafast.models.a2inet import functional as fn  # noqa: E402


def rand(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["cgin", "fgin", "adain"])
def test_cgin(mode: str) -> None:
    parts = [rand(3, 9, 17, seed=i) for i in range(6)]
    affine = [None] * 4 if mode == "adain" else parts[2:]
    lengths = torch.tensor([9, 1, 4])
    mine = fn.cgin(parts[0], parts[1], *affine, lengths=lengths, mode=mode).numpy()
    arrays = [None if p is None else p.numpy() for p in (*parts[:2], *affine)]
    fused = ops.cgin(*arrays, lengths=lengths.numpy(), mode=mode)
    for b, n in enumerate(lengths.tolist()):
        np.testing.assert_allclose(mine[b, :n], fused[b, :n], rtol=1e-4, atol=1e-5)


def test_hysteresis_pool() -> None:
    q, lengths = rand(3, 20), torch.tensor([20, 1, 9])
    score, series = fn.hysteresis_pool(q, lengths)
    pooled, fused = ops.hysteresis_pool(q.numpy(), lengths=lengths.numpy())
    np.testing.assert_allclose(score.numpy(), pooled, rtol=1e-5, atol=1e-6)
    for b, n in enumerate(lengths.tolist()):
        np.testing.assert_allclose(series.numpy()[b, :n], fused[b, :n], rtol=1e-5, atol=1e-6)


def test_moment_pool() -> None:
    maps = [rand(2, 3, 5, 7), rand(2, 4, 3, 2)]
    fused = np.concatenate([ops.moment_pool(m.numpy()) for m in maps], axis=1)
    np.testing.assert_allclose(fn.moment_pool(maps).numpy(), fused, rtol=1e-5, atol=1e-6)
