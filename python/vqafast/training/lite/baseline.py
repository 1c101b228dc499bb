"""Regressions on the hand-crafted features alone: what the network has to beat on the same folds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vqafast.training.lite.data import Dataset

#: Rows that span the kernel machine's solution: a dense system of all versions needs too much memory.
LANDMARKS = 3000


#: The first features are those of luma: what a regression on hand-crafted features had before other maps.
LUMA = 176


def _standardised(data: Dataset, inside: NDArray[np.int64], width: int | None) -> NDArray[np.float64]:
    """The first `width` (None: all) quality features, averaged over a version's samples ``(N, width)``.

    Constants come from `inside` alone.
    """
    mean = np.stack([q[:, :width].mean(axis=0, dtype=np.float64) for q in data.quality])
    squeezed = np.arcsinh(mean / (np.percentile(np.abs(mean[inside]), 5, axis=0) + 1e-4))
    own = squeezed[inside]
    x: NDArray[np.float64] = (squeezed - own.mean(axis=0)) / (own.std(axis=0) + 1e-3)
    return x


def ridge(
    data: Dataset, inside: NDArray[np.int64], outside: NDArray[np.int64], *,
    width: int | None = LUMA, strength: float = 10.0,
) -> NDArray[np.float64]:  # fmt: skip
    """Ridge regression; returns scores of `outside`."""
    x, y = _standardised(data, inside, width), data.labels.astype(np.float64)
    a = x[inside]
    weights = cho_solve(
        cho_factor(a.T @ a + strength * np.eye(a.shape[1])), a.T @ (y[inside] - y[inside].mean())
    )
    scores: NDArray[np.float64] = x[outside] @ weights + y[inside].mean()
    return scores


def kernel_ridge(
    data: Dataset, inside: NDArray[np.int64], outside: NDArray[np.int64], *,
    width: int | None = LUMA, strength: float = 0.3, gamma: float = 0.3,
) -> NDArray[np.float64]:  # fmt: skip
    """Ridge regression with a Gaussian kernel on landmark rows (Nystroem); a stand-in for an SVR."""
    x, y = _standardised(data, inside, width), data.labels.astype(np.float64)
    rng = np.random.default_rng(0)
    marks = x[rng.permutation(inside)[:LANDMARKS]]

    def kernel(a: NDArray[np.float64]) -> NDArray[np.float64]:
        distance = (a**2).sum(1)[:, None] + (marks**2).sum(1)[None] - 2 * a @ marks.T
        similarity: NDArray[np.float64] = np.exp(-gamma / x.shape[1] * np.maximum(distance, 0))
        return similarity

    own, mean = kernel(x[inside]), y[inside].mean()
    system = own.T @ own + strength * kernel(marks) + 1e-6 * np.eye(len(marks))
    weights = cho_solve(cho_factor(system), own.T @ (y[inside] - mean))
    scores: NDArray[np.float64] = kernel(x[outside]) @ weights + mean
    return scores


#: Linear and kernel regression on luma's features, and on those of all maps.
BASELINES: dict[str, Callable[..., NDArray[np.float64]]] = {
    "ridge": ridge,
    "kernel_ridge": kernel_ridge,
    "kernel_ridge_maps": partial(kernel_ridge, width=None),
}
