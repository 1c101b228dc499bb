"""Where one shot ends and the next begins, from the pictures that are decoded anyway.

Only cuts are found: dissolves and fades have no moment at which they happen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vqafast.video.source import Plane

# Samples of a picture that are looked at, across and down.
_ACROSS, _DOWN = 64, 36
_BINS = 32
# Pictures on each side of a cut that must all be unlike the nearest one on the other side.
_NEAR = 3
# Transitions on each side that say how much changes without a cut.
_AROUND = 6
# Seconds that a shot lasts at least.
_SHORTEST = 0.3


@dataclass(slots=True)
class _Look:
    seconds: float
    histogram: NDArray[np.float32]
    samples: NDArray[np.float32]


@dataclass(slots=True)
class ShotDetector:
    """Takes pictures in order of time; `cuts` then has the times at which a shot begins.

    Memory: four numbers for each picture.

    Parameters
    ----------
    change : float
        Least change of a cut, 0..1: the mean of the change of the histogram and of the picture itself.
    ratio : float
        How many times as much as around it must change at a cut.
    """

    change: float = 0.18
    ratio: float = 2.5
    _recent: deque[_Look] = field(default_factory=deque)
    _unseen: int = 0
    _times: list[tuple[float, float]] = field(default_factory=list)
    _changes: list[float] = field(default_factory=list)
    _across: list[float] = field(default_factory=list)

    def restart(self) -> None:
        """Expect the first picture again."""
        self._unseen = 0
        for seen in (self._recent, self._times, self._changes, self._across):
            seen.clear()

    def see(self, seconds: float, plane: Plane, peak: int) -> None:
        """Take the next picture.

        Parameters
        ----------
        plane : array
            ``(rows, samples)`` luma, NumPy or a tensor on a device.
        peak : int
            Largest value of a sample.
        """
        self._recent.append(_looked(seconds, plane, peak))
        self._unseen += 1
        if self._unseen > _NEAR:
            self._compare()

    def _compare(self) -> None:
        """Measure the change between the first picture that has not been measured and the one before."""
        at = len(self._recent) - self._unseen
        if at:
            before, after = list(self._recent)[max(0, at - _NEAR) : at], list(self._recent)[at:]
            change = _difference(before[-1], after[0])
            # A flash is over by then: what follows is like what was before it.
            across = [_difference(before[-1], look) for look in after[1:_NEAR]]
            across += [_difference(look, after[0]) for look in before[:-1]]
            self._times.append((before[-1].seconds, after[0].seconds))
            self._changes.append(change)
            self._across.append(min([change, *across]))
        self._unseen -= 1
        while len(self._recent) > self._unseen + _NEAR:
            self._recent.popleft()

    def cuts(self, keys: Sequence[float] = ()) -> tuple[float, ...]:
        """Give the times, in seconds, at which a shot begins, the first one left out.

        Parameters
        ----------
        keys : sequence of float
            Times of key frames, rising. Pictures that no sample needs are not decoded; a cut that lies
            among them is at the first key frame there, where encoders like to put one, or else at the first
            picture behind them.
        """
        while self._unseen:
            self._compare()
        if not self._times:
            return ()
        change, across = np.asarray(self._changes), np.asarray(self._across)
        usual = _usual(change)
        found: list[float] = []
        strength = across / np.maximum(usual, self.change / self.ratio)
        last = 0.0
        for i in np.flatnonzero(strength >= self.ratio):
            near = slice(max(0, i - 2), i + 3)
            before, at = self._times[i]
            if across[i] < across[near].max() or at - last < _SHORTEST:
                continue
            key = bisect_right(keys, before)
            last = keys[key] if key < len(keys) and keys[key] < at else at
            found.append(last)
        return tuple(found)


def _usual(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean change around each transition, the two largest left out: itself, and another cut nearby."""
    padded = np.pad(change, _AROUND, mode="reflect")
    windows = np.sort(sliding_window_view(padded, 2 * _AROUND + 1), axis=1)
    mean: NDArray[np.float64] = windows[:, :-2].mean(axis=1)
    return mean


def _looked(seconds: float, plane: Any, peak: int) -> _Look:
    rows, columns = plane.shape[:2]
    down, across = max(1, rows // _DOWN), max(1, columns // _ACROSS)
    few = plane[down // 2 :: down, across // 2 :: across]
    few = few if isinstance(few, np.ndarray) else few.cpu().numpy()
    samples: NDArray[np.float32] = few.astype(np.float32) / np.float32(peak)
    counts = np.bincount(np.minimum((samples * _BINS).astype(np.int64), _BINS - 1).ravel(), minlength=_BINS)
    return _Look(seconds, (counts / samples.size).astype(np.float32), samples)


def _difference(one: _Look, other: _Look) -> float:
    """0 for the same picture, 1 for one of which nothing is left."""
    if one.samples.shape != other.samples.shape:
        return 1.0
    histogram = 0.5 * float(np.abs(one.histogram - other.histogram).sum())
    picture = float(np.abs(one.samples - other.samples).mean())
    return 0.5 * (histogram + min(1.0, 3 * picture))
