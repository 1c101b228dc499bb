"""From raw ratings to mean opinion scores with confidence intervals (KSVQE, section 9.2; BT.500)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO, get_args

import numpy as np
from scipy import special

from vqafast.errors import InvalidArgument
from vqafast.training.subjective.screening import MIN_CORRELATION, bt500, disagreeing, moments
from vqafast.training.subjective.subject_model import fit_subject_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vqafast.training.subjective.ratings import Ratings

Screen = Literal["correlation", "bt500"]
Outliers = Literal["keep", "range", "interval"]
Interval = Literal["normal", "student"]
Method = Literal["mean", "subject-model"]

# Of the normal distribution at 95 %, as BT.500 and KSVQE (section 9.2) write it.
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Rejected:
    """An observer who was left out: the ratings that went along, and why."""

    observer: str
    ratings: int
    reason: str


@dataclass(frozen=True, slots=True)
class OpinionScores:
    """Scores of a study and what was done to get them.

    Attributes
    ----------
    videos : tuple of str
        Those with a rating left.
    mos, ci95 : ndarray
        ``(videos,)``: scores, and half widths of their 95 % intervals; NaN where one rating is left.
    n : ndarray of int
        ``(videos,)`` ratings behind each score.
    observers : int
        In the table.
    ratings : int
        In the table.
    rejected : tuple of Rejected
        Observers left out, in the order in which they were.
    beyond, removed : int
        Single ratings of the others that the rule for outliers names, and how many of these were
        removed: all or, under "keep", none.
    unrated : tuple of str
        Videos without a rating left; they have no score.
    """

    videos: tuple[str, ...]
    mos: NDArray[np.float64]
    ci95: NDArray[np.float64]
    n: NDArray[np.int64]
    observers: int
    ratings: int
    rejected: tuple[Rejected, ...]
    beyond: int
    removed: int
    unrated: tuple[str, ...]

    def write_csv(self, out: TextIO) -> None:
        """Columns ``name,mos,ci95,n``; ci95 is empty where it is not known."""
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("name", "mos", "ci95", "n"))
        for name, mos, half, n in zip(self.videos, self.mos, self.ci95, self.n, strict=True):
            writer.writerow((name, f"{mos:.6g}", f"{half:.6g}" if np.isfinite(half) else "", n))


def opinion_scores(
    ratings: Ratings, *, screen: tuple[Screen, ...] = ("correlation", "bt500"),
    min_correlation: float = MIN_CORRELATION, outliers: Outliers = "keep",
    interval: Interval = "normal", method: Method = "mean",
) -> OpinionScores:  # fmt: skip
    """Screen the observers, treat outliers, and average what is left.

    Parameters
    ----------
    ratings : Ratings
        Checked raw ratings.
    screen : tuple of str
        "correlation" leaves out observers who disagree with the others (`disagreeing`), then "bt500"
        those that ITU-R BT.500 rejects among the rest (`bt500`); in this order, as in KSVQE.
    min_correlation : float
        Threshold of the first, -1 to 1.
    outliers : str
        Single ratings of the observers who stay. "keep": none is removed, as in BT.500. "range": those
        further than 1.96 standard deviations from the mean of their video. "interval": those outside
        the 95 % interval of the *mean*, which is how KSVQE's eqs. 4 and 5 read: it removes most honest
        ratings (about 60 % of 15). Both bias intervals towards narrow ones.
    interval : str
        "normal": ``1.96 * S / sqrt(n)``, KSVQE's eq. 5 and BT.500. "student": with the quantile of
        Student's t in place of 1.96, which covers 95 % with few observers too.
    method : str
        "mean", or "subject-model": scores and errors of `fit_subject_model`, always times 1.96.

    Raises
    ------
    InvalidArgument
        For an unknown choice, and when fewer than two observers are left.
    """
    _check_choices(screen, outliers, interval, method)
    if not -1 <= min_correlation <= 1:
        raise InvalidArgument(f"mos: min_correlation must be within -1 and 1, got {min_correlation}")
    values = ratings.values.copy()
    rejected: list[Rejected] = []

    def reject(i: int, reason: str) -> None:
        rejected.append(Rejected(ratings.observers[i], int(np.isfinite(values[i]).sum()), reason))
        values[i] = np.nan

    if "correlation" in screen:
        for i, r in disagreeing(values, min_correlation).items():
            reject(i, f"correlation with the others {r:.2f}, below {min_correlation:g}")
    if "bt500" in screen:
        found = bt500(values)
        for k in np.flatnonzero(found.rejected):
            i = int(k)
            high, low, rated = found.above[i], found.below[i], found.rated[i]
            reject(i, f"BT.500: {high} ratings far above and {low} far below the others, of {rated}")
    left = len(ratings.observers) - len(rejected)
    if left < 2:
        raise InvalidArgument(
            f"mos: screening must leave two observers at least, got {left} of {len(ratings.observers)}; "
            "the observers do not agree, or the scale is turned for some"
        )
    beyond = _outliers(values, "range" if outliers == "keep" else outliers)
    if outliers != "keep":
        values[beyond] = np.nan
    counts = np.isfinite(values).sum(axis=0)
    scored = np.flatnonzero(counts)
    mos, ci95 = _scores(values[:, scored], interval, method)
    return OpinionScores(
        videos=tuple(ratings.videos[j] for j in scored),
        mos=mos, ci95=ci95, n=counts[scored],
        observers=len(ratings.observers), ratings=ratings.count, rejected=tuple(rejected),
        beyond=int(beyond.sum()), removed=0 if outliers == "keep" else int(beyond.sum()),
        unrated=tuple(ratings.videos[j] for j in np.flatnonzero(counts == 0)),
    )  # fmt: skip


def _check_choices(screen: tuple[str, ...], outliers: str, interval: str, method: str) -> None:
    given = [("screen", s, Screen) for s in screen]
    given += [("outliers", outliers, Outliers), ("interval", interval, Interval), ("method", method, Method)]
    for name, value, choices in given:
        if value not in get_args(choices):
            raise InvalidArgument(f"mos: {name} must be of {', '.join(get_args(choices))}, got {value!r}")


def _outliers(values: NDArray[np.float64], rule: Outliers) -> NDArray[np.bool_]:
    m = moments(values)
    reach = Z95 * m.std / (np.sqrt(np.maximum(m.n, 1)) if rule == "interval" else 1.0)
    # Equal ratings may differ from their own mean by a rounding.
    return np.abs(values - m.mean) > np.where(np.isfinite(m.kurtosis), reach, np.inf)


def _scores(
    values: NDArray[np.float64], interval: Interval, method: Method
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if method == "subject-model":
        # Observers who were left out have no ratings, and no part in the model.
        model = fit_subject_model(values[np.isfinite(values).any(axis=1)])
        return model.score, Z95 * model.error
    m = moments(values)
    quantile = special.stdtrit(np.maximum(m.n - 1, 1), 0.975) if interval == "student" else Z95
    return m.mean, quantile * m.std / np.sqrt(m.n)
