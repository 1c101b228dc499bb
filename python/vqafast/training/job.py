"""What a run trains on what: labels, parts of the split, identity of the data; and the training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training import metrics
from vqafast.training.end_to_end import EndToEnd, ViewSamples
from vqafast.training.head_training import FeatureSamples, HeadOnWindows, Stored, head_file, load_head
from vqafast.training.losses import weighted_loss
from vqafast.training.trainer import Outcome, Progress, Trainer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vqafast.training.datasets import VideoDataset
    from vqafast.training.distributed import World
    from vqafast.training.feature_store import FeatureStore
    from vqafast.training.parts import Parts
    from vqafast.training.reporter import Reporter
    from vqafast.training.run_config import RunConfig
    from vqafast.training.splits import Split


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained on what."""

    config: RunConfig
    root: Path
    data: VideoDataset
    parts: Parts
    store: FeatureStore
    split: Split

    @property
    def indices(self) -> dict[str, NDArray[np.int64]]:
        """Positions in the data set's items by part."""
        return {"train": self.split.train, "val": self.split.val, "test": self.split.test}

    def mos(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Labels of the chosen items."""
        return np.array([self.data.items[i].mos for i in chosen], dtype=np.float64)

    def leaks(self) -> list[tuple[str, ...]]:
        """Names of files with the same content, of which one is trained on and one is not."""
        names: dict[str, list[tuple[str, str]]] = {}
        for part, chosen in self.indices.items():
            for i in chosen:
                item = self.data.items[i]
                names.setdefault(self.store.content(item), []).append((part, item.name))
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
        rows = [
            [self.data.items[i].name, part, self.data.items[i].mos, self.store.content(self.data.items[i])]
            for part, chosen in self.indices.items()
            for i in chosen
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the weights, but the recipe."""
        init = None if self.config.init is None else head_file(Path(self.config.init)).read_bytes()
        what = {
            "data": self.data_digest,
            "features": self.store.key.to_dict(),
            "head": self.parts.head.to_dict(),
            "window": self.parts.sampling.window,
            "losses": self.config.loss_weights(),
            "init": None if init is None else hashlib.sha256(init).hexdigest(),
            "end_to_end": self.config.end_to_end,
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def samples(self, chosen: NDArray[np.int64]) -> FeatureSamples | ViewSamples:
        """Inputs and normalised labels of the chosen items."""
        low, high = self.label_range
        targets = (self.mos(chosen) - low) / (high - low)
        items = [self.data.items[i] for i in chosen]
        if self.config.end_to_end:
            threads = max(1, self.config.threads)
            return ViewSamples([i.path for i in items], targets, self.parts.backbones(), threads=threads)
        return FeatureSamples(Stored(self.store, items), targets, self.parts.sampling.window)


def train(
    job: Job, world: World, reporter: Reporter, resume: bool
) -> tuple[HeadOnWindows | EndToEnd, Outcome]:
    """Train to the end, from the checkpoint if there is one; the model holds the best weights."""
    config = job.config
    head = job.parts.new_head(config.seed)
    samples = job.samples(job.split.train)
    if config.init is not None:
        load_head(head, Path(config.init))
    elif isinstance(samples, FeatureSamples) and (head.config.standardise or head.config.compress):
        head.fit_constants(*samples.rows())
    model: HeadOnWindows | EndToEnd = HeadOnWindows(head)
    if config.end_to_end:
        if job.parts.quality is None:
            raise InvalidArgument("run: end_to_end needs a quality backbone with weights, got an op")
        motion = job.parts.semantic_view.temporal == "window"
        model = EndToEnd(job.parts.quality, job.parts.semantic, head, motion=motion)
    recipe = config.recipe()
    steps = -(-len(samples) // recipe.batch)
    reporter.stage("train", recipe.epochs * steps)

    def on_step(at: Progress, of: int) -> None:
        reporter.advance(f"epoch {at.epoch + 1}/{recipe.epochs}", at.epoch * of + at.step)

    trainer = Trainer(
        model,
        samples,
        job.samples(job.split.val) if len(job.split.val) else None,
        recipe=recipe,
        loss=weighted_loss(config.loss_weights()),
        figures=_validation,
        directory=job.root,
        world=world,
        fingerprint=job.fingerprint,
        on_resume=lambda step: reporter.note(f"training goes on from step {step}"),
        on_step=on_step,
        on_epoch=reporter.epoch,
    )
    return model, trainer.fit(resume=resume)


def _validation(predicted: NDArray[np.float64], target: NDArray[np.float64]) -> dict[str, float]:
    if len(predicted) < 2:
        return {"srcc": float("nan"), "plcc": float("nan"), "mae": float(np.abs(predicted - target).mean())}
    return {
        "srcc": metrics.srcc(predicted, target),
        "plcc": metrics.plcc(predicted, target),
        "mae": metrics.mae(predicted, target),
    }
