"""Scores from a model of the observers: bias and inconsistency of each, instead of rejection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A part of the spread of all ratings: an observer who agrees exactly with the scores would get all
# the weight, and the scores would then be that observer's.
FLOOR = 1e-3
TOLERANCE = 1e-9
MAX_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class SubjectModel:
    """``rating = score_j + bias_i + inconsistency_i * noise``.

    Attributes
    ----------
    score, error : ndarray
        ``(videos,)``: scores, and their standard error ``1 / sqrt(sum_i 1 / inconsistency_i^2)`` over
        the observers of the video.
    bias, inconsistency : ndarray
        ``(observers,)``; the biases' mean is 0.
    rounds : int
        Until nothing changed any more.
    """

    score: Floats
    error: Floats
    bias: Floats
    inconsistency: Floats
    rounds: int


def fit_subject_model(values: Floats) -> SubjectModel:
    """Alternating projection (ITU-T P.913 (2021); Li et al., "A simple model for subject behavior", 2020).

    In turn: each observer's inconsistency from the residuals, scores as means of unbiased ratings
    weighted by the inverse squared inconsistency, and biases as mean residuals.

    Parameters
    ----------
    values : ndarray
        ``(observers, videos)`` float64, NaN where there is no rating; every video has one rating and
        every observer two, at least.

    Raises
    ------
    InvalidArgument
        When a requirement above does not hold, or the scores do not settle.
    """
    rated = np.isfinite(values)
    by_video, by_observer = rated.sum(axis=0), rated.sum(axis=1)
    if (by_video < 1).any() or (by_observer < 2).any():
        raise InvalidArgument(
            "subject model: every video must have one rating and every observer two, got at least "
            f"{by_video.min()} and {by_observer.min()}"
        )
    filled = np.where(rated, values, 0.0)
    floor = FLOOR * np.std(values[rated])
    score = filled.sum(axis=0) / by_video
    bias = np.where(rated, values - score, 0.0).sum(axis=1) / by_observer
    for turn in range(1, MAX_ROUNDS + 1):
        residual = np.where(rated, values - score - bias[:, None], 0.0)
        centred = np.where(rated, residual - residual.sum(axis=1, keepdims=True) / by_observer[:, None], 0.0)
        spread = np.sqrt((centred**2).sum(axis=1) / by_observer)
        # Equal ratings everywhere leave no spread at all, and equal weights.
        inconsistency = np.maximum(spread, floor) if floor > 0 else np.ones_like(spread)
        weight = np.where(rated, 1 / inconsistency[:, None] ** 2, 0.0)
        total = weight.sum(axis=0)
        before = score
        score = (weight * np.where(rated, values - bias[:, None], 0.0)).sum(axis=0) / total
        bias = np.where(rated, values - score, 0.0).sum(axis=1) / by_observer
        if np.abs(score - before).max() <= TOLERANCE * max(1.0, np.abs(score).max()):
            error = 1 / np.sqrt(total) if floor > 0 else np.zeros_like(total)
            shift = bias.mean()
            return SubjectModel(score + shift, error, bias - shift, spread, turn)
    raise InvalidArgument(f"subject model: scores must settle, got a change after {MAX_ROUNDS} rounds")
