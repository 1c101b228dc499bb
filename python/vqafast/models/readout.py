"""What a model says of a window beside its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Maps:
    """Quality and saliency by region of the T samples of a window.

    Attributes
    ----------
    quality : ndarray
        ``(T, m, h, w)`` float32, on the scale of raw outputs: m equal parts of a sample's frames, each cut
        into h by w regions as displayed.
    saliency : ndarray
        ``(T, m, h, w)`` float32, not negative: the share of each region, 1 in all over a window.
    """

    quality: NDArray[np.float32]
    saliency: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Readout:
    """`attributes` ``(T, A)`` are the values of `ModelSpec.attributes` for each sample."""

    attributes: NDArray[np.float32] | None = None
    maps: Maps | None = None
