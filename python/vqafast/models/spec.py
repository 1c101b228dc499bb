"""What a model is: the contents of its model.json, typed; `model_json` reads and writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vqafast.errors import ModelError

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """The published scale: what `min` and `max` mean is said by `name` and `direction`."""

    name: str
    min: float
    max: float
    direction: str


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """Which frames are scored; `kind` is time_grid, uniform_count, every_frame, clips or segments.

    A sample is `burst` frames, `stride` apart. `window` is the number of samples the temporal head sees
    at once; None means all of them.
    """

    kind: str
    rate: Fraction | None = None
    burst: int = 1
    window: int | None = None
    n: int | None = None
    stride: int = 1


@dataclass(frozen=True, slots=True)
class QualityView:
    """Patches at native resolution; `patches` None means the whole frame.

    `temporal` "pair" stacks the luma of two successive frames as two channels. `adaptive` takes
    `patches` as the largest grid: a picture gets no more than cover it. `features` "graph" runs
    quality.onnx, "scene_statistics" the op of that name, which needs no weights, on each of `maps`:
    its features stand side by side in their order.
    """

    patches: tuple[int, int] | None
    size: int | None
    align: int
    output: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temporal: str | None
    adaptive: bool = False
    features: str = "graph"
    maps: tuple[str, ...] = ("luma",)


@dataclass(frozen=True, slots=True)
class SemanticView:
    """The whole picture, its shorter side reduced to `short_side`; None means not resized.

    `temporal` "window" means that the backbone convolves over time and must see the frames of
    one window together and in order.
    """

    short_side: int | None
    output: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temporal: str | None


@dataclass(frozen=True, slots=True)
class BitstreamView:
    """Features of the coded stream, for models that score files only.

    `features` are names of `vqafast.video.bitstream_stats.BITSTREAM_FEATURES`. In this order they
    stand behind the quality and behind the semantic features of every sample. `ranges` holds the
    lowest and highest value of each that the model was trained on: others are moved to them.
    """

    features: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What runs outside the graphs; `config` keeps every field of the exported head's config.

    `quality_dim` and `semantic_dim` count the features of a `BitstreamView` too.
    """

    interaction: str
    mode: str
    direction: str
    eps: float
    alpha: float
    beta: int
    quality_dim: int
    semantic_dim: int
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Calibration:
    """`score = f(raw) * scale + offset`, clipped to the published scale if `clip`.

    `steps` make f, one after the other: True is the logistic function, a pair (a, b) is ``a x + b``;
    without steps f is the identity.
    """

    scale: float = 1.0
    offset: float = 0.0
    clip: bool = False
    steps: tuple[tuple[float, float] | Literal[True], ...] = ()


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How far off a score may be, from how far the members of an ensemble are apart.

    The half width is ``sqrt(base^2 + (spread * s)^2) * f(score)`` on the published scale, with s the
    standard deviation of the members' scores and f piecewise linear through `knots`, pairs of a
    score and a factor, constant beyond the first and the last. The share `coverage` of errors on
    content that was held out lay within it.
    """

    base: float
    spread: float
    knots: tuple[tuple[float, float], ...]
    coverage: float
    meaning: str

    def half_width(self, score: float, apart: float) -> float:
        """Half width at `score`, clipped to the scale, for members that are `apart`.

        `apart` is the standard deviation (n in the denominator) of the members' pooled and calibrated
        scores, not clipped. The score itself is pooled from the mean of the members' frame outputs.
        """
        return math.hypot(self.base, self.spread * apart) * _interpolate(self.knots, score)


def _interpolate(knots: tuple[tuple[float, float], ...], at: float) -> float:
    before = knots[0]
    for knot in knots:
        if at < knot[0]:
            if knot is before:
                break
            share = (at - before[0]) / (knot[0] - before[0])
            return before[1] + share * (knot[1] - before[1])
        before = knot
    return before[1]


@dataclass(frozen=True, slots=True)
class PoolingSpec:
    """How a model pools frame outputs: `kind` is a name of `vqafast.scoring.pooling`.

    `alpha` and `beta` are those of `vqafast.ops.hysteresis_pool`.
    """

    kind: str = "hysteresis"
    alpha: float = 0.5
    beta: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What is known of every model before its weights are read; each family adds what it needs.

    `members` is the number of heads in its head graphs; the score is that of their mean.
    """

    name: str
    version: str
    family: str
    meaning: str
    scale: Scale
    sampling: SamplingSpec
    pooling: PoolingSpec
    calibration: Calibration
    files: dict[str, str]
    weights_sha256: str
    trained_on: str
    licence: str
    source: str
    directory: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    members: int = 1
    uncertainty: Uncertainty | None = None
    bitstream: BitstreamView | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of what the model says beside its score; see `vqafast.models.readout`."""
        return ()

    @property
    def has_maps(self) -> bool:
        """Whether the model says how good each region is."""
        return False

    def file(self, name: str) -> Path:
        """Path of a weights file that model.json lists; `ModelError` if it lists none such."""
        if name not in self.files:
            raise ModelError(f"model {self.name}: needs {name}, lists {sorted(self.files)}")
        return self.directory / name


@dataclass(frozen=True, slots=True, kw_only=True)
class A2INetSpec(ModelSpec):
    """A model of the family "a2inet": two views, two backbones, and the head between them."""

    quality: QualityView
    semantic: SemanticView
    head: HeadSpec

    @property
    def picture_dims(self) -> tuple[int, int]:
        """Quality and semantic features that come from pictures."""
        more = 0 if self.bitstream is None else len(self.bitstream.features)
        return self.head.quality_dim - more, self.head.semantic_dim - more
