"""Agreement between predictions and labels: the figures of the papers' tables, and all they are made of."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training.metrics_correlation import checked, grouped_srcc, krcc, mae, plcc, rmse, srcc
from vqafast.training.metrics_intervals import (
    Interval,
    bootstrap_interval,
    fisher_interval,
    wilson_interval,
)
from vqafast.training.metrics_logistic import (
    PARAMETERS,
    LogisticFit,
    LogisticFitWarning,
    fit_logistic4,
    logistic4,
    plcc_logistic,
)
from vqafast.training.metrics_pairs import PairAccuracy, pairwise_accuracy, ranked_pair_accuracy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Correlations",
    "LogisticFit",
    "LogisticFitWarning",
    "PairAccuracy",
    "bootstrap_interval",
    "evaluate",
    "fisher_interval",
    "fit_logistic4",
    "grouped_srcc",
    "krcc",
    "logistic4",
    "mae",
    "pairwise_accuracy",
    "plcc",
    "plcc_logistic",
    "ranked_pair_accuracy",
    "rmse",
    "srcc",
    "wilson_interval",
]

Mapping = Literal["logistic4", "linear", "none"]


@dataclass(frozen=True, slots=True)
class Correlations:
    """Agreement of predictions with labels.

    Attributes
    ----------
    n : int
        Number of videos.
    srcc, krcc : float
        Spearman's and Kendall's (tau-b) coefficients of the predictions.
    plcc, rmse : float
        Pearson's coefficient and root mean squared error of the predictions after `mapping`.
    mae : float
        Mean absolute error of the predictions as they are, in units of the labels.
    mapping : str
        "logistic4"; "linear" below four videos, where a logistic has more parameters than there are
        data; "none" where predictions are constant: correlations are then NaN, and rmse is that of the
        mean label.
    converged : bool
        False when the logistic fit stopped early (`LogisticFitWarning`).
    confidence, method
        Level of the intervals, and "fisher" or "bootstrap"; None without intervals.
    srcc_ci, plcc_ci, krcc_ci, rmse_ci : (float, float) or None
        rmse_ci comes with the bootstrap only.
    """

    n: int
    srcc: float
    plcc: float
    krcc: float
    rmse: float
    mae: float
    mapping: Mapping = "logistic4"
    converged: bool = True
    confidence: float | None = None
    method: Literal["fisher", "bootstrap"] | None = None
    srcc_ci: Interval | None = None
    plcc_ci: Interval | None = None
    krcc_ci: Interval | None = None
    rmse_ci: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is None is left out, NaN becomes None, intervals are lists."""
        return {k: _json(v) for k, v in asdict(self).items() if v is not None}


def evaluate(
    predicted: ArrayLike, target: ArrayLike, *, confidence: float | None = None,
    bootstrap: int = 0, seed: int = 0, groups: Sequence[str] | None = None,
) -> Correlations:  # fmt: skip
    """SRCC, KRCC, and PLCC and RMSE after the four-parameter logistic mapping (A2INet, section 4.1).

    Parameters
    ----------
    predicted, target : array_like
        ``(n,)``, n >= 2, finite.
    confidence : float, optional
        Adds intervals of this level, e.g. 0.95: by Fisher's z (`fisher_interval`), or, with
        `bootstrap` resamples, by percentiles (`bootstrap_interval`).
    bootstrap, seed, groups
        Number of resamples (1000 is usual), their seed, and ``(n,)`` contents to draw whole. The
        mapping is fitted once, on all videos.

    Raises
    ------
    InvalidArgument
        When a requirement above does not hold.

    Warns
    -----
    LogisticFitWarning
        As `fit_logistic4`.
    """
    p, t = checked(predicted, target, finite=True)
    if confidence is None and (bootstrap or groups is not None):
        raise InvalidArgument("evaluate: bootstrap and groups must come with a confidence, got None")
    if groups is not None and not bootstrap:
        raise InvalidArgument("evaluate: groups must come with a number of bootstrap resamples, got 0")
    mapped, mapping, converged = _mapped(p, t)
    figures: dict[str, Any] = {
        "n": len(p), "srcc": srcc(p, t), "plcc": plcc(mapped, t), "krcc": krcc(p, t),
        "rmse": rmse(mapped, t), "mae": mae(p, t), "mapping": mapping, "converged": converged,
    }  # fmt: skip
    if confidence is not None and bootstrap:
        # One set of draws for all four, over positions: the mapped predictions go with the raw ones.
        order = np.arange(len(p), dtype=np.float64)

        def statistics(i: NDArray[np.float64], labels: NDArray[np.float64]) -> list[float]:
            raw, fitted = p[i.astype(np.int64)], mapped[i.astype(np.int64)]
            return [srcc(raw, labels), plcc(fitted, labels), krcc(raw, labels), rmse(fitted, labels)]

        ends = bootstrap_interval(
            statistics, order, t, confidence=confidence, resamples=bootstrap, seed=seed, groups=groups
        )
        names = ("srcc_ci", "plcc_ci", "krcc_ci", "rmse_ci")
        figures |= {name: (float(a), float(b)) for name, a, b in zip(names, *ends, strict=True)}
        figures |= {"confidence": confidence, "method": "bootstrap"}
    elif confidence is not None:
        for kind in ("srcc", "plcc", "krcc"):
            r = float(np.clip(figures[kind], -1.0, 1.0))
            figures[f"{kind}_ci"] = fisher_interval(r, len(p), kind, confidence=confidence)
        figures |= {"confidence": confidence, "method": "fisher"}
    return Correlations(**figures)


def _mapped(p: NDArray[np.float64], t: NDArray[np.float64]) -> tuple[NDArray[np.float64], Mapping, bool]:
    if np.ptp(p) == 0:
        return np.full_like(t, t.mean()), "none", True
    if len(p) < PARAMETERS:
        x = p - p.mean()
        return t.mean() + x * (x @ t) / (x @ x), "linear", True
    fit = fit_logistic4(p, t)
    return fit(p), "logistic4", fit.converged


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
