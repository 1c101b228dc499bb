"""Quality-aware region selection (QRS): which fragments of a clip are kept (paper, sections 4.1 and 10.1).

Every region of 7 x 7 neighbouring fragments out of 9 x 9 is a candidate. A key frame chooses one by what
CLIP says of its patches, for itself and the frames up to the next key frame.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from .config import KsvqeConfig

# Added to the range that region scores are divided by (release, min_max_norm).
_EPSILON = 1e-5


def key_frames(frames: int) -> tuple[int, int, int, int]:
    """Frames of a clip that CLIP sees: 0, T/4 - 1, T/2 - 1, 3T/4 - 1, rounded down (release).

    Parameters
    ----------
    frames : int
        T; at least 8, so that they differ.

    Raises
    ------
    InvalidArgument
    """
    if frames < 8:
        raise InvalidArgument(f"key_frames: frames must be >= 8, got {frames}")
    return 0, frames // 4 - 1, frames // 2 - 1, frames * 3 // 4 - 1


def key_groups(frames: int) -> tuple[int, ...]:
    """Which of the key frames speaks for each of `frames` frames: the last one up to it."""
    keys = key_frames(frames)
    return tuple(sum(k <= i for k in keys) - 1 for i in range(frames))


def key_spans(frames: int, step: int = 1) -> tuple[tuple[int, int], ...]:
    """First and end of each key frame's run, in a list of every `step`-th of `frames` frames."""
    return tuple(pairwise(-(-k // step) for k in (*key_frames(frames), frames)))


def perturbed_top1(scores: Tensor, sigma: float, samples: int) -> Tensor:
    """How often each score is the largest under Gaussian noise (paper, eq. 7).

    The gradient is the release's: of the indicator of a score with its own noise alone, where the method
    that it builds on (Cordonnier et al., CVPR 2021) takes that of every indicator with every noise.

    Parameters
    ----------
    scores : Tensor
        ``(N, R)``.
    sigma : float
        Deviation of the noise, above 0.
    samples : int

    Returns
    -------
    Tensor
        ``(N, R)``; a row sums to 1.
    """
    rows, count = scores.shape
    noise = torch.randn(rows, samples, count, dtype=scores.dtype, device=scores.device)
    out: Tensor = _PerturbedTop1.apply(scores, noise, sigma)  # type: ignore[no-untyped-call]
    return out


class _PerturbedTop1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, noise: Tensor, sigma: float) -> Tensor:
        largest = (scores[:, None] + sigma * noise).argmax(dim=2)
        chosen = F.one_hot(largest, scores.shape[1]).to(scores.dtype)
        ctx.save_for_backward((chosen * noise).mean(dim=1) / sigma)
        return chosen.mean(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None


class RegionSelection(nn.Module):
    """Choose a region of fragments for each key frame.

    Parameters
    ----------
    config : KsvqeConfig
    """

    counts: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, config: KsvqeConfig) -> None:
        super().__init__()
        self.grid, self.patch = config.sampling.grid, config.sampling.patch
        self.region, self.sigma, self.samples = config.region, config.sigma, config.num_samples
        steps = range(self.grid - self.region + 1)
        self.corners = [(y, x) for y in steps for x in steps]
        # From the configuration alone, so no part of a checkpoint.
        counts = _counts(config.frames_grid, self.grid, self.region, self.corners)
        self.register_buffer("counts", torch.from_numpy(counts), persistent=False)
        for axis, name in enumerate(("rows", "columns")):
            taken = [range(c[axis], c[axis] + self.region) for c in self.corners]
            self.register_buffer(name, torch.tensor([list(r) for r in taken]), persistent=False)

    def forward(self, fragments: Tensor, similarity: Tensor) -> Tensor:
        """Cut the chosen regions out.

        Parameters
        ----------
        fragments : Tensor
            ``(B, 3, T, 9 * 32, 9 * 32)``.
        similarity : Tensor
            ``(B, 4, P)``: of each key frame's class token and patches.

        Returns
        -------
        Tensor
            ``(B, 3, T, 7 * 32, 7 * 32)``. In training every frame is the mean of the candidates, weighted
            by `perturbed_top1`; in evaluation it is the best one.
        """
        scores = self.scores(similarity.flatten(0, 1))
        batch, keys = similarity.shape[:2]
        if self.training:
            weights = perturbed_top1(_normalised(scores), self.sigma, self.samples)
            return self._mixed(fragments, weights.reshape(batch, keys, -1))
        # Normalising would not change the order.
        best = scores.topk(1, dim=1).indices.reshape(-1)
        rows, columns = (
            t.index_select(0, best).reshape(batch, keys, self.region) for t in (self.rows, self.columns)
        )
        return self._taken(fragments, rows, columns)

    def scores(self, similarity: Tensor) -> Tensor:
        """Mean similarity in each region: ``(N, P)`` to ``(N, 9)``, regions in scan order."""
        return similarity @ self.counts.to(similarity.dtype) / self.region**2

    def _taken(self, fragments: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Whole fragments by index, one run of frames at a time: no other candidate is made."""
        batch, channels, frames = fragments.shape[:3]
        blocks = fragments.reshape(batch, channels, frames, self.grid, self.patch, self.grid, self.patch)
        clips = [
            torch.cat(
                [
                    blocks[b, :, first:end].index_select(2, rows[b, k]).index_select(4, columns[b, k])
                    for k, (first, end) in enumerate(key_spans(frames))
                ],
                dim=1,
            )
            for b in range(batch)
        ]
        side = self.region * self.patch
        return torch.stack(clips).reshape(batch, channels, frames, side, side)

    def _mixed(self, fragments: Tensor, weights: Tensor) -> Tensor:
        """Weigh the candidates, each a view of the fragments; the sum is all that is made."""
        frames, side = fragments.shape[2], self.region * self.patch
        groups = torch.tensor(key_groups(frames), device=weights.device)
        by_frame = weights.index_select(1, groups)[:, None, :, None, None]
        mixed: Tensor | None = None
        for i, (y, x) in enumerate(self.corners):
            top, left = y * self.patch, x * self.patch
            candidate = fragments[..., top : top + side, left : left + side]
            weight = by_frame[..., i]
            mixed = candidate * weight if mixed is None else torch.addcmul(mixed, candidate, weight)
        assert mixed is not None
        return mixed


def _normalised(scores: Tensor) -> Tensor:
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    return (scores - low) / (high - low + _EPSILON)


def _counts(
    patches: int, grid: int, region: int, corners: list[tuple[int, int]]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """How many fragments of each region take the similarity of each of CLIP's patches: ``(P, R)``."""
    # `interpolate`'s "nearest" with a scale factor, in its precision.
    scale = np.float32(1.0 / (grid / patches))
    near = [min(int(np.float32(i) * scale), patches - 1) for i in range(grid)]
    counts = np.zeros((patches, patches, len(corners)), np.float32)
    for i, (y, x) in enumerate(corners):
        for row in near[y : y + region]:
            for column in near[x : x + region]:
                counts[row, column, i] += 1
    return counts.reshape(patches**2, -1)
