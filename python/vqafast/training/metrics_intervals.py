"""Confidence intervals of correlations and of any other statistic of predictions and labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from vqafast.errors import InvalidArgument
from vqafast.training.metrics_correlation import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
Kind = Literal["plcc", "srcc", "krcc"]


def fisher_interval(r: float, n: int, kind: Kind = "plcc", *, confidence: float = 0.95) -> Interval:
    """Interval of a correlation by Fisher's z-transform, ``tanh(atanh(r) +- z * s)``.

    ========  ========================  ================================================
    kind      ``s^2``                   source
    ========  ========================  ================================================
    plcc      ``1 / (n - 3)``           Fisher (1921)
    srcc      ``(1 + r^2/2) / (n - 3)`` Bonett and Wright, Psychometrika 65 (2000)
    krcc      ``0.437 / (n - 4)``       Fieller, Hartley and Pearson, Biometrika 44 (1957)
    ========  ========================  ================================================

    The items are taken as independent; videos of few contents are not, see `bootstrap_interval`.

    Parameters
    ----------
    r : float
        The coefficient; NaN gives NaN, -1 and 1 themselves.
    n : int
        Number of items; too few for the variance gives (-1, 1), which says nothing.
    kind : str
        Which coefficient.
    confidence : float
        Between 0 and 1.
    """
    z = _normal_quantile(confidence)
    variances = {
        "plcc": (1.0, n - 3),
        "srcc": (1 + r * r / 2, n - 3),
        "krcc": (0.437, n - 4),
    }
    if kind not in variances:
        raise InvalidArgument(f"fisher_interval: kind must be one of {', '.join(variances)}, got {kind!r}")
    if math.isnan(r):
        return math.nan, math.nan
    if not -1 <= r <= 1:
        raise InvalidArgument(f"fisher_interval: r must be within -1 and 1, got {r}")
    above, below = variances[kind]
    if below <= 0:
        return -1.0, 1.0
    if abs(r) == 1:
        return r, r
    centre, half = math.atanh(r), z * math.sqrt(above / below)
    return math.tanh(centre - half), math.tanh(centre + half)


def wilson_interval(successes: float, n: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (JASA 22, 1927); `n` independent trials, n >= 1."""
    if not (n >= 1 and 0 <= successes <= n):
        raise InvalidArgument(
            f"wilson_interval: must have 0 <= successes <= n and n >= 1, got {successes}, {n}"
        )
    z = _normal_quantile(confidence)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return max(0.0, low), min(1.0, high)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], ArrayLike],
    predicted: ArrayLike, target: ArrayLike, *,
    confidence: float = 0.95, resamples: int = 1000, seed: int = 0, groups: Sequence[str] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Percentile bootstrap: items are drawn with replacement, the same for the same seed.

    Parameters
    ----------
    statistic : callable
        From ``(predicted, target)``, each ``(m,)``, to a float or a ``(k,)`` array; resamples in which
        an entry is not finite (constant labels) do not count for it.
    predicted, target : array_like
        ``(n,)``, finite.
    confidence, resamples, seed
        Level between 0 and 1, number of draws >= 1, and where they start.
    groups : sequence of str, optional
        ``(n,)`` contents: whole contents are drawn instead of single videos, because videos of one
        content are not independent.

    Returns
    -------
    ndarray
        ``(2,)`` or ``(2, k)``: lower and upper end; NaN where no resample gave a finite value.
    """
    p, t = checked(predicted, target, finite=True)
    if resamples < 1:
        raise InvalidArgument(f"bootstrap: resamples must be >= 1, got {resamples}")
    _normal_quantile(confidence)
    drawn = np.stack(
        [np.asarray(statistic(p[i], t[i]), dtype=np.float64) for i in _draws(len(p), resamples, seed, groups)]
    )
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    columns = drawn.reshape(resamples, -1)
    result = np.full((2, columns.shape[1]), np.nan)
    for k, column in enumerate(columns.T):
        finite = column[np.isfinite(column)]
        if len(finite):
            result[:, k] = np.quantile(finite, ends)
    return result.reshape((2, *drawn.shape[1:]))


def _draws(n: int, resamples: int, seed: int, groups: Sequence[str] | None) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    if groups is None:
        for _ in range(resamples):
            yield generator.integers(0, n, n)
        return
    names = np.asarray(groups)
    if names.shape != (n,):
        raise InvalidArgument(f"bootstrap: groups must be ({n},), got {names.shape}")
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    for _ in range(resamples):
        yield np.concatenate([members[k] for k in generator.integers(0, len(members), len(members))])


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InvalidArgument(f"confidence: must be between 0 and 1, got {confidence}")
    return float(special.ndtri((1 + confidence) / 2))
