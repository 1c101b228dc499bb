"""Which stretches of time the segments of a video are: fixed windows, GOPs, or shots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vqafast.errors import InvalidArgument, Unsupported
from vqafast.video.shots import ShotDetector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from vqafast.scoring.assessment import Scale
    from vqafast.video.source import Marks, VideoInfo

#: Segments that begin where the video says so; anything else is a length in seconds.
KINDS: tuple[str, ...] = ("gop", "shot")

Window = float | str

# A frame at 1.9999999 s of a stream with a rounded clock belongs to the window that starts at 2 s.
_SLACK = 1e-6


def check_window(window: Window) -> None:
    """Refuse what is neither of `KINDS` nor a positive number of seconds."""
    if window in KINDS:
        return
    if not (isinstance(window, (int, float)) and math.isfinite(window) and window > 0):
        raise InvalidArgument(
            f"window: must be a positive number of seconds or one of {', '.join(KINDS)}, got {window!r}"
        )


class Marked(Protocol):
    """What is needed of a source: files and pushed frames have it."""

    info: VideoInfo
    marks: Marks


def prepare(source: Marked, window: Window | None) -> None:
    """Let `source` note what segments of this kind need, before its frames are read.

    Raises
    ------
    Unsupported
        For GOPs of a source that has none.
    """
    if window == "gop" and source.marks.keys is None:
        raise Unsupported(f"{source.info.path}: window: only coded video has GOPs, got uncoded pictures")
    if window == "shot":
        source.marks.shots = ShotDetector()


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of time, ``start <= t < end`` seconds, and its sampled frames, one at least."""

    start: float
    end: float
    frames: slice


def parts_of(
    window: Window, marks: Marks, pts: NDArray[np.float64], duration: float | None
) -> tuple[tuple[Part, ...], int]:
    """Segments from 0 s to the last frame, or to the last sampled one for fixed windows.

    Parameters
    ----------
    marks : Marks
        Of the source; fixed windows need none.
    pts : ndarray
        ``(T,)`` seconds of the sampled frames, rising; T at least 1.
    duration : float, optional
        Where the video ends, if known.

    Returns
    -------
    parts : tuple of Part
        Those that hold a sampled frame.
    total : int
        All that there are.
    """
    last = float(pts[-1])
    end = duration if duration is not None and duration > last else None
    if isinstance(window, str):
        starts = np.array(_edges(window, marks))
        slot = np.searchsorted(starts, pts + _SLACK, side="right") - 1
        total = len(starts)
        stops = np.append(starts[1:], max(last, marks.end, starts[-1]) if end is None else end)
        occupied = np.unique(slot)
        starts, stops = starts[occupied], stops[occupied]
    else:
        slot = np.floor(pts / window + _SLACK).astype(np.int64)
        total = int(slot[-1]) + 1
        occupied = np.unique(slot)
        starts, stops = occupied * float(window), (occupied + 1) * float(window)
        if end is not None:
            stops[-1] = min(end, stops[-1])
    firsts, beyond = np.searchsorted(slot, occupied), np.searchsorted(slot, occupied + 1)
    parts = (
        Part(float(start), float(stop), slice(int(first), int(after)))
        for start, stop, first, after in zip(starts, stops, firsts, beyond, strict=True)
    )
    return tuple(parts), total


def _edges(window: str, marks: Marks) -> list[float]:
    """Where GOPs or shots begin; what comes before the first key frame is a segment too."""
    cuts = () if marks.shots is None else marks.shots.cuts(marks.keys or ())
    begins: Iterable[float] = (marks.keys or ()) if window == "gop" else cuts
    return [0.0, *sorted({t for t in begins if t > 0})]


def cmcd_of(score: float, scale: Scale) -> int:
    """`score` as a whole number, 0 worst and 100 best: what a key of CMCD (CTA-5004) can carry."""
    share = (score - scale.min) / (scale.max - scale.min)
    if scale.direction == "lower_is_better":
        share = 1 - share
    return round(100 * min(1.0, max(0.0, share)))
