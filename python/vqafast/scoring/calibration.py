"""Raw model output to the published scale, by the named constants of the model's spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Calibration:
    """``score = clip(scale * f(raw) + offset, min, max)``, f the `steps` one after the other.

    Parameters
    ----------
    scale, offset : float
        Constants fitted when the model was made; they live in its ``model.json``.
    min, max : float
        Ends of the published scale.
    clip : bool
        Whether scores beyond the ends are moved to them.
    steps : tuple
        True is the logistic function, a pair (a, b) is ``a x + b``.
    """

    scale: float
    offset: float
    min: float
    max: float
    clip: bool = True
    steps: tuple[tuple[float, float] | Literal[True], ...] = ()

    def __post_init__(self) -> None:
        if not np.all(np.isfinite([self.scale, self.offset, self.min, self.max])):
            raise InvalidArgument(f"calibration: constants must be finite, got {self}")
        if not self.min < self.max:
            raise InvalidArgument(f"calibration: min must be below max, got {self.min} and {self.max}")

    def apply(self, raw: ArrayLike) -> NDArray[np.float64]:
        """Scores of `raw` outputs, any shape, in float64."""
        value = np.asarray(raw, dtype=np.float64)
        for step in self.steps:
            value = _logistic(value) if step is True else step[0] * value + step[1]
        score = value * self.scale + self.offset
        return np.clip(score, self.min, self.max) if self.clip else score


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # By tanh, which does not overflow.
    result: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result
