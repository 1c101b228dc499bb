"""Frame scores to one score, over the whole video or over time windows.

========== =====================================================================================
hysteresis A2INet's own pooling: `vqafast.ops.hysteresis_pool` on the raw outputs, calibrated
           afterwards (bad moments are remembered, recovery is slow)
sitp       VSFA's own, subjectively-inspired temporal pooling (Li et al., ACM MM 2019, eqs. 8 to 12),
           on the raw outputs: the mean of ``alpha c_t + (1 - alpha) m_t``, m the lowest of frame t
           and the ``beta - 1`` before it, c the softmin-weighted mean of it and the ``beta - 1`` after
raw_mean   FAST-VQA's own: arithmetic mean of the raw outputs, calibrated afterwards
mean       arithmetic mean of the calibrated frame scores
min        the lowest frame score
p5         5th percentile of the frame scores, linear interpolation between order statistics
harmonic   ``n / sum(1 / (s_i - min + 1)) - 1 + min`` with `min` the lower end of the scale. The 1
           keeps a single zero from deciding alone, as in VMAF's harmonic mean
========== =====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vqafast.errors import InvalidArgument
from vqafast.scoring.assessment import Segment
from vqafast.scoring.segments import check_window, cmcd_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from vqafast.scoring.assessment import Scale
    from vqafast.scoring.calibration import Calibration
    from vqafast.scoring.segments import Part, Window

Pooling = Literal["hysteresis", "sitp", "raw_mean", "mean", "min", "p5", "harmonic"]
POOLINGS: tuple[str, ...] = get_args(Pooling)


@dataclass(frozen=True, slots=True)
class Pooler:
    """Pools raw frame outputs of one model.

    Parameters
    ----------
    calibration : Calibration
    alpha : float
        Weight of the memory against the current term, 0..1 (hysteresis).
    beta : int
        Reach of memory and current term in samples (hysteresis).
    sitp : (float, int)
        alpha and beta of "sitp".
    """

    calibration: Calibration
    alpha: float = 0.5
    beta: int = 6
    sitp: tuple[float, int] = (0.5, 12)

    def of(self, kind: str, alpha: float, beta: int) -> Pooler:
        """Pooler whose constants for `kind` are these; the others stay."""
        if kind == "hysteresis":
            return replace(self, alpha=alpha, beta=beta)
        return replace(self, sitp=(alpha, beta)) if kind == "sitp" else self

    def pool(self, raw: NDArray[np.floating], method: str) -> float:
        """One score from raw frame outputs `raw` ``(T,)``, T at least 1.

        Raises
        ------
        InvalidArgument
            If `method` is not in `POOLINGS` or there is no frame.
        """
        check_pooling(method)
        if raw.ndim != 1 or raw.size == 0:
            raise InvalidArgument(f"pool: raw must be (T,) with T at least 1, got {raw.shape}")
        if method == "hysteresis":
            from vqafast.ops import hysteresis_pool

            series = np.ascontiguousarray(raw, dtype=np.float32)[None, :]
            pooled, _ = hysteresis_pool(series, alpha=self.alpha, beta=self.beta)
            return float(self.calibration.apply(np.asarray(pooled)[0]))
        if method == "sitp":
            return float(self.calibration.apply(_sitp(np.asarray(raw, dtype=np.float64), *self.sitp)))
        if method == "raw_mean":
            return float(self.calibration.apply(np.mean(raw, dtype=np.float64)))
        scores = self.calibration.apply(raw)
        if method == "mean":
            return float(np.mean(scores))
        if method == "min":
            return float(np.min(scores))
        if method == "p5":
            return float(np.percentile(scores, 5, method="linear"))
        return _harmonic(scores, self.calibration.min)

    def segments(
        self,
        raws: Sequence[NDArray[np.floating]],
        parts: Iterable[Part],
        method: str,
        scale: Scale,
        half_width: Callable[[float, slice], float | None] | None = None,
    ) -> tuple[Segment, ...]:
        """Scores of parts of a video.

        Parameters
        ----------
        raws : sequence of ndarray
            One raw series ``(T,)`` per draw; a segment's score is the mean over the draws.
        parts : iterable of Part
        scale : Scale
            That of the scores.
        half_width : callable, optional
            Uncertainty of a score over some of the frames.
        """
        segments = []
        for part in parts:
            score = float(np.mean([self.pool(raw[part.frames], method) for raw in raws]))
            uncertainty = None if half_width is None else half_width(score, part.frames)
            frames = part.frames.stop - part.frames.start
            segments.append(Segment(part.start, part.end, score, frames, uncertainty, cmcd_of(score, scale)))
        return tuple(segments)


def check_pooling(method: str) -> None:
    """Refuse an unknown pooling by naming the known ones."""
    if method not in POOLINGS:
        raise InvalidArgument(f"pooling: must be one of {', '.join(POOLINGS)}, got {method!r}")


def check_options(pooling: str, window: Window | None) -> None:
    """Refuse an unknown pooling, and segments that there cannot be."""
    check_pooling(pooling)
    if window is not None:
        check_window(window)


def _sitp(q: NDArray[np.float64], alpha: float, beta: int) -> float:
    beyond = np.full(beta - 1, np.inf)
    memory = sliding_window_view(np.concatenate([beyond, q]), beta).min(axis=1)
    ahead = sliding_window_view(np.concatenate([q, beyond]), beta)
    # Relative to the lowest of each window, so that no weight overflows and not all vanish.
    weights = np.exp(ahead.min(axis=1, keepdims=True) - ahead)
    values = np.where(np.isinf(ahead), 0.0, ahead)
    current = (weights * values).sum(axis=1) / weights.sum(axis=1)
    return float(np.mean(alpha * current + (1 - alpha) * memory))


def _harmonic(scores: NDArray[np.float64], low: float) -> float:
    # Without clipping a score may lie below the scale; it counts as its lower end here, because
    # the harmonic mean is defined for positive numbers only.
    shifted = np.maximum(scores - low, 0.0) + 1.0
    return float(1.0 / np.mean(1.0 / shifted) - 1.0 + low)
