"""Which observers of a study to leave out: by agreement with the others, and by ITU-R BT.500.

`values` is ``(observers, videos)`` float64 with NaN where there is no rating, as in `Ratings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

# KSVQE, section 9.2.
MIN_CORRELATION = 0.7
# Two videos always correlate perfectly; with fewer than this an observer is not judged.
FEWEST_COMMON = 3


@dataclass(frozen=True, slots=True)
class Moments:
    """Per video, each ``(videos,)``: ratings, mean, standard deviation (n - 1) and kurtosis.

    The deviation is NaN below two ratings; the kurtosis, ``m4 / m2^2`` with moments over n, is NaN
    where all ratings are equal.
    """

    n: NDArray[np.int64]
    mean: Floats
    std: Floats
    kurtosis: Floats


def moments(values: Floats) -> Moments:
    """`Moments` over the observers; the mean of a video without ratings is NaN."""
    rated = np.isfinite(values)
    n = rated.sum(axis=0)
    count = np.maximum(n, 1)
    mean = np.where(n > 0, np.where(rated, values, 0.0).sum(axis=0) / count, np.nan)
    centred = np.where(rated, values - mean, 0.0)
    m2, m4 = (centred**2).sum(axis=0) / count, (centred**4).sum(axis=0) / count
    std = np.where(n > 1, np.sqrt(m2 * count / np.maximum(n - 1, 1)), np.nan)
    varies = np.ptp(np.where(rated, values, mean), axis=0) > 0
    kurtosis = np.where(varies, m4 / np.where(varies, m2, 1.0) ** 2, np.nan)
    return Moments(n, mean, std, kurtosis)


@dataclass(frozen=True, slots=True)
class Bt500:
    """What ITU-R BT.500 counts for each observer, all ``(observers,)``.

    Attributes
    ----------
    above, below : ndarray of int
        P and Q: ratings at or beyond ``mean + alpha * S`` and ``mean - alpha * S`` of their video.
    rated : ndarray of int
        J: ratings given.
    rejected : ndarray of bool
    """

    above: NDArray[np.int64]
    below: NDArray[np.int64]
    rated: NDArray[np.int64]
    rejected: Bools


def bt500(values: Floats, *, share: float = 0.05, balance: float = 0.3) -> Bt500:
    """Screening of observers by ITU-R BT.500-15 (the text of BT.500-13, as in KSVQE, section 9.2).

    A video's ratings count as normal when their kurtosis is within 2 to 4; alpha is then 2, else
    ``sqrt(20)``. An observer is rejected when ``(P + Q) / J > share`` and
    ``|P - Q| / (P + Q) < balance``: often far from the others, and not to one side only, which would
    be a different use of the scale. A video whose ratings are all equal counts for nobody. To be
    applied once, not again to what is left.

    Parameters
    ----------
    values : ndarray
        ``(observers, videos)``.
    share, balance : float
        The Recommendation's thresholds.
    """
    m = moments(values)
    varies = np.isfinite(m.kurtosis)
    alpha = np.where((m.kurtosis >= 2) & (m.kurtosis <= 4), 2.0, np.sqrt(20.0))
    reach = np.where(varies, alpha * m.std, np.inf)
    # NaN compares false: a video that was not rated counts for neither side.
    above = (values >= m.mean + reach).sum(axis=1)
    below = (values <= m.mean - reach).sum(axis=1)
    rated = np.isfinite(values).sum(axis=1)
    beyond = above + below
    some = np.maximum(beyond, 1)
    rejected = (beyond / np.maximum(rated, 1) > share) & (np.abs(above - below) / some < balance)
    return Bt500(above, below, rated, rejected)


def agreement(values: Floats) -> Floats:
    """Each observer's agreement with the mean of the others, ``(observers,)``: KSVQE, section 9.2.

    The lower of SRCC and PLCC over the videos that others rated too. 0 for an observer who gave one
    rating to all of them while the others did not; NaN, not judged, below three such videos or where
    the others do not tell them apart.
    """
    rated = np.isfinite(values)
    filled = np.where(rated, values, 0.0)
    others = rated.sum(axis=0) - rated
    mean = np.where(others > 0, (filled.sum(axis=0) - filled) / np.maximum(others, 1), np.nan)
    result = np.full(len(values), np.nan)
    for i, common in enumerate(rated & (others > 0)):
        own, rest = values[i, common], mean[i, common]
        if common.sum() < FEWEST_COMMON or np.ptp(rest) == 0:
            continue
        if np.ptp(own) == 0:
            result[i] = 0.0
            continue
        ranks = stats.rankdata(own), stats.rankdata(rest)
        result[i] = min(np.corrcoef(own, rest)[0, 1], np.corrcoef(*ranks)[0, 1])
    return result


def disagreeing(values: Floats, minimum: float = MIN_CORRELATION) -> dict[int, float]:
    """Observers whose `agreement` is below `minimum`, with it, the worst first.

    One at a time, and the others are judged again without the worst, so that one who rates at random
    does not take good observers along. KSVQE retrains such observers; a table can only leave them out.
    """
    left = np.arange(len(values))
    found: dict[int, float] = {}
    while len(left) > 1:
        agree = agreement(values[left])
        low = np.where(agree < minimum, agree, np.inf)
        worst = int(np.argmin(low))
        if not np.isfinite(low[worst]):
            break
        found[int(left[worst])] = float(low[worst])
        left = np.delete(left, worst)
    return found
