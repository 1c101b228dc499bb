"""The four-parameter logistic mapping from predictions to labels, and what is measured after it.

VQEG, "Final report on the validation of objective models of video quality assessment, phase I" (2000);
A2INet, section 4.1.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, special

from vqafast.errors import InvalidArgument
from vqafast.training.metrics_correlation import checked, plcc

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PARAMETERS = 4
# Width b4 in standard deviations of the predictions. The first start is VQEG's; the widest bends a
# straight line by less than 1e-8 of its range, so a fit is never worse than a line.
STARTS = (0.25, 1.0, 4.0, 1e4)
# A narrower curve is a step between two neighbours: it fits noise.
NARROWEST, WIDEST = 0.02, 1e4
# b3 may lie this many (standard deviations + widths) from the mean: there the curve is an exponential to
# within exp(-30), and further away nothing changes any more.
BEYOND = 30.0
TOLERANCE = 1e-10
# Evaluations of the first solver and of the second.
LIMITS = (200, 2000)


class LogisticFitWarning(UserWarning):
    """The logistic fit did not converge; the best mapping found so far is used."""


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A fitted mapping; call it with predictions to get them on the scale of the labels.

    Attributes
    ----------
    b1, b2, b3, b4 : float
        Of `logistic4`; ``b1 < b2`` when labels fall as predictions rise. Where the data do not bend,
        the asymptotes lie far outside the labels and mean nothing by themselves.
    converged : bool
        Whether the solver met its tolerance; if not, a `LogisticFitWarning` said so.
    """

    b1: float
    b2: float
    b3: float
    b4: float
    converged: bool = True

    def __call__(self, predicted: ArrayLike) -> NDArray[np.float64]:
        """`predicted`, of any shape, on the scale of the labels."""
        return logistic4(predicted, self.b1, self.b2, self.b3, self.b4)

    @property
    def increasing(self) -> bool:
        """Whether larger predictions stand for larger labels."""
        return self.b1 >= self.b2


def logistic4(x: ArrayLike, b1: float, b2: float, b3: float, b4: float) -> NDArray[np.float64]:
    """``(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2``.

    Parameters
    ----------
    x : array_like
        Predictions of any shape.
    b1, b2 : float
        Asymptotes at +infinity and -infinity.
    b3, b4 : float
        Where the curve is half way, and its width; b4 is not 0.
    """
    if b4 == 0:
        raise InvalidArgument("logistic4: b4 must not be 0, got 0")
    z = (np.asarray(x, dtype=np.float64) - b3) / abs(b4)
    # From the nearer asymptote: the other may be so far away that the values drown in its rounding.
    if abs(b1) < abs(b2):
        return np.asarray(b1 + (b2 - b1) * special.expit(-z), dtype=np.float64)
    return np.asarray(b2 + (b1 - b2) * special.expit(z), dtype=np.float64)


def fit_logistic4(predicted: ArrayLike, target: ArrayLike) -> LogisticFit:
    """Least-squares fit of `logistic4`, rising or falling as the data do.

    For a given b3 and b4 the best asymptotes are a linear regression, so the search is over these two
    alone: from VQEG's start (b3 the mean of the predictions, b4 a quarter of their standard deviation),
    from two wider ones, and from one so wide that it is a straight line. The least error wins. b4
    stays within 0.02 to 10000 standard deviations, b3 where it still changes the curve.

    Parameters
    ----------
    predicted, target : array_like
        ``(n,)``, n >= 4, finite. Constant labels give the constant mapping.

    Raises
    ------
    InvalidArgument
        When a requirement above does not hold, or all predictions are equal.

    Warns
    -----
    LogisticFitWarning
        When the winning search stopped at its limit of evaluations.
    """
    x, y = checked(predicted, target, finite=True, least=PARAMETERS)
    if np.ptp(x) == 0:
        raise InvalidArgument(f"logistic fit: predictions must not all be equal, got {len(x)} times {x[0]}")
    centre, scale = x.mean(), x.std()
    if np.ptp(y) == 0:
        return LogisticFit(float(y[0]), float(y[0]), float(centre), float(scale) / 4)
    u, v = (x - centre) / scale, (y - y.mean()) / y.std()
    problem = _Separable(u, v)
    far = max(BEYOND, float(np.abs(u).max()))
    bounds = ([-far, math.log(NARROWEST)], [far, math.log(WIDEST)])
    best, least, converged = np.zeros(2), math.inf, False
    for width in STARTS:
        at, cost, settled = _search(problem, (0.0, math.log(width)), bounds)
        # Searches that meet in one minimum differ in their last digits; the first of them stands.
        if cost < least * (1 - 1e-9):
            best, least, converged = at, cost, settled
    if not converged:
        warnings.warn(
            LogisticFitWarning(
                f"logistic fit: no convergence in {sum(LIMITS)} evaluations; the best so far is used"
            ),
            stacklevel=2,
        )
    b1, b2, b3, b4 = problem.parameters(best)
    low, high = y.mean() + y.std() * b2, y.mean() + y.std() * b1
    return LogisticFit(float(high), float(low), float(centre + scale * b3), float(scale * b4), converged)


def plcc_logistic(predicted: ArrayLike, target: ArrayLike) -> float:
    """PLCC after `fit_logistic4`; NaN for constant labels.

    Raises
    ------
    InvalidArgument
        As `fit_logistic4`.
    """
    return plcc(fit_logistic4(predicted, target)(predicted), target)


def _search(
    problem: _Separable, start: tuple[float, float], bounds: tuple[list[float], list[float]]
) -> tuple[NDArray[np.float64], float, bool]:
    """Minimum near `start`, half the squared error there, and whether the search settled."""
    found = optimize.least_squares(
        problem.residual, start, jac=problem.jacobian, bounds=bounds, method="dogbox",
        ftol=TOLERANCE, xtol=TOLERANCE, gtol=TOLERANCE, max_nfev=LIMITS[0],
    )  # fmt: skip
    if found.status > 0:
        return found.x, float(found.cost), True
    # Gauss-Newton crawls where residuals are large, that is, where predictions say little.
    other = optimize.minimize(
        problem.cost, found.x, jac=True, bounds=list(zip(*bounds, strict=True)), method="L-BFGS-B",
        options={"ftol": 1e-13, "gtol": TOLERANCE, "maxfun": LIMITS[1]},
    )  # fmt: skip
    return other.x, float(other.fun), bool(other.success)


class _Separable:
    """``v ~ logistic4(u)`` with the two asymptotes eliminated; `v` has mean 0.

    Over ``(m, log b4)`` with ``b3 = m * (1 + b4)``: bounds on m hold b3 within a number of standard
    deviations of a narrow curve, and within a number of widths of a wide one.
    """

    def __init__(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> None:
        self._u, self._v = u, v

    def _basis(self, at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """z, the sigmoid of it up to a constant, and that constant."""
        width = math.exp(at[1])
        z = (self._u - at[0] * (1 + width)) / width
        # Where most of it is close to 1, its distance from 1 has the digits.
        if np.median(z) > 0:
            return z, -special.expit(-z), 1.0
        return z, special.expit(z), 0.0

    def _rise(self, centred: NDArray[np.float64]) -> float:
        power = float(centred @ centred)
        return float(centred @ self._v) / power if power > 0 else 0.0

    def parameters(self, at: NDArray[np.float64]) -> tuple[float, float, float, float]:
        """b1 to b4."""
        _, basis, shift = self._basis(at)
        mean = float(basis.mean())
        rise = self._rise(basis - mean)
        width = math.exp(at[1])
        return rise * (1 - shift - mean), rise * (-shift - mean), float(at[0]) * (1 + width), width

    def residual(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        _, basis, _ = self._basis(at)
        centred = basis - basis.mean()
        return np.asarray(self._v - self._rise(centred) * centred, dtype=np.float64)

    def cost(self, at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Half the squared residual, and its gradient."""
        residual = self.residual(at)
        return float(residual @ residual) / 2, np.asarray(residual @ self.jacobian(at), dtype=np.float64)

    def jacobian(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        z, basis, _ = self._basis(at)
        centred = basis - basis.mean()
        power = float(centred @ centred)
        if power == 0:
            return np.zeros((len(z), 2))
        width = math.exp(at[1])
        slope = special.expit(z) * special.expit(-z)
        d_basis = np.stack([-slope * (1 + width) / width, -slope * (z + at[0])], axis=1)
        d_basis -= d_basis.mean(axis=0)
        rise = self._rise(centred)
        d_rise = (self._v @ d_basis - 2 * rise * (centred @ d_basis)) / power
        return np.asarray(-rise * d_basis - np.outer(centred, d_rise), dtype=np.float64)
