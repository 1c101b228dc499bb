"""How far off a score may be: the spread of an ensemble's members, calibrated by the model's constants.

The constants are fitted for the model's own pooling, hysteresis, so there is none for the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vqafast.scoring.assessment import Uncertainty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vqafast.models.spec import ModelSpec
    from vqafast.scoring.pooling import Pooler

POOLING = "hysteresis"


class Judge:
    """Uncertainty of the scores of one run.

    Parameters
    ----------
    spec : ModelSpec
    pooler : Pooler
        The one that made the scores.
    members : sequence of ndarray
        One ``(K, T)`` array of the heads' raw outputs per draw of patch positions.
    """

    def __init__(self, spec: ModelSpec, pooler: Pooler, members: Sequence[NDArray[np.float32]]) -> None:
        self._spec = spec
        # Clipped members would agree at the ends of the scale, where the model is least sure.
        self._pooler = replace(pooler, calibration=replace(pooler.calibration, clip=False))
        self._members = members

    def known(self, method: str) -> bool:
        """Whether scores pooled by `method` have an uncertainty."""
        return self._spec.uncertainty is not None and method == POOLING

    def spread(self, inside: NDArray[np.bool_] | slice = slice(None)) -> float:
        """Standard deviation (n in the denominator) of the heads' pooled scores, over the frames `inside`."""
        scores = [
            np.mean([self._pooler.pool(draw[k, inside], POOLING) for draw in self._members])
            for k in range(self._spec.members)
        ]
        return float(np.std(scores))

    def half_width(self, score: float, inside: NDArray[np.bool_] | slice = slice(None)) -> float | None:
        """Half width for a score over the frames `inside`; None without constants."""
        known = self._spec.uncertainty
        return None if known is None else known.half_width(score, self.spread(inside))

    def of(self, score: float, method: str) -> Uncertainty | None:
        """Record for the score of the whole video, pooled by `method`."""
        known, scale = self._spec.uncertainty, self._spec.scale
        if known is None or not self.known(method):
            return None
        spread = self.spread()
        half = known.half_width(score, spread)
        return Uncertainty(
            half_width=half,
            low=max(scale.min, score - half),
            high=min(scale.max, score + half),
            coverage=known.coverage,
            members=self._spec.members,
            spread=spread,
            meaning=known.meaning,
        )
