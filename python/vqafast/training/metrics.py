"""Agreement between predictions and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from vqafast.errors import InvalidArgument


def srcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Spearman's rank-order correlation coefficient; NaN when either side is constant."""
    return float(stats.spearmanr(_checked(predicted, target)[0], target).statistic)


def plcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Pearson's linear correlation coefficient, without a logistic fit."""
    return float(stats.pearsonr(*_checked(predicted, target)).statistic)


def mae(predicted: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute error."""
    p, t = _checked(predicted, target)
    return float(np.abs(p - t).mean())


def grouped_srcc(predicted: ArrayLike, target: ArrayLike, groups: Sequence[str]) -> dict[str, float]:
    """SRCC within each group of three or more; a group whose labels are all equal is left out."""
    p, t = _checked(predicted, target)
    names = np.asarray(groups)
    result = {}
    for name in sorted(set(groups)):
        inside = names == name
        if inside.sum() >= 3 and np.ptp(t[inside]) > 0:
            result[name] = srcc(p[inside], t[inside])
    return result


def _checked(predicted: ArrayLike, target: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, t = np.asarray(predicted, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if p.shape != t.shape or p.ndim != 1 or len(p) < 2:
        raise InvalidArgument(f"metrics: both sides must be (n,) with n >= 2, got {p.shape}, {t.shape}")
    return p, t
