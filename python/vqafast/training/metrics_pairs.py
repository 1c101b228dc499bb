"""How often the order of two videos is predicted (KSVQE, section 5.3 and table 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training.metrics_correlation import checked
from vqafast.training.metrics_intervals import Interval, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

ALL = "all"
# Rows of the pair matrix at a time: 256 against 40 000 videos are 80 MB.
BLOCK = 256


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """Agreement over pairs.

    Attributes
    ----------
    n, correct, tied : int
        Pairs, those in the right order, and those predicted equal.
    accuracy : float
        ``(correct + tied / 2) / n``: a predictor that cannot tell is worth a coin, not nothing. NaN
        when there are no pairs.
    interval : (float, float) or None
        Of `accuracy`, by Wilson; None where pairs share videos and are not independent.
    """

    n: int
    correct: int
    tied: int
    accuracy: float
    interval: Interval | None = None


def ranked_pair_accuracy(
    better: ArrayLike, worse: ArrayLike, kinds: Sequence[str] | None = None, *, confidence: float = 0.95
) -> dict[str, PairAccuracy]:
    """Accuracy on ranked pairs, over all and by kind (KSVQE, table 3).

    Parameters
    ----------
    better, worse : array_like
        ``(P,)``, finite: predictions for the video people preferred and for the other one.
    kinds : sequence of str, optional
        ``(P,)`` class of each pair, as "homogeneous" (one content) and "non-homogeneous".
    confidence : float
        Level of the intervals.

    Returns
    -------
    dict
        Each kind in alphabetical order, then "all".
    """
    b, w = checked(better, worse, finite=True, least=1)
    chosen = {ALL: np.ones(len(b), dtype=bool)}
    if kinds is not None:
        names = np.asarray(kinds)
        if names.shape != b.shape:
            raise InvalidArgument(f"ranked pairs: kinds must be {b.shape}, got {names.shape}")
        if ALL in names:
            raise InvalidArgument(f"ranked pairs: no kind may be called {ALL!r}, got one that is")
        chosen = {str(name): names == name for name in np.unique(names)} | chosen
    result = {}
    for name, inside in chosen.items():
        n, correct = int(inside.sum()), int((b > w)[inside].sum())
        tied = int((b == w)[inside].sum())
        score = correct + tied / 2
        interval = wilson_interval(score, n, confidence=confidence)
        result[name] = PairAccuracy(n, correct, tied, score / n, interval)
    return result


def pairwise_accuracy(
    predicted: ArrayLike, target: ArrayLike, *, min_gap: float = 0.0, ci95: ArrayLike | None = None
) -> PairAccuracy:
    """Accuracy over all pairs of videos whose labels differ by enough to be told apart.

    The pairs share videos, so no interval is given; `bootstrap_interval` gives one.

    Parameters
    ----------
    predicted, target : array_like
        ``(n,)``, finite.
    min_gap : float
        Pairs count when their labels differ by more than this (and by more than 0).
    ci95 : array_like, optional
        ``(n,)`` half widths of the labels' 95 % intervals: pairs count when the labels differ by more
        than ``sqrt(ci_i^2 + ci_j^2)`` too, that is, significantly at 5 %.
    """
    p, t = checked(predicted, target, finite=True)
    if not min_gap >= 0:
        raise InvalidArgument(f"pairwise accuracy: min_gap must be >= 0, got {min_gap}")
    half = np.zeros_like(t) if ci95 is None else np.asarray(ci95, dtype=np.float64)
    if half.shape != t.shape or not (np.isfinite(half) & (half >= 0)).all():
        raise InvalidArgument(f"pairwise accuracy: ci95 must be {t.shape}, finite and >= 0, got {half.shape}")
    n = correct = tied = 0
    for start in range(0, len(t), BLOCK):
        rows = slice(start, start + BLOCK)
        gap = t[rows, None] - t[None, :]  # a pair counts once, in the row of its better video
        counts = (gap > min_gap) & (gap > np.hypot(half[rows, None], half[None, :]))
        lead = p[rows, None] - p[None, :]
        n += int(counts.sum())
        correct += int((counts & (lead > 0)).sum())
        tied += int((counts & (lead == 0)).sum())
    return PairAccuracy(n, correct, tied, (correct + tied / 2) / n if n else float("nan"))
