"""The rungs of an encoding ladder against their source, as they look on one display."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vqafast.errors import Unsupported, VqafastError
from vqafast.scoring.scorer import Scorer, ScorerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from vqafast.scoring.assessment import Assessment

# Share by which durations may differ before somebody should know.
_DURATION = 0.01


@dataclass(frozen=True, slots=True)
class Rung:
    """A file of the ladder, the source first.

    Attributes
    ----------
    name : str
        Of its file; its path where another rung's file has the same name.
    score, uncertainty : float or None
        None for one that cannot be scored.
    delta : float or None
        Score less that of the source; None for the source.
    worst_start, worst_delta : float or None
        Of the window whose score lies furthest below that of the source's same window.
    timeline : tuple of (float, float)
        Seconds and score of every sampled frame.
    notes : tuple of str
        What somebody should know: a lower rung that scores higher, another duration, the scorer's warnings.
    code, message : str or None
        Why it has no score.
    """

    path: str
    name: str
    score: float | None = None
    uncertainty: float | None = None
    delta: float | None = None
    worst_start: float | None = None
    worst_delta: float | None = None
    width: int = 0
    height: int = 0
    codec: str = ""
    duration: float | None = None
    bit_rate: float | None = None
    timeline: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs on one scale and one display; `rungs` begins with the source."""

    rungs: tuple[Rung, ...]
    display: tuple[int, int]
    scale_min: float
    scale_max: float
    model: str
    window: float

    @property
    def first_failure(self) -> Rung | None:
        """The first rung without a score."""
        return next((r for r in self.rungs if r.score is None), None)


def ladder(
    source: str,
    renditions: Sequence[str],
    *,
    display: tuple[int, int] | None = None,
    window: float = 2.0,
    progress: Callable[[str], None] = lambda _: None,
    **options: Unpack[ScorerOptions],
) -> Ladder:
    """Score a source and its renditions as they look on one display.

    Parameters
    ----------
    source, renditions : str
        Paths.
    display : (width, height), optional
        In pixels; the source's own size if not given, since rungs are compared as they are watched.
    window : float
        Seconds of the parts that are compared.
    progress : callable
        Told each path before it is scored.
    **options
        Of `Scorer`.

    Returns
    -------
    Ladder
        A rendition that cannot be scored is a rung with its code.

    Raises
    ------
    VqafastError
        When the source cannot be scored, or lower is better on the model's scale.
    """
    scorer = Scorer(**options)
    progress(source)
    if display is None:
        from vqafast.video import open_source

        with open_source(source, 1) as opened:
            info = opened.info
            display = (info.display_width, info.display_height)
    top = scorer.assess(source, window=window, display=display)
    if top.scale.direction == "lower_is_better":
        raise Unsupported("ladder: higher scores must be the better ones, got a scale of lower_is_better")
    parts = {s.start: s.score for s in top.segments}
    rungs = [_rung(source, top)]
    for path in renditions:
        progress(path)
        try:
            result = scorer.assess(path, window=window, display=display)
        except VqafastError as error:
            rungs.append(Rung(path, os.path.basename(path), code=error.code, message=str(error)))
            continue
        rungs.append(_compared(_rung(path, result), result, top, parts))
    return Ladder(
        _flagged(_named(rungs)),
        display,
        top.scale.min,
        top.scale.max,
        f"{top.model.name} {top.model.version}",
        window,
    )


def _rung(path: str, result: Assessment) -> Rung:
    video, size = result.video, os.path.getsize(path)
    return Rung(
        path,
        os.path.basename(path),
        score=result.score,
        uncertainty=None if result.uncertainty is None else result.uncertainty.half_width,
        width=video.display_width,
        height=video.display_height,
        codec=video.codec,
        duration=video.duration,
        bit_rate=8 * size / video.duration if video.duration else None,
        timeline=tuple((f.pts, f.score) for f in result.frames),
        notes=tuple(f"{w.code}: {w.message}" for w in result.warnings),
    )


def _named(rungs: Sequence[Rung]) -> list[Rung]:
    names = [r.name for r in rungs]
    return [replace(r, name=r.path) if names.count(r.name) > 1 else r for r in rungs]


def _compared(rung: Rung, result: Assessment, top: Assessment, parts: dict[float, float]) -> Rung:
    shared = [(s.score - parts[s.start], s.start) for s in result.segments if s.start in parts]
    worst = min(shared, default=None)
    notes = rung.notes
    mine, whole = result.video.duration, top.video.duration
    if mine and whole and abs(mine - whole) > _DURATION * whole:
        notes = (*notes, f"lasts {mine:.2f} s, the source {whole:.2f} s")
    return replace(
        rung,
        delta=result.score - top.score,
        worst_delta=None if worst is None else worst[0],
        worst_start=None if worst is None else worst[1],
        notes=notes,
    )


def _flagged(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Note renditions that cost more bits than another one and score lower."""
    flagged = [rungs[0]]
    for rung in rungs[1:]:
        notes = rung.notes
        for other in rungs[1:]:
            if rung.score is None or other.score is None or not rung.bit_rate or not other.bit_rate:
                continue
            less = other.score - rung.score
            if other.bit_rate < rung.bit_rate and less > 0:
                within = less <= max(rung.uncertainty or 0.0, other.uncertainty or 0.0)
                doubt = ", within the uncertainty" if within else ""
                notes = (*notes, f"costs more bits than {other.name} and scores lower{doubt}")
        flagged.append(replace(rung, notes=notes))
    return tuple(flagged)
