"""What all trainings on labelled videos share: parts of the split, labels, identity of the data."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training import metrics
from vqafast.training.losses import weighted_loss
from vqafast.training.trainer import Outcome, Progress, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from vqafast.training.calibration import Line
    from vqafast.training.datasets import VideoDataset
    from vqafast.training.datasets.item import VideoItem
    from vqafast.training.distributed import World
    from vqafast.training.reporter import Reporter
    from vqafast.training.run_config import RunConfig
    from vqafast.training.samples import Samples
    from vqafast.training.splits import Split
    from vqafast.training.trainer import Figures


@dataclass(frozen=True, slots=True)
class LabelledJob(ABC):
    """What is trained on what; `root` is the run's directory."""

    config: RunConfig
    root: Path
    data: VideoDataset
    split: Split

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the model."""

    @property
    @abstractmethod
    def random(self) -> tuple[str, ...]:
        """Frozen parts whose weights are random: the scores measure nothing."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the weights, but the recipe."""

    @abstractmethod
    def content(self, item: VideoItem) -> str:
        """SHA-256 of a video's file."""

    @abstractmethod
    def samples(self, chosen: NDArray[np.int64]) -> Samples:
        """Inputs and labels in 0..1 of the chosen items."""

    @abstractmethod
    def train(self, world: World, reporter: Reporter, resume: bool) -> tuple[nn.Module, Outcome]:
        """Train to the end, from the checkpoint if there is one; the model holds the best weights."""

    @abstractmethod
    def line(self, raw: Mapping[str, NDArray[np.float64]]) -> Line:
        """What leads from the model's outputs, given by part, to the scale of the labels."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What metrics.json says of this kind of model."""

    @abstractmethod
    def export(
        self, directory: Path, model: nn.Module, line: Line, figures: dict[str, Any]
    ) -> dict[str, Any]:
        """Write a model directory, and say what metrics.json keeps of it."""

    @property
    def indices(self) -> dict[str, NDArray[np.int64]]:
        """Positions in the data set's items by part."""
        return {"train": self.split.train, "val": self.split.val, "test": self.split.test}

    def mos(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Labels of the chosen items."""
        return np.array([self.data.items[i].mos for i in chosen], dtype=np.float64)

    def normalised(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Labels of the chosen items by `label_range`."""
        low, high = self.label_range
        return (self.mos(chosen) - low) / (high - low)

    def leaks(self) -> list[tuple[str, ...]]:
        """Names of files with the same content, of which one is trained on and one is not."""
        names: dict[str, list[tuple[str, str]]] = {}
        for part, chosen in self.indices.items():
            for i in chosen:
                item = self.data.items[i]
                names.setdefault(self.content(item), []).append((part, item.name))
        mixed = [same for same in names.values() if len({part == "train" for part, _ in same}) == 2]
        return [tuple(name for _, name in same) for same in mixed]

    @property
    def label_range(self) -> tuple[float, float]:
        """Lowest and highest MOS of the training part; they become 0 and 1."""
        mos = self.mos(self.split.train)
        low, high = float(mos.min()), float(mos.max())
        if not low < high:
            raise InvalidArgument(f"{self.data.name}: training labels must differ, got {low} everywhere")
        return low, high

    @property
    def data_digest(self) -> str:
        """SHA-256 over name, part, MOS and content hash of every video that is used."""
        items = self.data.items
        rows = [
            [items[i].name, part, items[i].mos, self.content(items[i])]
            for part, chosen in self.indices.items()
            for i in chosen
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def fit(
        self,
        model: nn.Module,
        samples: Samples,
        world: World,
        reporter: Reporter,
        *,
        resume: bool,
        figures: Figures,
        auxiliary: Callable[[Any], Tensor | None] | None = None,
    ) -> Outcome:
        """Train `model` on `samples` with the config's recipe and losses; see `Trainer`."""
        recipe = self.config.recipe()
        steps = -(-len(samples) // recipe.batch)
        reporter.stage("train", recipe.epochs * steps)

        def on_step(at: Progress, of: int) -> None:
            reporter.advance(f"epoch {at.epoch + 1}/{recipe.epochs}", at.epoch * of + at.step)

        trainer = Trainer(
            model,
            samples,
            self.samples(self.split.val) if len(self.split.val) else None,
            recipe=recipe,
            loss=weighted_loss(self.config.loss_weights()),
            figures=figures,
            directory=self.root,
            auxiliary=auxiliary,
            world=world,
            fingerprint=self.fingerprint,
            on_resume=lambda step: reporter.note(f"training goes on from step {step}"),
            on_step=on_step,
            on_epoch=reporter.epoch,
        )
        return trainer.fit(resume=resume)


def digest_of(what: Mapping[str, Any]) -> str:
    """SHA-256 over JSON values."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def figures_of(
    raw: NDArray[np.float64], target: NDArray[np.float64], predicted: NDArray[np.float64]
) -> dict[str, float]:
    """SRCC and PLCC of raw outputs, nan for fewer than two, and MAE of what they predict."""
    few = len(raw) < 2
    return {
        "srcc": float("nan") if few else metrics.srcc(raw, target),
        "plcc": float("nan") if few else metrics.plcc(raw, target),
        "mae": metrics.mae(predicted, target),
    }
