"""Agreement between predictions and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def srcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Spearman's rank-order correlation coefficient; NaN when either side is constant."""
    p, t = _checked(predicted, target)
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        return float("nan")
    return float(stats.spearmanr(p, t).statistic)


def plcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Pearson's linear correlation coefficient, without a logistic fit; NaN when a side is constant."""
    p, t = _checked(predicted, target)
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        return float("nan")
    return float(stats.pearsonr(p, t).statistic)


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
