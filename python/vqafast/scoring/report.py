"""Assembles an `Assessment` from what a run produced."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vqafast.errors import CorruptVideo, ModelError, NoFrames
from vqafast.scoring.assessment import (
    Assessment,
    Attribute,
    BitstreamValue,
    Counts,
    DisplayInfo,
    FrameScore,
    ModelInfo,
    RegionMaps,
    SamplingInfo,
    Scale,
    Segment,
    Spread,
    Timings,
    VideoSummary,
    WarningNote,
)
from vqafast.scoring.calibration import Calibration
from vqafast.scoring.pooling import Pooler
from vqafast.scoring.segments import parts_of
from vqafast.scoring.uncertainty import Judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vqafast.models.spec import ModelSpec
    from vqafast.scoring.segments import Window
    from vqafast.scoring.windows import Series, StageClock
    from vqafast.video.display import Display
    from vqafast.video.source import Counts as SourceCounts
    from vqafast.video.source import Marks, VideoInfo, Warning_

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond the table the next
# lower entry is used, which errs to the wide side.
_T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306,
          9: 2.262, 10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000}  # fmt: skip
_MIN_DRAWS_FOR_INTERVAL = 3
_PAIR = 2  # frames of a sample that shows motion and no more


class Described(Protocol):
    """What is needed of a source once its frames are read; pushed streams have no more."""

    info: VideoInfo
    counts: SourceCounts
    marks: Marks
    warnings: list[Warning_]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known before the first frame, and what every `Assessment` repeats."""

    spec: ModelSpec
    draws: int
    device: str
    engine: str
    precision: str
    threads: int
    warnings: tuple[WarningNote, ...]
    display: Display | None = None
    bitstream: tuple[BitstreamValue, ...] = ()
    maps: bool = False


def pooler_of(spec: ModelSpec) -> Pooler:
    """Pooling and calibration with the constants of the model's spec."""
    c, scale = spec.calibration, spec.scale
    calibration = Calibration(c.scale, c.offset, scale.min, scale.max, c.clip, c.steps)
    return Pooler(calibration).of(spec.pooling.kind, spec.pooling.alpha, spec.pooling.beta)


def assemble(
    run: RunInfo,
    origin: Described,
    series: Series,
    clock: StageClock,
    total: float,
    *,
    pooling: str,
    window: Window | None,
) -> Assessment:
    """Pool `series` and say everything about the run.

    Raises
    ------
    NoFrames, CorruptVideo
        If there is no frame to score.
    ModelError
        If the model gave a number that is not finite.
    """
    info, spec = origin.info, run.spec
    raws = series.arrays()
    counts = origin.counts
    if not series.pts and counts.dropped_samples:
        raise CorruptVideo(
            f"{info.path}: at least one sampled frame must be whole, got {counts.dropped_samples} "
            "damaged ones",
            path=info.path,
        )
    if not series.pts:
        raise NoFrames(f"{info.path}: at least one frame must be there, got none", path=info.path)
    if not all(np.isfinite(raw).all() for raw in raws):
        raise ModelError(f"model {spec.name}: every frame score must be finite, got nan or inf")
    pooler = pooler_of(spec)
    scores = tuple(pooler.pool(raw, pooling) for raw in raws)
    by_frame = np.mean([pooler.calibration.apply(raw) for raw in raws], axis=0)
    pts = np.asarray(series.pts, dtype=np.float64)
    judge = Judge(spec, pooler, series.member_arrays())
    scale = Scale(
        spec.scale.name,
        spec.scale.min,
        spec.scale.max,
        "higher_is_better" if spec.scale.direction == "higher_is_better" else "lower_is_better",
        spec.meaning,
    )
    segments: tuple[Segment, ...] = ()
    spanned = 0
    if window is not None:
        half_width = judge.half_width if judge.known(pooling) else None
        parts, spanned = parts_of(window, origin.marks, pts, info.duration)
        segments = pooler.segments(raws, parts, pooling, scale, half_width)
    score = float(np.mean(scores))
    return Assessment(
        path=info.path,
        score=score,
        scale=scale,
        pooling=pooling,
        frames=tuple(
            FrameScore(i, t, float(s)) for i, t, s in zip(series.index, series.pts, by_frame, strict=True)
        ),
        segments=segments,
        spread=spread_of(scores) if run.draws > 1 else None,
        model=ModelInfo(spec.name, spec.version, spec.weights_sha256),
        library_version=_version(),
        sampling=sampling_of(spec, run.draws),
        device=run.device,
        engine=run.engine,
        precision=run.precision,
        threads=run.threads,
        decoder=info.decoder,
        video=video_of(info),
        counts=Counts(
            counts.decoded,
            counts.skipped,
            len(series.pts),
            counts.corrupt,
            counts.lost,
            counts.dropped_samples,
        ),
        warnings=(
            *run.warnings,
            *(WarningNote(w.code, w.message) for w in origin.warnings),
            *_notes(series, spec),
            *_empty(window, len(segments), spanned),
        ),
        timings=Timings(**clock.seconds, total=total),
        uncertainty=judge.of(score, pooling),
        display=None if run.display is None else display_of(run.display, info),
        bitstream=run.bitstream,
        attributes=attributes_of(spec, series),
        maps=maps_of(series, pooler) if run.maps else (),
    )


def attributes_of(spec: ModelSpec, series: Series) -> tuple[Attribute, ...]:
    """Mean of each attribute over the samples, weighing all alike."""
    rows = [r.attributes for r in series.readouts if r.attributes is not None]
    if not rows:
        return ()
    means = np.concatenate(rows).mean(axis=0, dtype=np.float64)
    return tuple(Attribute(n, float(v)) for n, v in zip(spec.attributes, means, strict=True))


def maps_of(series: Series, pooler: Pooler) -> tuple[RegionMaps, ...]:
    """Maps of every sample, qualities on the published scale."""
    # Clipping would hide how far a region lies beyond the ends.
    unclipped = replace(pooler.calibration, clip=False)
    maps = [r.maps for r in series.readouts if r.maps is not None]
    rows = [pair for m in maps for pair in zip(unclipped.apply(m.quality), m.saliency, strict=True)]
    return tuple(
        RegionMaps(index, pts, _nested(quality), _nested(saliency))
        for index, pts, (quality, saliency) in zip(series.index, series.pts, rows, strict=True)
    )


def _nested(array: NDArray[np.floating[Any]]) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return tuple(tuple(tuple(float(x) for x in row) for row in part) for part in array)


def display_of(display: Display, info: VideoInfo) -> DisplayInfo:
    """Give the display and the picture's size on it as it is seen, after rotation."""
    wide, high = display.shown(info.width, info.height, info.sample_aspect_ratio, info.rotation)
    seen = (high, wide) if info.rotation in (90, 270) else (wide, high)
    return DisplayInfo(display.width, display.height, *seen)


def spread_of(scores: Sequence[float]) -> Spread:
    """Compute standard deviation and 95 % interval of the mean of `scores`, two or more."""
    n = len(scores)
    mean, std = float(np.mean(scores)), float(np.std(scores, ddof=1))
    low = high = None
    if n >= _MIN_DRAWS_FOR_INTERVAL:
        t = _T_975[max(df for df in _T_975 if df <= n - 1)]
        half = t * std / math.sqrt(n)
        low, high = mean - half, mean + half
    return Spread(n, std, low, high, tuple(scores))


def sampling_of(spec: ModelSpec, draws: int) -> SamplingInfo:
    """Give the sampling plan of a model in plain numbers."""
    s = spec.sampling
    rate = None if s.rate is None else float(s.rate)
    return SamplingInfo(s.kind, rate, s.n, s.burst, s.window, draws)


def video_of(info: VideoInfo) -> VideoSummary:
    """Give what is reported of a stream."""
    ratio = info.sample_aspect_ratio
    return VideoSummary(
        container=info.container,
        codec=info.codec,
        width=info.width,
        height=info.height,
        display_width=info.display_width,
        display_height=info.display_height,
        rotation=info.rotation,
        sample_aspect_ratio=f"{ratio.numerator}:{ratio.denominator}",
        pixel_format=info.layout.name,
        bit_depth=info.layout.bit_depth,
        matrix=info.color.matrix,
        full_range=info.color.full_range,
        transfer=info.color.transfer,
        frame_rate=None if info.frame_rate is None else float(info.frame_rate),
        duration=info.duration,
    )


def _notes(series: Series, spec: ModelSpec) -> list[WarningNote]:
    notes, pts = [], series.pts
    plan = spec.sampling
    if series.incomplete and plan.burst > _PAIR:
        frames = plan.burst * plan.stride
        message = f"the video is shorter than its samples of {frames} frames: their frames were repeated"
        notes.append(WarningNote("short_clip", message))
    elif series.incomplete:
        message = "the only sample lacks its second frame and was scored as if nothing moved"
        notes.append(WarningNote("no_motion", message))
    if len(pts) == 1 and plan.burst <= _PAIR:
        notes.append(WarningNote("one_sample", "one frame was scored: changes over time are not judged"))
    return notes


def _empty(window: Window | None, segments: int, spanned: int) -> list[WarningNote]:
    if window is None or segments == spanned:
        return []
    what = f"{window}s" if isinstance(window, str) else f"windows of {window:g} s"
    return [
        WarningNote(
            "empty_windows",
            f"{spanned - segments} of {spanned} {what} hold no sampled frame and are left out",
        )
    ]


def _version() -> str:
    import vqafast

    return vqafast.__version__
