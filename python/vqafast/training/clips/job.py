"""A run of a network over clips, end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument
from vqafast.training.backbones import module_digest
from vqafast.training.calibration import Line, fitted_line
from vqafast.training.clips.samples import ClipSamples, ClipScorer
from vqafast.training.labelled import LabelledJob, digest_of, figures_of
from vqafast.training.run_config import RunConfig
from vqafast.training.run_export import described

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from vqafast.training.clips.system import ClipSystem, Start
    from vqafast.training.content_hash import ContentHashes
    from vqafast.training.datasets.item import VideoItem
    from vqafast.training.distributed import World
    from vqafast.training.reporter import Reporter
    from vqafast.training.trainer import Outcome


# Fields of `RunConfig` that say something to A2INet alone.
_OTHERS = (
    "head", "sampling", "quality_view", "semantic_view", "quality_weights", "semantic_weights", "end_to_end",
)  # fmt: skip
_WEIGHTS = ("init", "clip_weights", "contrique_weights")


@dataclass(frozen=True, slots=True)
class ClipJob(LabelledJob):
    """A `LabelledJob` with the family, its network before the training, and hashes of the videos."""

    system: ClipSystem
    start: Start
    start_digest: str
    hashes: ContentHashes

    @property
    def name(self) -> str:
        """See `LabelledJob`."""
        return self.system.name

    @property
    def random(self) -> tuple[str, ...]:
        """See `LabelledJob`."""
        return self.start.random

    def content(self, item: VideoItem) -> str:
        """See `LabelledJob`."""
        return self.hashes.of(item.path)

    @property
    def fingerprint(self) -> str:
        """See `LabelledJob`."""
        return digest_of(
            {
                "data": self.data_digest,
                "network": self.system.identity(),
                "losses": self.config.loss_weights(),
                "start": self.start_digest,
            }
        )

    def samples(self, chosen: NDArray[np.int64]) -> ClipSamples:
        """See `LabelledJob`."""
        return ClipSamples(
            [self.data.items[i] for i in chosen],
            self.normalised(chosen),
            self.system,
            seed=self.config.seed,
            threads=max(1, self.config.threads),
        )

    def train(self, world: World, reporter: Reporter, resume: bool) -> tuple[ClipScorer, Outcome]:
        """See `LabelledJob`."""
        model = ClipScorer(self.system, self.start.network)
        outcome = self.fit(
            model,
            self.samples(self.split.train),
            world,
            reporter,
            resume=resume,
            figures=validation,
            auxiliary=lambda output: output[1],
        )
        return model, outcome

    def line(self, raw: Mapping[str, NDArray[np.float64]]) -> Line:
        """Fitted on the training part: losses of correlation leave scale and offset free."""
        return fitted_line(raw["train"], self.mos(self.split.train))

    def described(self) -> dict[str, Any]:
        """See `LabelledJob`."""
        return {
            "paper": self.system.paper,
            "random_parts": list(self.start.random),
            "start_sha256": self.start_digest,
        }

    def export(
        self, directory: Path, model: nn.Module, line: Line, figures: dict[str, Any]
    ) -> dict[str, Any]:
        """See `LabelledJob`."""
        assert isinstance(model, ClipScorer)
        random = bool(self.random)
        spec = self.system.write(
            model.network.eval(),
            directory,
            random=random,
            **described(
                self.data, self.name, line, version=self.fingerprint[:12], metadata=figures, random=random
            ),
        )
        return {"weights_sha256": spec.weights_sha256}


def start_of(system: ClipSystem, weights: Mapping[str, str], seed: int) -> tuple[Start, str]:
    """A network before its training, and a hash of it; the same seed gives the same weights."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = system.start(weights)
    return start, module_digest(start.network)


def refuse_options(config: RunConfig, system: ClipSystem) -> None:
    """Raise `InvalidArgument` for fields of A2INet, and for weights that `system` has no use for."""
    plain = RunConfig(dataset=config.dataset, root=config.root)
    wrong = [name for name in _OTHERS if getattr(config, name) != getattr(plain, name)]
    wrong += [name for name in _WEIGHTS if getattr(config, name) is not None and name not in system.weights]
    if wrong:
        raise InvalidArgument(f"run config: {system.name} must go without {', '.join(wrong)}, got them")


def validation(raw: NDArray[np.float64], target: NDArray[np.float64]) -> dict[str, float]:
    """Figures of an epoch; "mae", which decides between equal SRCC, is that behind the best line."""
    return figures_of(raw, target, fitted_line(raw, target).of(raw))
