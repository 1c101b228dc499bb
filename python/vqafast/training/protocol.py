"""The papers' protocol: the same model over several splits, and trained on one dataset, tested on others."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from rich.table import Table

    from vqafast.training.metrics import Correlations
    from vqafast.training.splits import Split

#: What a table shows: field of `Correlations`, heading. SRCC and KRCC rank; PLCC and RMSE follow the
#: four-parameter logistic mapping (001, section 4.1).
FIGURES = {"srcc": "SRCC", "plcc": "PLCC", "krcc": "KRCC", "rmse": "RMSE"}


class FitPredict(Protocol):
    """Train on one part, choose on the second, predict the third; all are indices into the items.

    `seed` differs from split to split. The labels of `test` must not be looked at.
    """

    def __call__(
        self, train: NDArray[np.int64], val: NDArray[np.int64], test: NDArray[np.int64], seed: int
    ) -> ArrayLike:
        """Return one prediction for each index in `test`."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """Figures of others under the same protocol; `source` says where they stand."""

    model: str
    source: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One model on one dataset over several splits.

    Attributes
    ----------
    model, dataset : str
    protocol : str
        How the splits were made, in words.
    parts : tuple of (int, int, int)
        Videos for training, validation and testing, by split.
    per_split : tuple of Correlations
        On the test part of each.
    published : tuple of Published
        To print beside it.
    """

    model: str
    dataset: str
    protocol: str
    parts: tuple[tuple[int, int, int], ...]
    per_split: tuple[Correlations, ...]
    published: tuple[Published, ...] = ()

    def values(self, figure: str) -> NDArray[np.float64]:
        """One of `FIGURES` by split ``(n,)``."""
        return np.array([getattr(c, figure) for c in self.per_split], dtype=np.float64)

    def median(self) -> dict[str, float]:
        """Return the median of every figure; NaN where a split's figure is not defined."""
        return {name: float(np.median(self.values(name))) for name in FIGURES}

    def spread(self) -> dict[str, float]:
        """Sample standard deviation over the splits; NaN for a single one."""
        lone = len(self.per_split) < 2
        return {n: math.nan if lone else float(np.std(self.values(n), ddof=1)) for n in FIGURES}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; what is not defined is None."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "protocol": self.protocol,
            "splits": len(self.per_split),
            "median": _plain(self.median()),
            "std": _plain(self.spread()),
            "per_split": [
                {
                    "train": train,
                    "val": val,
                    "test": test,
                    **_plain({name: getattr(c, name) for name in FIGURES}),
                    "converged": c.converged,
                }
                for (train, val, test), c in zip(self.parts, self.per_split, strict=True)
            ],
            "published": [
                {"model": p.model, "source": p.source, **_plain(dict(p.figures))} for p in self.published
            ],
        }

    def rows(self) -> list[list[str]]:
        """Cells of the table: heading, splits, median, spread, published."""
        median, spread = self.median(), self.spread()
        rows = [["split", "train/val/test", *FIGURES.values()]]
        for k, (part, c) in enumerate(zip(self.parts, self.per_split, strict=True)):
            figures = [_cell(n, getattr(c, n)) for n in FIGURES]
            # The mapping that PLCC and RMSE follow is then only the best one found.
            mark = "" if c.converged else " *"
            rows.append([f"{k + 1}{mark}", "/".join(map(str, part)), *figures])
        rows.append(["median", "", *(_cell(n, median[n]) for n in FIGURES)])
        rows.append(["std", "", *(_cell(n, spread[n]) for n in FIGURES)])
        for p in self.published:
            figures = [_cell(n, p.figures.get(n, math.nan)) for n in FIGURES]
            rows.append([p.model, p.source, *figures])
        return rows

    def title(self) -> str:
        """Model, dataset and protocol in one line, and what a star means where there is one."""
        star = "" if all(c.converged for c in self.per_split) else " (* logistic fit stopped early)"
        return f"{self.model} on {self.dataset}: {self.protocol}{star}"

    def to_table(self) -> Table:
        """For a terminal."""
        return _table(self.title(), self.rows(), rule_after=len(self.per_split))

    def to_markdown(self) -> str:
        """Title and table in Markdown."""
        return _markdown(self.title(), self.rows())


def ten_splits(
    mos: ArrayLike,
    splits: Sequence[Split],
    fit_predict: FitPredict,
    *,
    model: str = "",
    dataset: str = "",
    protocol: str = "",
    seed: int = 0,
    published: Sequence[Published] = (),
    progress: Callable[[int, Correlations], None] | None = None,
) -> SplitReport:
    """Train and test on every split and report the median: ten of them in the papers (001, section 4.1).

    Parameters
    ----------
    mos : (N,) array
        Labels of all videos.
    splits : sequence of Split
    fit_predict : FitPredict
        Gets ``seed + k`` in split k.
    progress : callable, optional
        Called with each split's number, from 0, and its figures.

    Raises
    ------
    InvalidArgument
        When there is no split, or predictions are not one finite number for each test video.
    """
    labels = np.asarray(mos, dtype=np.float64)
    if labels.ndim != 1 or not np.isfinite(labels).all():
        raise InvalidArgument(f"protocol: mos must be (N,) finite numbers, got {labels.shape}")
    if not splits:
        raise InvalidArgument("protocol: there must be at least one split, got none")
    found, parts = [], []
    for k, split in enumerate(splits):
        predicted = np.asarray(fit_predict(split.train, split.val, split.test, seed + k), dtype=np.float64)
        if predicted.shape != split.test.shape or not np.isfinite(predicted).all():
            raise InvalidArgument(
                f"protocol: split {k + 1} needs {len(split.test)} finite predictions, got {predicted.shape}"
                f"{'' if np.isfinite(predicted).all() else ' with NaN or infinity'}"
            )
        found.append(evaluate_split(predicted, labels[split.test], f"split {k + 1}"))
        parts.append((len(split.train), len(split.val), len(split.test)))
        if progress:
            progress(k, found[-1])
    return SplitReport(model, dataset, protocol, tuple(parts), tuple(found), tuple(published))


def evaluate_split(predicted: ArrayLike, mos: ArrayLike, where: str) -> Correlations:
    """Figures of one test part; a logistic fit that stopped early is marked in them, not warned of.

    Raises
    ------
    InvalidArgument
        For fewer than two videos; `where` begins the message.
    """
    p, t = np.asarray(predicted, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if len(p) < 2:
        raise InvalidArgument(f"{where}: at least 2 test videos are needed, got {len(p)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", metrics.LogisticFitWarning)
        return metrics.evaluate(p, t)


@dataclass(frozen=True, slots=True)
class CrossReport:
    """One model trained on one dataset and tested on others (001, table 3).

    Attributes
    ----------
    model, trained_on : str
    tested : dict
        Figures by name of the test set; sets of the training dataset's family (``lsvq``,
        ``lsvq_test``) are intra-dataset, the others cross-dataset.
    left_out : dict
        Names of test videos that could not be scored, by test set: never silently dropped.
    published : dict
        Figures of others by test set, to print beside it.
    """

    model: str
    trained_on: str
    tested: Mapping[str, Correlations]
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def kind(self, name: str) -> str:
        """Return "intra" or "cross"."""
        return "intra" if name.split("_", maxsplit=1)[0] == self.trained_on.split("_")[0] == "lsvq" else (
            "intra" if name == self.trained_on else "cross"
        )  # fmt: skip

    def rows(self) -> list[list[str]]:
        """Cells of the table, heading first."""
        shown = [n for n in FIGURES if any(n in p for p in self.published.values())]
        headings = [f"{FIGURES[n]} published" for n in shown]
        rows = [["tested on", "kind", "videos", "left out", *FIGURES.values(), *headings]]
        for name, c in self.tested.items():
            figures = [_cell(n, getattr(c, n)) for n in FIGURES]
            others = [_cell(n, self.published.get(name, {}).get(n, math.nan)) for n in shown]
            left = str(len(self.left_out.get(name, ())))
            rows.append([name, self.kind(name), str(c.n), left, *figures, *others])
        return rows

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.model,
            "trained_on": self.trained_on,
            "tested": {
                name: {
                    "kind": self.kind(name),
                    "videos": c.n,
                    **_plain({f: getattr(c, f) for f in FIGURES}),
                    "left_out": list(self.left_out.get(name, ())),
                    "published": dict(self.published.get(name, {})),
                }
                for name, c in self.tested.items()
            },
        }

    def title(self) -> str:
        """Model and training set in one line."""
        return f"{self.model} trained on {self.trained_on}"

    def to_table(self) -> Table:
        """For a terminal."""
        return _table(self.title(), self.rows())

    def to_markdown(self) -> str:
        """Title and table in Markdown."""
        return _markdown(self.title(), self.rows())


def cross_dataset(
    model: str,
    trained_on: str,
    results: Mapping[str, tuple[Sequence[str], ArrayLike, ArrayLike]],
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> CrossReport:
    """Figures of each test set.

    Parameters
    ----------
    results : mapping
        ``name -> (names, predicted, mos)`` of the set's videos; a prediction that is NaN is of a video
        that could not be scored: it is left out of the figures and named.
    """
    tested, left_out = {}, {}
    for name, (videos, predicted, mos) in results.items():
        p, t = np.asarray(predicted, dtype=np.float64), np.asarray(mos, dtype=np.float64)
        if not len(videos) == len(p) == len(t):
            raise InvalidArgument(
                f"protocol: {name} needs as many names, predictions and labels, "
                f"got {len(videos)}, {len(p)}, {len(t)}"
            )
        scored = ~np.isnan(p)
        tested[name] = evaluate_split(p[scored], t[scored], name)
        left_out[name] = [v for v, ok in zip(videos, scored, strict=True) if not ok]
    return CrossReport(model, trained_on, tested, left_out, published or {})


def _cell(figure: str, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if figure == "rmse" else f"{value:.4f}"


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(v) if math.isfinite(v) else None for name, v in figures.items()}


def _table(title: str, rows: list[list[str]], rule_after: int | None = None) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for i, heading in enumerate(rows[0]):
        table.add_column(heading, justify="left" if i == 0 else "right")
    for k, row in enumerate(rows[1:], start=1):
        table.add_row(*(escape(c) for c in row), end_section=k == rule_after)
    return table


def _markdown(title: str, rows: list[list[str]]) -> str:
    lines = [title, "", "| " + " | ".join(rows[0]) + " |"]
    lines.append("|" + "|".join(["--", *["--:"] * (len(rows[0]) - 1)]) + "|")
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows[1:]]
    return "\n".join(lines) + "\n"
