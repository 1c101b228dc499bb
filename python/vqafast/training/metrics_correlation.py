"""Correlation and error of predictions against labels, as they are."""

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
    p, t = checked(predicted, target)
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        return float("nan")
    return float(stats.spearmanr(p, t).statistic)


def plcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Pearson's linear correlation coefficient, without a logistic fit; NaN when a side is constant."""
    p, t = checked(predicted, target)
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        return float("nan")
    return float(stats.pearsonr(p, t).statistic)


def krcc(predicted: ArrayLike, target: ArrayLike) -> float:
    """Kendall's rank correlation coefficient, tau-b: ties are discounted; NaN when a side is constant."""
    p, t = checked(predicted, target)
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        return float("nan")
    return float(stats.kendalltau(p, t, variant="b").statistic)


def mae(predicted: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute error."""
    p, t = checked(predicted, target)
    return float(np.abs(p - t).mean())


def rmse(predicted: ArrayLike, target: ArrayLike) -> float:
    """Root mean squared error, without a mapping."""
    p, t = checked(predicted, target)
    return float(np.sqrt(np.square(p - t).mean()))


def grouped_srcc(predicted: ArrayLike, target: ArrayLike, groups: Sequence[str]) -> dict[str, float]:
    """SRCC within each group of three or more; a group whose labels are all equal is left out."""
    p, t = checked(predicted, target)
    names = np.asarray(groups)
    result = {}
    for name in sorted(set(groups)):
        inside = names == name
        if inside.sum() >= 3 and np.ptp(t[inside]) > 0:
            result[name] = srcc(p[inside], t[inside])
    return result


def checked(
    predicted: ArrayLike, target: ArrayLike, *, finite: bool = False, least: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sides as float64 ``(n,)``; `finite` refuses NaN and infinity.

    Raises
    ------
    InvalidArgument
        When shapes differ, are not ``(n,)``, or n is below `least`.
    """
    p, t = np.asarray(predicted, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if p.shape != t.shape or p.ndim != 1 or len(p) < least:
        raise InvalidArgument(f"metrics: both sides must be (n,) with n >= {least}, got {p.shape}, {t.shape}")
    if finite and not (np.isfinite(p).all() and np.isfinite(t).all()):
        bad = int((~np.isfinite(p)).sum()), int((~np.isfinite(t)).sum())
        raise InvalidArgument(
            f"metrics: values must be finite, got {bad[0]} predictions and {bad[1]} labels of {len(p)} that "
            "are not"
        )
    return p, t
