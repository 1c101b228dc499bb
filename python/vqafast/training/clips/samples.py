"""Videos as clips for the `Trainer`, and the network that scores them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from vqafast.errors import CorruptVideo, NoFrames
from vqafast.video import open_source
from vqafast.video.sampling import splitmix64

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from vqafast.training.clips.system import ClipSystem
    from vqafast.training.extract import Video
    from vqafast.training.samples import Inputs

    Clip = tuple[Tensor, ...]


# Places of a video that are tried for a clip before it counts as damaged.
_TRIES = 8


class ClipSamples:
    """Clips of N videos with their labels, decoded when they are asked for.

    Parameters
    ----------
    items : sequence of Video
        What is cut out of a video depends on its name, not on its place among the others.
    targets : array_like
        ``(N,)`` on the scale that the network learns.
    system : ClipSystem
    seed : int
        Changes the clips of all draws above 0.
    threads : int
        CPU threads of one video's decoding and views.
    """

    def __init__(
        self, items: Sequence[Video], targets: ArrayLike, system: ClipSystem, *, seed: int, threads: int = 1
    ) -> None:
        self._items = items
        self._targets: NDArray[np.float64] = np.asarray(targets, dtype=np.float64)
        self._system = system
        self._seed = seed
        self._threads = threads

    def __len__(self) -> int:
        return len(self._items)

    @property
    def targets(self) -> NDArray[np.float64]:
        """Labels ``(N,)``."""
        return self._targets

    def sample(self, index: int, draw: int) -> list[Clip]:
        """Decode one video: all clips that scoring sees for draw 0, else one.

        Raises
        ------
        VqafastError
            When the video cannot be scored either.
        """
        item = self._items[index]
        seed = splitmix64(self._seed, _number(item.name))
        clips = self._views(item, draw, seed)
        for other in range(1, _TRIES):
            if clips or draw == 0:
                break
            # The place is damaged; others may not be.
            clips = self._views(item, draw, splitmix64(seed, -other))
        if not clips:
            raise NoFrames(f"{item.path}: at least one frame must be there, got none", path=str(item.path))
        return clips

    def _views(self, item: Video, draw: int, seed: int) -> list[Clip]:
        with open_source(item.path, self._threads) as source:
            clips = self._system.views(source, draw=draw, seed=seed, threads=self._threads)
            if draw == 0 and not clips and source.counts.dropped_samples:
                raise CorruptVideo(
                    f"{item.path}: at least one sampled frame must be whole, got "
                    f"{source.counts.dropped_samples} damaged ones",
                    path=str(item.path),
                )
        return clips

    def collate(self, samples: list[list[Clip]]) -> Inputs:
        """Arguments of `ClipScorer`: clips of each video ``(B,)``, then the network's inputs."""
        clips = [clip for sample in samples for clip in sample]
        inputs = tuple(torch.stack(tensors) for tensors in zip(*clips, strict=True))
        return torch.tensor([len(sample) for sample in samples]), *inputs


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


class ClipScorer(nn.Module):
    """Scores of videos: of each, the mean over its clips.

    Parameters
    ----------
    system : ClipSystem
    network : torch.nn.Module
        One that it made.
    """

    def __init__(self, system: ClipSystem, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._system = system

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        """Those that `Recipe.backbone_lr` is for."""
        return self._system.backbone(self.network)

    def forward(self, counts: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Score B videos.

        Parameters
        ----------
        counts : Tensor
            ``(B,)`` clips of each video.
        *inputs : Tensor
            Of the network, for all clips, video by video.

        Returns
        -------
        scores : Tensor
            ``(B,)``.
        added : Tensor or None
            In training, what the family adds to the loss.
        """
        added = None
        if self.training:
            scores, added = self._system.training_scores(self.network, inputs)
        else:
            # One at a time: that is how much memory scoring needs.
            scores = torch.cat([self.network(*(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))])
        parts = torch.split(scores, counts.tolist())
        return torch.stack([part.mean() for part in parts]), added
