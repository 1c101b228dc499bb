"""The line from a network's raw scores to opinion scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Line:
    """``scale * raw + offset``; `scale` is above 0, so that ranks stay."""

    scale: float
    offset: float

    def of(self, raw: ArrayLike) -> NDArray[np.float64]:
        """Opinion scores of raw scores."""
        scores: NDArray[np.float64] = self.scale * np.asarray(raw, dtype=np.float64) + self.offset
        return scores


def fitted_line(raw: ArrayLike, mos: ArrayLike) -> Line:
    """Least squares of opinion scores on raw scores.

    Where they do not rise together, the best line would turn the ranks round, or be flat: it then goes
    through both means with the ratio of their deviations for slope, as in the authors' `rescale`
    (new_train.py of FAST-VQA's release); 1 where a deviation is 0.

    Parameters
    ----------
    raw, mos : array_like
        ``(n,)``, finite, n >= 1.

    Raises
    ------
    InvalidArgument
        For other shapes or values.
    """
    x, y = np.asarray(raw, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x) or not np.isfinite([x, y]).all():
        raise InvalidArgument(
            f"fitted_line: raw and mos must be finite (n,) with n >= 1, got {x.shape} and {y.shape}"
        )
    dx, dy = x - x.mean(), y - y.mean()
    together = float(dx @ dy)
    if together > 0:
        scale = together / float(dx @ dx)
    else:
        ratio = float(dy.std() / dx.std()) if dx.any() else 0.0
        scale = ratio if ratio > 0 else 1.0
    return Line(scale, float(y.mean() - scale * x.mean()))
