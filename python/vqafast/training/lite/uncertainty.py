"""A half-width for every score, from the spread of the ensemble, calibrated on out-of-fold errors.

Members agree where the training data were dense; that alone is too confident, because they share the
data's blind spots. So ``u = sqrt(a^2 + (b s)^2) * g(score)``: `s` is the members' standard deviation,
`a` and `b` minimise the Laplace likelihood of the errors, and `g` is piecewise linear over the score,
such that 68 % of unseen versions lie within `u` everywhere on the scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from vqafast.models.spec import Uncertainty
from vqafast.training.lite.head import Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

COVERAGE = 0.68
KNOTS = (0.0, 20.0, 40.0, 60.0, 80.0, 90.0, 100.0)
#: Half of the scale on each side of a knot whose errors count for it.
_REACH = 12.5
#: With fewer errors than this near a knot, all count for it.
_LEAST = 50
MEANING = (
    "about two thirds of the errors on content that training never saw were within this half width; it is "
    "calibrated on compressed, degraded and enhanced natural video, and knows nothing of other material"
)


def fit(scores: Scores, labels: Floats) -> Uncertainty:
    """Constants from out-of-fold scores."""
    score, spread = np.clip(scores.score, 0, 100), scores.spread
    error = np.abs(score - labels)

    def likelihood(theta: Floats) -> float:
        width = np.sqrt(np.exp(2 * theta[0]) + np.exp(2 * theta[1]) * spread**2)
        return float((error / width + np.log(width)).mean())

    a, b = np.exp(minimize(likelihood, np.log([5.0, 1.0]), method="Nelder-Mead").x)
    ratio = error / np.sqrt(a**2 + (b * spread) ** 2)
    factors = []
    for knot in KNOTS:
        near = ratio[np.abs(score - knot) <= _REACH]
        factors.append(float(np.quantile(near if len(near) >= _LEAST else ratio, COVERAGE)))
    return Uncertainty(
        base=round(float(a), 4),
        spread=round(float(b), 4),
        knots=tuple((knot, round(factor, 4)) for knot, factor in zip(KNOTS, factors, strict=True)),
        coverage=COVERAGE,
        meaning=MEANING,
    )


def half_widths(scores: Scores, constants: Uncertainty) -> Floats:
    """Half-widths ``(N,)``, as the scoring engine computes them."""
    pairs = zip(np.clip(scores.score, 0, 100), scores.spread, strict=True)
    return np.array([constants.half_width(float(score), float(apart)) for score, apart in pairs])


def held_out_half_widths(scores: Scores, labels: Floats, fold: NDArray[np.int64]) -> Floats:
    """Half-widths of every fold from the errors of the other folds."""
    u = np.empty(len(labels))
    for k in sorted(set(fold)):
        constants = fit(part(scores, fold != k), labels[fold != k])
        u[fold == k] = half_widths(part(scores, fold == k), constants)
    return u


def coverage(scores: Scores, labels: Floats, fold: NDArray[np.int64]) -> dict[str, Any]:
    """Share of the labels within u and 2u, with u from the other folds."""
    u = held_out_half_widths(scores, labels, fold)
    error = np.abs(np.clip(scores.score, 0, 100) - labels)
    thirds = np.array_split(error[np.argsort(u)], 3)
    return {
        "within_u": round(float((error <= u).mean()), 4),
        "within_2u": round(float((error <= 2 * u).mean()), 4),
        "median_u": round(float(np.median(u)), 2),
        "mean_member_spread": round(float(scores.spread.mean()), 2),
        "mae_by_third_of_u": [round(float(third.mean()), 2) for third in thirds],
    }


def part(scores: Scores, mask: NDArray[np.bool_]) -> Scores:
    """Scores of some of the versions."""
    return Scores(scores.score[mask], scores.members[:, mask])
