"""Raw model output to the published scale, by the named constants of the model's spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Calibration:
    """``score = clip(scale * raw + offset, min, max)``.

    Parameters
    ----------
    scale, offset : float
        Constants fitted when the model was made; they live in its ``model.json``.
    min, max : float
        Ends of the published scale.
    clip : bool
        Whether scores beyond the ends are moved to them.
    """

    scale: float
    offset: float
    min: float
    max: float
    clip: bool = True

    def __post_init__(self) -> None:
        if not np.all(np.isfinite([self.scale, self.offset, self.min, self.max])):
            raise InvalidArgument(f"calibration: constants must be finite, got {self}")
        if not self.min < self.max:
            raise InvalidArgument(f"calibration: min must be below max, got {self.min} and {self.max}")

    def apply(self, raw: ArrayLike) -> NDArray[np.float64]:
        """Scores of `raw` outputs, any shape, in float64."""
        score = np.asarray(raw, dtype=np.float64) * self.scale + self.offset
        return np.clip(score, self.min, self.max) if self.clip else score
