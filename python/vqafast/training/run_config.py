"""What a run is: every choice that leads from a data set to a trained model, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument, MissingFile
from vqafast.training.clips.system import NAMES as CLIP_MODELS
from vqafast.training.clips.system import system_of
from vqafast.training.recipe import FREE, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_RECIPE = tuple(f.name for f in fields(Recipe))
# They say where files are and how fast something goes, not what comes out of it. A split is the
# same however many there are.
_FREE = FREE | {"root", "splits", "features", "jobs", "threads", "device", "export", "keep_weights"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig(Recipe):
    """One training on one split of one data set.

    Attributes
    ----------
    model : str
        Name in `vqafast.models.a2inet.variants.VARIANTS` or `vqafast.training.clips.system.NAMES`. The
        defaults here are A2INet's: `from_dict` fills in those of the model that it names.
    head, sampling, quality_view, semantic_view : dict
        Fields that differ from the variant's `HeadConfig`, `SamplingSpec`, `QualityView`,
        `SemanticView`.
    dataset, root, labels, split_file : str
        As `vqafast.training.datasets.load_dataset` takes them.
    split, splits, split_seed, ratio
        Split number `split` of the `splits` that `vqafast.training.splits.splits` gives.
    losses, eta
        Names in `vqafast.training.losses.LOSSES`; `eta` weighs "rank", the others weigh 1 (eq. 9).
    quality_weights, semantic_weights : str or None
        Weights of the backbones: a path, a public name or an address.
    random_backbones : bool
        Backbones without weights stay random. The model that comes out says so.
    init : str or None
        Model directory whose head the training starts from; for networks over clips, weights of all of it
        or of its Swin, as the model's `ClipSystem` says.
    clip_weights, contrique_weights : str or None
        Of frozen parts: a directory with CLIP, a checkpoint of CONTRIQUE.
    end_to_end : bool
        Train the backbones too: views are decoded anew each epoch, nothing is stored.
    features : str or None
        Folder of the feature store; None: ``features`` beside the run's directory.
    skip_failed : bool
        Go on without videos that are missing or cannot be read. They are named either way.
    jobs, threads
        Of extraction; see `vqafast.training.extract.extract`.
    export : bool
        Write the model directory.
    keep_weights : bool
        Keep checkpoint and best weights of a finished run. Without them only figures, predictions and
        the model stay: a checkpoint of the papers' head takes half a gigabyte.

    The other fields are those of `vqafast.training.recipe.Recipe`.
    """

    dataset: str
    root: str
    model: str = "a2inet"
    head: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    quality_view: dict[str, Any] = field(default_factory=dict)
    semantic_view: dict[str, Any] = field(default_factory=dict)
    labels: str | None = None
    split_file: str | None = None
    split: int = 0
    splits: int = 10
    split_seed: int = 0
    ratio: tuple[float, ...] | str | None = None
    losses: tuple[str, ...] = ("mae", "rank")
    eta: float = 1.0
    quality_weights: str | None = None
    semantic_weights: str | None = None
    random_backbones: bool = False
    init: str | None = None
    clip_weights: str | None = None
    contrique_weights: str | None = None
    end_to_end: bool = False
    features: str | None = None
    skip_failed: bool = False
    jobs: int = 1
    threads: int = 0
    device: str = "auto"
    export: bool = True
    keep_weights: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.split < self.splits:
            raise InvalidArgument(f"run: split must be in 0..{self.splits - 1}, got {self.split}")
        if not self.eta >= 0:
            raise InvalidArgument(f"run: eta must be at least 0, got {self.eta}")
        for name in ("losses", "ratio"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        # Not super(): dataclasses with slots make the class anew, which super() does not find.
        Recipe.__post_init__(self)

    def recipe(self) -> Recipe:
        """The fields that the trainer takes."""
        return Recipe(**{name: getattr(self, name) for name in _RECIPE})

    def loss_weights(self) -> dict[str, float]:
        """Weight of each loss."""
        return {name: self.eta if name == "rank" else 1.0 for name in self.losses}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}

    def deciding(self) -> dict[str, Any]:
        """The fields that a run must share with one that goes on from it."""
        free = _FREE | ({"epochs"} if self.schedule == "constant" else set())
        return {n: v for n, v in self.to_dict().items() if n not in free}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunConfig:
        """Inverse of `to_dict`; fields that are left out are the model's own recipe.

        Raises
        ------
        InvalidArgument
            For unknown or missing fields.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise InvalidArgument(f"run config: fields must be of RunConfig, got unknown {unknown}")
        missing = sorted({"dataset", "root"} - set(data))
        if missing:
            raise InvalidArgument(f"run config: dataset and root must be given, got no {', '.join(missing)}")
        return cls(**{**_recipe_of(data.get("model")), **data})

    @classmethod
    def read(cls, path: Path, **changes: Any) -> RunConfig:
        """Read a JSON file, with `changes` over what it says; `MissingFile`, `InvalidArgument`."""
        return cls.from_dict({**read_object(path), **changes})

    def changed(self, **changes: Any) -> RunConfig:
        """A copy with other values."""
        return replace(self, **changes)


def _recipe_of(model: Any) -> Mapping[str, Any]:
    return system_of(model).recipe if model in CLIP_MODELS else {}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; `MissingFile`, `InvalidArgument`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: no such file", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path}: must be a JSON file: {error}", path=str(path)) from error
    if not isinstance(data, dict):
        raise InvalidArgument(f"{path}: must hold a JSON object, got {type(data).__name__}", path=str(path))
    return data
