"""What one scoring run says: the score and everything needed to trust or reproduce it.

The JSON form is described by ``docs/assessment.schema.json``. `SCHEMA` goes up when a field is
removed or changes its meaning; added fields leave it as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from vqafast.errors import InvalidArgument
from vqafast.scoring._records import from_plain, to_plain

SCHEMA = 1

Direction = Literal["higher_is_better", "lower_is_better"]


@dataclass(frozen=True, slots=True)
class Scale:
    """What the number means: `min` to `max`, which way is better, and in words."""

    name: str
    min: float
    max: float
    direction: Direction
    meaning: str


def decimals(low: float, high: float) -> int:
    """Decimals that scores on a scale of `low` to `high` are shown with: 1 on 0..100, 3 on 0..1."""
    span = high - low
    return 1 if span > 20 else 2 if span > 2 else 3


@dataclass(frozen=True, slots=True)
class FrameScore:
    """Score of one sampled frame.

    Attributes
    ----------
    index : int
        Presentation order in the stream, counted from 0.
    pts : float
        Seconds from the first frame of the stream.
    score : float
        On the published scale, before pooling over time.
    """

    index: int
    pts: float
    score: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Score of the part ``start <= pts < end`` (seconds): a fixed window, a GOP or a shot.

    Attributes
    ----------
    start, end : float
    score : float
        Pooled over its sampled frames.
    frames : int
        How many they are.
    uncertainty : float or None
        Half width of `Uncertainty`, for this part; None where there is none.
    cmcd : int
        The score as a whole number, 0 worst and 100 best, whatever the scale.
    """

    start: float
    end: float
    score: float
    frames: int
    uncertainty: float | None = None
    cmcd: int = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the score depends on where the patches were taken.

    Attributes
    ----------
    samples : int
        Number of draws of patch positions; the score is their mean.
    std : float
        Standard deviation over the draws (``n - 1`` in the denominator).
    low, high : float or None
        95 % interval of the mean (Student's t); None below three draws, where it says nothing.
    scores : tuple of float
        The score of each draw; draw 0 is the centred grid used when ``samples=1``.
    """

    samples: int
    std: float
    low: float | None
    high: float | None
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far off the score may be.

    Attributes
    ----------
    half_width : float
        On the published scale: the score is this much off, or less, for the share `coverage` of
        videos.
    low, high : float
        The score less and plus `half_width`, within the scale.
    coverage : float
        Measured on content that the model was not trained on.
    members : int
        Heads of the model's ensemble.
    spread : float
        Standard deviation (n in the denominator) of the heads' scores, from which `half_width` was computed.
    meaning : str
        In the words of the model: against what the errors were measured.
    """

    half_width: float
    low: float
    high: float
    coverage: float
    members: int
    spread: float
    meaning: str


@dataclass(frozen=True, slots=True)
class DisplayInfo:
    """The display (`width`, `height`) that was asked for, and the picture's size on it, in pixels."""

    width: int
    height: int
    shown_width: int
    shown_height: int


@dataclass(frozen=True, slots=True)
class BitstreamValue:
    """One feature of the coded stream; see `vqafast.video.bitstream_stats.features`."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that the model sees in the video, such as "blurry": its mean over the sampled frames."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class RegionMaps:
    """Quality and saliency by region of one sample.

    Attributes
    ----------
    index, pts
        First frame of the sample, as in `FrameScore`.
    quality : tuple
        ``[part][row][column]``: equal parts of the sample's frames, each cut into equal regions as
        displayed. On the published scale, not clipped.
    saliency : tuple
        The same: the share that a region has in the score of the sample's window. The shares of a window
        are 1 together.
    """

    index: int
    pts: float
    quality: tuple[tuple[tuple[float, ...], ...], ...]
    saliency: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model gave the score; `weights_sha256` was verified when it was loaded."""

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class SamplingInfo:
    """Which frames were looked at.

    Attributes
    ----------
    kind : str
        "time_grid" (`rate` samples a second), "uniform_count" (`count` frames at equal
        intervals) or "every_frame".
    rate : float or None
        Samples per second.
    count : int or None
        Number of samples.
    burst : int
        Successive frames taken at each sample.
    window : int or None
        Samples that one pass of the temporal head sees; None is all of them.
    draws : int
        Draws of patch positions in each frame.
    """

    kind: str
    rate: float | None
    count: int | None
    burst: int
    window: int | None
    draws: int


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """The stream as declared; sizes in pixels, times in seconds.

    `rotation` (degrees clockwise) is what display needs and scoring applied.
    """

    container: str
    codec: str
    width: int
    height: int
    display_width: int
    display_height: int
    rotation: int
    sample_aspect_ratio: str
    pixel_format: str
    bit_depth: int
    matrix: str
    full_range: bool
    transfer: str
    frame_rate: float | None
    duration: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames by fate. No frame is scored twice, and no padded or missing frame is scored.

    Attributes
    ----------
    decoded : int
        Frames that came out of the decoder.
    skipped : int
        Frames that no sample needed and that were never decoded.
    scored : int
        Samples scored: the length of `Assessment.frames`.
    corrupt : int
        Decoded frames that the decoder marked as damaged; none of them is scored.
    lost : int
        Frames that could not be decoded at all.
    dropped : int
        Samples that are missing from the score because a frame of theirs was corrupt or lost.
    """

    decoded: int
    skipped: int
    scored: int
    corrupt: int
    lost: int
    dropped: int


@dataclass(frozen=True, slots=True)
class WarningNote:
    """Something the caller should know: stable `code`, words in `message`."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Busy seconds of each stage. Stages overlap, so they may add up to more than `total`."""

    open: float
    decode: float
    ingest: float
    backbone: float
    head: float
    total: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything one scoring run says.

    Attributes
    ----------
    path : str
        What was scored; "-" for standard input, "<pushed frames>" for a stream.
    score : float
        On `scale`.
    pooling : str
        How frame scores became the score; see `vqafast.scoring.pooling`.
    segments : tuple of Segment
        Empty unless they were asked for. Those without a sampled frame are left out.
    spread : Spread or None
        None when one draw was made.
    uncertainty : Uncertainty or None
        None when the model has none, or has none for this pooling.
    display : DisplayInfo or None
        None when the video was scored at its own resolution.
    bitstream : tuple of BitstreamValue
        What a model that reads the coded stream was told of it, before it is moved into the range
        that the model knows; empty for others.
    attributes : tuple of Attribute
        What the model says beside the score; empty for most.
    maps : tuple of RegionMaps
        One for each of `frames`; empty unless they were asked for.
    """

    path: str
    score: float
    scale: Scale
    pooling: str
    frames: tuple[FrameScore, ...]
    segments: tuple[Segment, ...]
    spread: Spread | None
    model: ModelInfo
    library_version: str
    sampling: SamplingInfo
    device: str
    engine: str
    precision: str
    threads: int
    decoder: str
    video: VideoSummary
    counts: Counts
    warnings: tuple[WarningNote, ...]
    timings: Timings
    uncertainty: Uncertainty | None = None
    display: DisplayInfo | None = None
    bitstream: tuple[BitstreamValue, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    maps: tuple[RegionMaps, ...] = ()
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain dicts, lists, strings and numbers; `schema` comes first."""
        return {"schema": self.schema, **to_plain(self)}

    def to_json(self, indent: int | None = None) -> str:
        """JSON text; `indent` as in `json.dumps`."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Assessment:
        """Read what `to_dict` wrote.

        Raises
        ------
        InvalidArgument
            If the schema is another one, or a field is missing or of another type.
        """
        found = data.get("schema") if isinstance(data, dict) else None
        if found != SCHEMA:
            raise InvalidArgument(f"assessment: schema must be {SCHEMA}, got {found!r}")
        record: Assessment = from_plain(cls, data, "assessment")
        return record

    @classmethod
    def from_json(cls, text: str) -> Assessment:
        """Read what `to_json` wrote."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise InvalidArgument(f"assessment: must be JSON ({error})") from error
        return cls.from_dict(data)
