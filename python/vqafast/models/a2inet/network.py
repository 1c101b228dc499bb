"""The whole A2INet: backbones, spatial pooling, averaging over patches, head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from vqafast.errors import InvalidArgument

from ..backbones.resnet import freeze, resnet34_iqa, resnet50
from ..backbones.slowfast import SlowFastFast
from .config import HeadConfig, a2inet_sm, a2inet_ss
from .functional import moment_pool
from .modules import A2INetHead
from .variants import Variant, build_backbones

if TYPE_CHECKING:
    from os import PathLike


class A2INet(nn.Module):
    """Frames to scores; FR and PR differ in the frames that are handed in.

    FR: every frame, one "patch" that is the whole frame, the semantic view not resized.
    PR: 128 frames at equal intervals, four patches of 768, the semantic view with shorter side 540.

    Parameters
    ----------
    quality, semantic : torch.nn.Module
        Map ``(N, C, H, W)`` to a tuple of stage maps ``(N, C_i, H_i, W_i)``.
    config : HeadConfig
        `quality_dim` and `semantic_dim` are twice the sums of the stages' channels.
    motion : bool
        The semantic backbone convolves over time: it gets whole clips (S+M).
    frozen : bool
        Backbones stay in evaluation mode and get no gradients, as in the paper.
    frame_batch : int
        Frames through a backbone at once; bounds memory, changes nothing.
    """

    def __init__(
        self,
        quality: nn.Module,
        semantic: nn.Module,
        config: HeadConfig,
        *,
        motion: bool = False,
        frozen: bool = True,
        frame_batch: int = 16,
    ) -> None:
        super().__init__()
        self.quality = freeze(quality) if frozen else quality
        self.semantic = freeze(semantic) if frozen else semantic
        self.head = A2INetHead(config)
        self.motion = motion
        self.frozen = frozen
        self.frame_batch = frame_batch

    def train(self, mode: bool = True) -> Self:
        """Switch the head; frozen backbones stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.quality.eval()
            self.semantic.eval()
        return self

    def forward(
        self,
        quality: Tensor,
        semantic: Tensor,
        lengths: Tensor | None = None,
        window: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score a batch of videos.

        Parameters
        ----------
        quality : Tensor
            ``(B, T, P, C, H, W)``: P patches of each frame, their features are averaged.
        semantic : Tensor
            ``(B, T, C, h, w)``.
        lengths, window
            As in `A2INetHead.forward`.

        Returns
        -------
        score : Tensor
            ``(B,)``.
        frame_scores : Tensor
            ``(B, T)``.
        """
        if quality.ndim != 6 or semantic.ndim != 5:
            raise InvalidArgument(
                "A2INet: quality must be (B, T, P, C, H, W), semantic (B, T, C, h, w), "
                f"got {tuple(quality.shape)}, {tuple(semantic.shape)}"
            )
        batch, steps, patches = quality.shape[:3]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            f = self._pooled(self.quality, quality.flatten(0, 2))
            fq = f.reshape(batch, steps, patches, -1).mean(dim=2)
            if self.motion:
                fs = self._clips(semantic, lengths, window or steps)
            else:
                fs = self._pooled(self.semantic, semantic.flatten(0, 1)).reshape(batch, steps, -1)
        out: tuple[Tensor, Tensor] = self.head(fq, fs, lengths, window)
        return out

    def _pooled(self, net: nn.Module, frames: Tensor) -> Tensor:
        return torch.cat([moment_pool(net(part)) for part in torch.split(frames, self.frame_batch)])

    def _clips(self, semantic: Tensor, lengths: Tensor | None, window: int) -> Tensor:
        """One run per video and window, over real frames only; padding becomes zeros."""
        batch, steps = semantic.shape[:2]
        counts = [steps] * batch if lengths is None else [int(n) for n in lengths]
        rows = []
        for video, count in zip(semantic, counts, strict=True):
            clips = torch.split(video[:count], window)
            features = torch.cat([moment_pool(self.semantic(clip)) for clip in clips])
            rows.append(nn.functional.pad(features, (0, 0, 0, steps - count)))
        return torch.stack(rows)


def build_ss(config: HeadConfig | None = None) -> A2INet:
    """Build the paper's S+S: ResNet-34 (IQA) and ResNet-50, random weights until they are loaded."""
    return A2INet(resnet34_iqa(), resnet50(), config or a2inet_ss())


def build_sm(config: HeadConfig | None = None) -> A2INet:
    """Build the paper's S+M: ResNet-34 (IQA) and SlowFast's fast pathway."""
    return A2INet(resnet34_iqa(), SlowFastFast(), config or a2inet_sm(), motion=True)


def build(
    variant: Variant,
    quality_weights: str | PathLike[str] | None = None,
    semantic_weights: str | PathLike[str] | None = None,
    random: bool = False,
) -> A2INet:
    """Build a variant, its head with random weights; the weights are those of `build_backbones`."""
    quality, semantic = build_backbones(variant, quality_weights, semantic_weights, random)
    return A2INet(quality, semantic, variant.head, motion=variant.semantic.temporal == "window")
