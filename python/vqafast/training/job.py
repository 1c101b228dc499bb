"""A run of A2INet: a head on stored features, or all of it end to end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument
from vqafast.training.calibration import Line
from vqafast.training.end_to_end import EndToEnd, ViewSamples
from vqafast.training.head_training import FeatureSamples, HeadOnWindows, Stored, head_file, load_head
from vqafast.training.labelled import LabelledJob, digest_of, figures_of
from vqafast.training.run_export import export_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from vqafast.training.datasets.item import VideoItem
    from vqafast.training.distributed import World
    from vqafast.training.feature_store import FeatureStore
    from vqafast.training.parts import Parts
    from vqafast.training.reporter import Reporter
    from vqafast.training.trainer import Outcome


@dataclass(frozen=True, slots=True)
class Job(LabelledJob):
    """A `LabelledJob` with the networks, and the store of their features."""

    parts: Parts
    store: FeatureStore

    @property
    def name(self) -> str:
        """See `LabelledJob`."""
        return self.parts.name

    @property
    def random(self) -> tuple[str, ...]:
        """See `LabelledJob`."""
        return self.parts.random

    def content(self, item: VideoItem) -> str:
        """See `LabelledJob`."""
        return self.store.content(item)

    @property
    def fingerprint(self) -> str:
        """See `LabelledJob`."""
        init = None if self.config.init is None else head_file(Path(self.config.init)).read_bytes()
        return digest_of(
            {
                "data": self.data_digest,
                "features": self.store.key.to_dict(),
                "head": self.parts.head.to_dict(),
                "window": self.parts.sampling.window,
                "losses": self.config.loss_weights(),
                "init": None if init is None else hashlib.sha256(init).hexdigest(),
                "end_to_end": self.config.end_to_end,
            }
        )

    def samples(self, chosen: NDArray[np.int64]) -> FeatureSamples | ViewSamples:
        """See `LabelledJob`."""
        targets = self.normalised(chosen)
        items = [self.data.items[i] for i in chosen]
        if self.config.end_to_end:
            threads = max(1, self.config.threads)
            return ViewSamples([i.path for i in items], targets, self.parts.backbones(), threads=threads)
        return FeatureSamples(Stored(self.store, items), targets, self.parts.sampling.window)

    def train(
        self, world: World, reporter: Reporter, resume: bool
    ) -> tuple[HeadOnWindows | EndToEnd, Outcome]:
        """See `LabelledJob`."""
        config = self.config
        head = self.parts.new_head(config.seed)
        samples = self.samples(self.split.train)
        if config.init is not None:
            load_head(head, Path(config.init))
        elif isinstance(samples, FeatureSamples) and (head.config.standardise or head.config.compress):
            head.fit_constants(*samples.rows())
        model: HeadOnWindows | EndToEnd = HeadOnWindows(head)
        if config.end_to_end:
            if self.parts.quality is None:
                raise InvalidArgument("run: end_to_end needs a quality backbone with weights, got an op")
            motion = self.parts.semantic_view.temporal == "window"
            model = EndToEnd(self.parts.quality, self.parts.semantic, head, motion=motion)
        return model, self.fit(model, samples, world, reporter, resume=resume, figures=validation)

    def line(self, raw: Mapping[str, NDArray[np.float64]]) -> Line:
        """Back from 0..1: the losses tie outputs to the labels."""
        del raw
        low, high = self.label_range
        return Line(high - low, low)

    def described(self) -> dict[str, Any]:
        """See `LabelledJob`."""
        return {
            "paper": self.parts.paper,
            "random_backbones": list(self.parts.random),
            "features_sha256": self.store.key.digest(),
        }

    def export(
        self, directory: Path, model: nn.Module, line: Line, figures: dict[str, Any]
    ) -> dict[str, Any]:
        """See `LabelledJob`."""
        assert isinstance(model, HeadOnWindows | EndToEnd)
        spec, parity = export_run(
            directory,
            self.parts,
            model.head,
            self.data,
            line,
            version=self.fingerprint[:12],
            metadata=figures,
            trained_backbones=self.config.end_to_end,
        )
        return {"weights_sha256": spec.weights_sha256, "differs_from_torch_by": parity}


def validation(predicted: NDArray[np.float64], target: NDArray[np.float64]) -> dict[str, float]:
    """Figures of an epoch; outputs are on the scale of the labels."""
    return figures_of(predicted, target, predicted)
