"""What a model is: the contents of its model.json, typed; `model_json` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    """Which frames are scored; `kind` is time_grid, uniform_count or every_frame.

    `window` is the number of samples the temporal head sees at once; None means all of them.
    """

    kind: str
    rate: Fraction | None = None
    burst: int = 1
    window: int | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class QualityView:
    """Patches at native resolution; `patches` None means the whole frame.

    `temporal` "pair" stacks the luma of two successive frames as two channels. `adaptive` takes
    `patches` as the largest grid: a picture gets no more than cover it. `features` "graph" runs
    quality.onnx, "scene_statistics" the op of that name, which needs no weights.
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
class HeadSpec:
    """What runs outside the graphs; `config` keeps every field of the exported head's config."""

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
    """`score = raw * scale + offset`, clipped to the published scale if `clip`."""

    scale: float = 1.0
    offset: float = 0.0
    clip: bool = False


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything known about a model before its weights are read."""

    name: str
    version: str
    family: str
    meaning: str
    scale: Scale
    sampling: SamplingSpec
    quality: QualityView
    semantic: SemanticView
    head: HeadSpec
    calibration: Calibration
    files: dict[str, str]
    weights_sha256: str
    trained_on: str
    licence: str
    source: str
    directory: Path
    metadata: dict[str, Any] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """Path of a weights file that model.json lists; `ModelError` if it lists none such."""
        if name not in self.files:
            raise ModelError(f"model {self.name}: needs {name}, lists {sorted(self.files)}")
        return self.directory / name
