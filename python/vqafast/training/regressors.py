"""Regressors from one feature vector a video to its MOS, for `vqafast.training.protocol`.

Each chooses its hyper-parameters by SRCC on the validation part of a split, then, unless told not to,
fits again on training and validation together. The test part is only predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Chosen = dict[str, float]
    Choose = Callable[[Array, Array, Indices, Indices, int], Chosen]
    Predict = Callable[[Array, Array, Indices, Indices, Chosen, int], Array]

#: Strengths of the ridge, in units of the mean squared length of a standardised feature vector.
RIDGE_STRENGTHS = tuple(float(v) for v in 10.0 ** np.arange(-3, 3.5, 0.5))
#: Widths of the kernel (in the same units) and penalties of the support vector regression.
SVR_GAMMAS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
SVR_PENALTIES = (1.0, 4.0, 16.0, 64.0)
#: Half width of the tube without penalty, in standard deviations of the MOS.
SVR_TUBE = 0.1

#: Share of the training part that chooses hyper-parameters where a split has no validation part.
_HELD_OUT = 0.25


@dataclass(slots=True)
class Regressor:
    """A `FitPredict` on fixed features.

    Parameters
    ----------
    features : (N, D) array
    mos : (N,) array
    choose, predict : callable
        ``choose(features, mos, train, val, seed)`` returns the hyper-parameters; with them,
        ``predict(features, mos, fitted_on, wanted, chosen, seed)`` gives the scores of `wanted`.
    refit : bool
        Fit again on training and validation together once the hyper-parameters are chosen.

    Attributes
    ----------
    chosen : list of dict
        Hyper-parameters of every split so far.
    """

    features: Array
    mos: Array
    choose: Choose
    predict: Predict
    refit: bool
    chosen: list[Chosen]

    def __call__(self, train: Indices, val: Indices, test: Indices, seed: int) -> Array:
        """Scores of `test`; see `vqafast.training.protocol.FitPredict`."""
        fitted_on = np.sort(np.concatenate([train, val])) if self.refit else train
        if not len(val):
            order = np.random.default_rng(seed).permutation(train)
            held = max(2, round(_HELD_OUT * len(train)))
            train, val = np.sort(order[held:]), np.sort(order[:held])
        chosen = self.choose(self.features, self.mos, train, val, seed)
        self.chosen.append(chosen)
        return self.predict(self.features, self.mos, fitted_on, test, chosen, seed)


def regressor(name: str, features: Array, mos: Array, *, refit: bool = True) -> Regressor:
    """Return the regressor `name` of `REGRESSORS` on features ``(N, D)`` and labels ``(N,)``."""
    if name not in REGRESSORS:
        raise InvalidArgument(f"regressor: must be one of {', '.join(REGRESSORS)}, got {name!r}")
    x, y = np.asarray(features, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise InvalidArgument(
            f"regressor: must get (N, D) features and (N,) MOS, got {x.shape} and {y.shape}"
        )
    if not np.isfinite(x).all():
        raise InvalidArgument("regressor: features must be finite, got NaN or infinity")
    choose, predict = REGRESSORS[name]()
    return Regressor(x, y, choose, predict, refit, [])


def standardised(features: Array, fitted_on: Indices) -> Array:
    """Features with the mean and spread of `fitted_on` taken out, over sqrt(D): ``|x|^2`` is about 1."""
    part = features[fitted_on]
    deviation = part.std(axis=0)
    # A feature that never moves in training says nothing about what it means elsewhere.
    scale = np.where(deviation > 1e-12, deviation, np.inf)
    result: Array = (features - part.mean(axis=0)) / scale / np.sqrt(features.shape[1])
    return result


def best(scores: Mapping[tuple[float, ...], Array], target: Array) -> tuple[float, ...]:
    """Key of the predictions that rank `target` best; the first one of equals."""
    return max(scores, key=lambda key: np.nan_to_num(metrics.srcc(scores[key], target), nan=-2.0))


def ridge_solve(x: Array, y: Array, wanted: Array, strength: float) -> Array:
    """Predictions of a ridge regression with an intercept, solved in the space of the samples.

    Parameters
    ----------
    x : (n, D) array
        Centred features of the samples to fit.
    y : (n,) array
    wanted : (m, D) array
        Features to predict, centred alike.
    strength : float
        Weight of ``|w|^2`` beside the summed squared error.
    """
    mean = y.mean()
    weights = np.linalg.solve(x @ x.T + strength * np.eye(len(x)), y - mean)
    return np.asarray(wanted @ (x.T @ weights) + mean)


def _ridge_choose(features: Array, mos: Array, train: Indices, val: Indices, _seed: int) -> Chosen:
    x = standardised(features, train)
    scores: dict[tuple[float, ...], Array] = {
        (s,): ridge_solve(x[train], mos[train], x[val], s) for s in RIDGE_STRENGTHS
    }
    return {"strength": best(scores, mos[val])[0]}


def _ridge_predict(
    features: Array, mos: Array, train: Indices, wanted: Indices, chosen: Chosen, _seed: int
) -> Array:
    x = standardised(features, train)
    return ridge_solve(x[train], mos[train], x[wanted], chosen["strength"])


def squared_distances(a: Array, b: Array) -> Array:
    """``|a_i - b_j|^2``, ``(n, m)``."""
    result: Array = np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T, 0)
    return result


def svr_fit(
    kernel: Array, y: Array, penalty: float, tube: float, *, sweeps: int = 300, tolerance: float = 1e-3
) -> Array:
    """Coefficients ``(n,)`` of support vector regression by coordinate descent on its dual.

    Minimises ``beta' K beta / 2 - y' beta + tube |beta|_1`` with ``|beta_i| <= penalty``. The bias is
    part of the kernel (a constant added to it), so there is no equality constraint and each coordinate
    has a closed form (Ho and Lin, JMLR 2012).
    """
    beta = np.zeros(len(y))
    gradient = -y.astype(np.float64)
    diagonal = np.diag(kernel).copy()
    for _ in range(sweeps):
        largest = 0.0
        for i in range(len(y)):
            free = beta[i] - gradient[i] / diagonal[i]
            shrunk = np.sign(free) * max(abs(free) - tube / diagonal[i], 0.0)
            step = min(max(shrunk, -penalty), penalty) - beta[i]
            if step:
                gradient += step * kernel[i]
                beta[i] += step
                largest = max(largest, abs(step) * diagonal[i])
        if largest < tolerance:
            break
    return beta


def _svr_scores(x: Array, y: Array, train: Indices, wanted: Indices, gamma: float, penalty: float) -> Array:
    mean, deviation = y[train].mean(), max(y[train].std(), 1e-12)
    kernel: Array = np.exp(-gamma * squared_distances(x[train], x[train])) + 1
    beta = svr_fit(kernel, (y[train] - mean) / deviation, penalty, SVR_TUBE)
    cross = np.exp(-gamma * squared_distances(x[wanted], x[train])) + 1
    return np.asarray(cross @ beta * deviation + mean)


def _svr_choose(features: Array, mos: Array, train: Indices, val: Indices, _seed: int) -> Chosen:
    x = standardised(features, train)
    scores: dict[tuple[float, ...], Array] = {
        (g, c): _svr_scores(x, mos, train, val, g, c) for g in SVR_GAMMAS for c in SVR_PENALTIES
    }
    gamma, penalty = best(scores, mos[val])
    return {"gamma": gamma, "penalty": penalty}


def _svr_predict(
    features: Array, mos: Array, train: Indices, wanted: Indices, chosen: Chosen, _seed: int
) -> Array:
    x = standardised(features, train)
    return _svr_scores(x, mos, train, wanted, chosen["gamma"], chosen["penalty"])


def _vsfa() -> tuple[Choose, Predict]:
    # The only one that needs torch.
    from vqafast.training.vsfa_head import choose, predict

    return choose, predict


REGRESSORS: dict[str, Callable[[], tuple[Choose, Predict]]] = {
    "ridge": lambda: (_ridge_choose, _ridge_predict),
    "svr": lambda: (_svr_choose, _svr_predict),
    "vsfa": _vsfa,
}
"""By name: what chooses hyper-parameters and what predicts."""
