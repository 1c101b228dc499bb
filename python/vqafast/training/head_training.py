"""Stored features as samples for the `Trainer`, and the head that learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument, MissingFile
from vqafast.models.a2inet.functional import hysteresis_pool
from vqafast.training.feature_store import read_features

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from vqafast.models.a2inet.modules import A2INetHead
    from vqafast.training.feature_store import Features, FeatureStore, HasPath
    from vqafast.training.samples import Inputs

# Rows from which the constants of `HeadConfig.standardise` are taken, bounded by their bytes.
_CONSTANTS_BYTES = 256 << 20


class Video(NamedTuple):
    """T samples of one video; ``cuts`` are the positions at which windows of the head begin."""

    quality: Tensor
    semantic: Tensor
    cuts: tuple[int, ...]


class FeatureSamples:
    """Features of N videos with their labels; nothing is kept in memory but what a batch needs.

    Parameters
    ----------
    features : sequence of Features
    targets : array
        ``(N,)`` on the scale that the head learns.
    window : int or None
        Samples that the temporal head sees at once, as in the model's sampling; None: all.
    """

    def __init__(self, features: Sequence[Features], targets: ArrayLike, window: int | None) -> None:
        self._features = features
        self._targets: NDArray[np.float64] = np.asarray(targets, dtype=np.float64)
        self._window = window
        if self._targets.shape != (len(features),):
            raise InvalidArgument(
                f"features: there must be one target for each of {len(features)} videos, "
                f"got {self._targets.shape}"
            )

    def __len__(self) -> int:
        return len(self._features)

    @property
    def targets(self) -> NDArray[np.float64]:
        """Labels ``(N,)``."""
        return self._targets

    def sample(self, index: int, draw: int) -> Video:  # noqa: ARG002 - features do not vary
        """Copy one video's features into memory."""
        f = self._features[index]
        quality = torch.from_numpy(np.array(f.quality, dtype=np.float32))
        semantic = torch.from_numpy(np.array(f.semantic, dtype=np.float32))
        return Video(quality, semantic, cuts_of(f.k, self._window))

    def collate(self, samples: list[Video]) -> Inputs:
        """Arguments of `HeadOnWindows`; see `pack`."""
        return pack(samples)

    def rows(self) -> tuple[Tensor, Tensor]:
        """Some rows of every video, evenly spaced, for the head's constants: ``(n, C)`` each."""
        quality, semantic = [], []
        for f in self._features:
            widest = max(f.quality.shape[1], f.semantic.shape[1])
            count = min(len(f), max(1, _CONSTANTS_BYTES // (4 * widest * len(self._features))))
            chosen = np.unique(np.linspace(0, len(f) - 1, count).astype(int))
            quality.append(f.quality[chosen])
            semantic.append(f.semantic[chosen])
        return torch.from_numpy(np.concatenate(quality)), torch.from_numpy(np.concatenate(semantic))


class Stored(Sequence["Features"]):
    """Features of a store's videos, mapped one at a time: a process may hold only so many maps."""

    def __init__(self, store: FeatureStore, items: Sequence[HasPath]) -> None:
        self._files = [store.file(item) for item in items]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        """One video's `Features`."""
        return read_features(self._files[index], "features")


def cuts_of(k: NDArray[np.int64], window: int | None) -> tuple[int, ...]:
    """Positions at which windows of the head begin, by the samples' numbers ``(T,)`` as in scoring.

    Samples that were lost leave gaps in the numbers, and windows do not close up behind them.
    """
    if window is None:
        return (0,)
    return (0, *(int(i) + 1 for i in np.flatnonzero(np.diff(np.asarray(k) // window))))


def pack(videos: Sequence[Video]) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None]:
    """Windows of all videos side by side, and where each video's samples are among them.

    Returns
    -------
    quality, semantic : Tensor
        ``(W, S, C)``: W windows of at most S samples, zeros behind the last.
    steps : Tensor or None
        ``(W,)`` samples of each window; None when all have S.
    where : Tensor
        ``(B, T)`` positions in the flattened ``(W, S)``; 0 behind a video's last sample.
    lengths : Tensor or None
        ``(B,)`` samples of each video; None when all have T.
    """
    lengths = [len(v.quality) for v in videos]
    spans = [
        [slice(a, b) for a, b in zip(v.cuts, (*v.cuts[1:], n), strict=True)]
        for v, n in zip(videos, lengths, strict=True)
    ]
    steps = [span.stop - span.start for video in spans for span in video]
    size, device = max(steps), videos[0].quality.device
    windows = [(v, span) for v, video in zip(videos, spans, strict=True) for span in video]
    quality = torch.stack([_padded(v.quality[span], size) for v, span in windows])
    semantic = torch.stack([_padded(v.semantic[span], size) for v, span in windows])
    where = torch.zeros(len(videos), max(lengths), dtype=torch.int64)
    first = 0
    for row, video in zip(where, spans, strict=True):
        for number, span in enumerate(video, first):
            row[span] = torch.arange(span.stop - span.start) + number * size
        first += len(video)
    return (
        quality,
        semantic,
        None if min(steps) == size else torch.tensor(steps, device=device),
        where.to(device),
        None if min(lengths) == max(lengths) else torch.tensor(lengths, device=device),
    )


def _padded(x: Tensor, size: int) -> Tensor:
    return x if len(x) == size else nn.functional.pad(x, (0, 0, 0, size - len(x)))


class HeadOnWindows(nn.Module):
    """The head as it scores: windows apart from each other, pooling over the whole video."""

    def __init__(self, head: A2INetHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, quality: Tensor, semantic: Tensor, steps: Tensor | None, where: Tensor, lengths: Tensor | None
    ) -> Tensor:
        """Scores ``(B,)``; the arguments are those that `pack` gives."""
        config = self.head.config
        frames = self.head.frame_scores(quality, semantic, steps).flatten()[where]
        # Under autocast the frame scores may come in half precision, which ties them.
        frames = frames if frames.dtype == torch.float64 else frames.float()
        score, _ = hysteresis_pool(frames, lengths, alpha=config.alpha, beta=config.beta)
        return score


def head_file(model: Path) -> Path:
    """Weights of the head in a model directory, or the file itself; `MissingFile`."""
    file = model / "head.safetensors" if model.is_dir() else model
    if not file.is_file():
        raise MissingFile(f"init: must be a model directory with a {file.name}, got {model}", path=str(model))
    return file


def load_head(head: A2INetHead, model: Path) -> None:
    """Start from the head of a model directory (or a safetensors file of one); strict.

    Raises
    ------
    MissingFile, ModelError
        When there is none, or it does not fit.
    """
    from vqafast.models.backbones.loader import load_checkpoint_strict

    load_checkpoint_strict(head, head_file(model))
