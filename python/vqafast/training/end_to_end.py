"""Training with the backbones: views are decoded anew in every epoch, from patches that move."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument, NoFrames
from vqafast.models.a2inet.functional import moment_pool
from vqafast.training.head_training import HeadOnWindows, Video, cuts_of, pack
from vqafast.video import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from vqafast.models.a2inet.modules import A2INetHead
    from vqafast.training.backbones import Backbones
    from vqafast.training.samples import Inputs


class Views(NamedTuple):
    """One video: ``(T, P, C, h, w)``, ``(T, C, h, w)``, and where windows of the head begin."""

    quality: Tensor
    semantic: Tensor
    cuts: Tensor


class ViewSamples:
    """Views of N videos with their labels, decoded when they are asked for.

    Parameters
    ----------
    paths : sequence of path
    targets : array
        ``(N,)`` on the scale that the network learns.
    backbones : Backbones
        For its sampling and views; its networks are not run.
    threads : int
        CPU threads of one video's decoding and views.
    """

    def __init__(
        self, paths: Sequence[Path], targets: ArrayLike, backbones: Backbones, *, threads: int = 1
    ) -> None:
        self._paths = paths
        self._targets: NDArray[np.float64] = np.asarray(targets, dtype=np.float64)
        self._backbones = backbones
        self._threads = threads

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def targets(self) -> NDArray[np.float64]:
        """Labels ``(N,)``."""
        return self._targets

    def sample(self, index: int, draw: int) -> Views:
        """Decode one video; `draw` 0 is the fixed grid of patches that scoring sees."""
        path = self._paths[index]
        with open_source(path, self._threads) as source:
            taken = list(self._backbones.samples(source, self._threads, draw=draw))
        if not taken:
            raise NoFrames(f"{path}: at least one frame must be there, got none", path=str(path))
        shapes = {(s.quality.shape, s.semantic.shape) for s in taken}
        if len(shapes) > 1:
            raise InvalidArgument(f"{path}: end to end, pictures must keep their size, got {shapes}")
        k = np.array([s.k for s in taken], dtype=np.int64)
        return Views(
            torch.from_numpy(np.stack([s.quality for s in taken])),
            torch.from_numpy(np.concatenate([s.semantic for s in taken])),
            torch.tensor(cuts_of(k, self._backbones.sampling.window)),
        )

    def collate(self, samples: list[Views]) -> Inputs:
        """Three arguments per video: their pictures may differ in size."""
        return tuple(part for sample in samples for part in sample)


class EndToEnd(nn.Module):
    """Backbones and head on the views of a batch; videos go through the backbones one by one.

    Batch norms keep their statistics: those of a few frames of one video would say little.

    Parameters
    ----------
    quality, semantic : torch.nn.Module
        Map ``(N, C, H, W)`` to a tuple of stage maps.
    motion : bool
        The semantic backbone looks along time and gets one window at once.
    frame_batch : int
        Pictures through a backbone at once.
    """

    def __init__(
        self,
        quality: nn.Module,
        semantic: nn.Module,
        head: A2INetHead,
        *,
        motion: bool = False,
        frame_batch: int = 16,
    ) -> None:
        super().__init__()
        self.quality = quality.requires_grad_(True)
        self.semantic = semantic.requires_grad_(True)
        self.scorer = HeadOnWindows(head)
        self._motion = motion
        self._frame_batch = frame_batch

    @property
    def head(self) -> A2INetHead:
        """The part behind the features."""
        return self.scorer.head

    def train(self, mode: bool = True) -> Self:
        """Switch the head; the backbones' batch norms stay in evaluation mode."""
        super().train(mode)
        self.quality.eval()
        self.semantic.eval()
        return self

    def forward(self, *views: Tensor) -> Tensor:
        """Scores ``(B,)``; the arguments are those of `ViewSamples.collate`."""
        videos = []
        for quality, semantic, cuts in zip(views[::3], views[1::3], views[2::3], strict=True):
            steps, patches = quality.shape[:2]
            maps = self._pooled(self.quality, torch.split(quality.flatten(0, 1), self._frame_batch))
            starts = tuple(int(i) for i in cuts)
            if self._motion:
                sizes = [b - a for a, b in zip(starts, (*starts[1:], steps), strict=True)]
                parts = semantic.split_with_sizes(sizes)
            else:
                parts = torch.split(semantic, self._frame_batch)
            features = self._pooled(self.semantic, parts)
            videos.append(Video(maps.reshape(steps, patches, -1).mean(dim=1), features, starts))
        out: Tensor = self.scorer(*pack(videos))
        return out

    @staticmethod
    def _pooled(net: nn.Module, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([moment_pool(net(part)) for part in parts])
