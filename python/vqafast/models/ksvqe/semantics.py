"""CLIP's image tower with quality adapters: what a key frame shows, and where (paper, section 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from ..clip.visual import ClipVisual
from .modulation import adapter

if TYPE_CHECKING:
    from .config import KsvqeConfig


class AdaptedClip(nn.Module):
    """CLIP, frozen, whose class token is adapted after each of the last layers.

    Parameters
    ----------
    config : KsvqeConfig
    """

    def __init__(self, config: KsvqeConfig) -> None:
        super().__init__()
        width = config.clip.width
        self.start, self.share = config.adapter_start, config.adapter_share
        self.visual = ClipVisual(config.clip).requires_grad_(False)
        self.adapter_layer = nn.ModuleList(
            adapter(width, width, config.reduction) for _ in range(config.adapters)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look at images.

        Parameters
        ----------
        images : Tensor
            ``(N, 3, side, side)``, normalised with `vqafast.models.clip.visual.MEAN` and `STD`.

        Returns
        -------
        similarity : Tensor
            ``(N, P)``: cosine of the adapted class token and each patch (eq. 1).
        patches : Tensor
            ``(N, P, W)``: as the last layer leaves them.
        """
        x = self.visual.embed(images)
        for i, block in enumerate(self.visual.transformer.resblocks):
            x = block(x)
            if i >= self.start:
                first = x[:, :1]
                adapted = self.adapter_layer[i - self.start](first)
                first = self.share * adapted + (1 - self.share) * first
                x = torch.cat([first, x[:, 1:]], dim=1)
        directions = F.normalize(x, dim=2, eps=1e-8)
        similarity = directions[:, 1:] @ directions[:, :1].transpose(1, 2)
        return similarity.squeeze(2), x[:, 1:]
