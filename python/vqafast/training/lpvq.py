"""Local quality against LPVQ: 50 pictures, each with the MOS of 7 x 7 regions (paper 002, section 2).

Table 9 has SRCC and PLCC "inter-sample" and "intra-sample", and says no more:

| figure | here | why |
|--|--|--|
| intra-sample | within each picture over its 49 regions, then the mean over pictures | whether a model tells good regions of one picture from bad ones |
| inter-sample | over all regions of all pictures at once | whether its numbers mean the same from picture to picture; a place of the grid has no meaning of its own that would call for one figure each |
| PLCC | Pearson's as it is, without a logistic mapping | validation is zero-shot, and four parameters fitted to 49 regions would flatter each picture |
| undefined | a picture whose labels or predictions are constant is left out of the mean, and counted | no correlation says anything about it |
"""  # noqa: E501 - a table

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training.datasets import tables
from vqafast.training.metrics import plcc, srcc

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from vqafast.training.datasets import VideoDataset

GRID = 7


@dataclass(frozen=True, slots=True)
class LpvqCorrelations:
    """Table 9's figures.

    Attributes
    ----------
    inter_srcc, inter_plcc : float
        Over all regions of all pictures; NaN when a side is constant.
    intra_srcc, intra_plcc : float
        Mean over pictures of the figure within one; NaN when no picture has any.
    pictures : int
        Number of pictures.
    undefined : int
        Of these, how many are not in the means.
    """

    inter_srcc: float
    inter_plcc: float
    intra_srcc: float
    intra_plcc: float
    pictures: int
    undefined: int


def lpvq_correlations(predicted: ArrayLike, mos: ArrayLike) -> LpvqCorrelations:
    """Hold local quality against the MOS of regions.

    Parameters
    ----------
    predicted, mos : array_like
        ``(N, 7, 7)``: rows from the top, columns from the left; finite.

    Raises
    ------
    InvalidArgument
        When a requirement above does not hold.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    if p.shape != t.shape or p.ndim != 3 or len(p) < 1 or p.shape[1:] != (GRID, GRID):
        raise InvalidArgument(
            f"lpvq_correlations: predicted and mos must be (N, {GRID}, {GRID}) with N >= 1, "
            f"got {p.shape} and {t.shape}"
        )
    bad = int((~np.isfinite(p)).sum()), int((~np.isfinite(t)).sum())
    if any(bad):
        raise InvalidArgument(
            f"lpvq_correlations: values must be finite, got {bad[0]} and {bad[1]} that are not"
        )
    rows = p.reshape(len(p), -1), t.reshape(len(t), -1)
    within = np.array([(srcc(a, b), plcc(a, b)) for a, b in zip(*rows, strict=True)])
    # Both are undefined for the same pictures: those with a constant side.
    defined = within[~np.isnan(within).any(axis=1)]
    intra = defined.mean(axis=0) if len(defined) else np.full(2, np.nan)
    return LpvqCorrelations(
        srcc(p.ravel(), t.ravel()),
        plcc(p.ravel(), t.ravel()),
        float(intra[0]),
        float(intra[1]),
        len(p),
        len(p) - len(defined),
    )


def evaluate_lpvq(data: VideoDataset, quality_of: Callable[[Path], ArrayLike]) -> LpvqCorrelations:
    """Hold a model against LPVQ, zero-shot as in table 9.

    Parameters
    ----------
    data : VideoDataset
        From ``load_dataset("lpvq", ROOT)``: items with "regions" ``(7, 7)`` in `extra`.
    quality_of : callable
        From a picture's path to its local quality ``(..., h, w)``; leading axes, such as time, are averaged.

    Raises
    ------
    InvalidArgument
        For a data set without regions.
    """
    if not data.items or any("regions" not in item.extra for item in data.items):
        raise InvalidArgument(f"evaluate_lpvq: items must have regional MOS, got {data.name}")
    predicted = []
    for item in data.items:
        grid = to_grid(quality_of(item.path))
        predicted.append(grid.reshape(-1, GRID, GRID).mean(axis=0))
    return lpvq_correlations(np.stack(predicted), np.stack([item.extra["regions"] for item in data.items]))


def read_lpvq(path: str | PathLike[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Read MOS of regions from a table of one region a row.

    Parameters
    ----------
    path : path
        CSV with the columns image, row, column and mos, in any order; row 0 is the top one, column 0 the
        left one, both to 6. Every picture has each of its 49 regions once. The layout is ours: the
        authors' files could not be seen. `vqafast.training.datasets` reads one picture a row.

    Returns
    -------
    names : list of str
        In order of first appearance.
    mos : ndarray
        ``(N, 7, 7)`` float64.

    Raises
    ------
    InvalidArgument
        When a column, a region or a number is missing, not as above, or there twice.
    """
    file = Path(path)
    rows = tables.read_csv(file)
    image, row, column, mos = (tables.column(rows, file, n) for n in ("image", "row", "column", "mos"))
    found: dict[str, NDArray[np.float64]] = {}
    for cells in rows:
        name = cells[image]
        at = _place(cells[row], file, name, "row"), _place(cells[column], file, name, "column")
        grid = found.setdefault(name, np.full((GRID, GRID), np.nan))
        if not np.isnan(grid[at]):
            raise InvalidArgument(f"{file.name}: a region must be there once, got {name!r} {at} twice")
        grid[at] = tables.number_of(cells[mos], f"{file.name}: {name} {at}")
    for name, grid in found.items():
        if np.isnan(grid).any():
            raise InvalidArgument(
                f"{file.name}: a picture must have {GRID * GRID} regions, "
                f"got {int((~np.isnan(grid)).sum())} of {name!r}"
            )
    return list(found), np.stack(list(found.values()))


def to_grid(quality: ArrayLike, cells: int = GRID) -> NDArray[np.float64]:
    """Average local quality over the cells of a coarser or finer square grid, by shares of area.

    A value holds all over its region, and counts in a cell as much as it covers of it. Averages of both
    maps are the same.

    Parameters
    ----------
    quality : array_like
        ``(..., h, w)``, e.g. a map ``(t, h, w)`` of `vqafast.models.kvq.network.KVQ` or its mean over time.
    cells : int
        Rows and columns of the grid.

    Returns
    -------
    ndarray
        ``(..., cells, cells)`` float64.

    Raises
    ------
    InvalidArgument
        When there is no map, or no cell.
    """
    q = np.asarray(quality, np.float64)
    if q.ndim < 2 or min(q.shape[-2:]) < 1 or cells < 1:
        raise InvalidArgument(
            f"to_grid: quality must be (..., h, w) and cells >= 1, got {q.shape} and {cells}"
        )
    high, wide = (_shares(side, cells) for side in q.shape[-2:])
    out: NDArray[np.float64] = high @ q @ wide.T
    return out


def _shares(side: int, cells: int) -> NDArray[np.float64]:
    """Share of each of `side` equal parts of an axis in each of `cells`: ``(cells, side)``, rows sum to 1."""
    # In units of 1 / (side * cells) all ends are whole numbers.
    part, cell = np.arange(side) * cells, np.arange(cells)[:, None] * side
    overlap = np.minimum(part + cells, cell + side) - np.maximum(part, cell)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) / side
    return shares


def _place(text: str, file: Path, name: str, what: str) -> int:
    if text not in {str(i) for i in range(GRID)}:
        raise InvalidArgument(f"{file.name}: {what} must be in 0..{GRID - 1}, got {text!r} of {name!r}")
    return int(text)
