"""CONTRIQUE (Madhusudana et al., TIP 2022) on single fragments, for their distortions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from ..backbones.resnet import Bottleneck, ResNetStages

if TYPE_CHECKING:
    from .config import KsvqeConfig


class Contrique(nn.Module):
    """ResNet-50 and projector, frozen, under the names of CONTRIQUE's checkpoint.

    Parameters
    ----------
    config : KsvqeConfig
    """

    def __init__(self, config: KsvqeConfig) -> None:
        super().__init__()
        c = config.contrique
        self.patch, self.fixed = config.sampling.patch, config.fixed_statistics
        # Without pooling: a fragment of up to 32 pixels leaves the last stage as one pixel.
        self.encoder = nn.Sequential(*ResNetStages(Bottleneck, c.blocks, width=c.width).children())
        self.projector = nn.Sequential(
            nn.Linear(c.features, c.features, bias=False),
            nn.BatchNorm1d(c.features),
            nn.ReLU(inplace=True),
            nn.Linear(c.features, c.out, bias=False),
            nn.BatchNorm1d(c.out),
        )
        self.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Contrique:
        """Set the mode; with fixed statistics the batch norms stay in evaluation."""
        super().train(mode)
        if self.fixed:
            self.encoder.eval()
            self.projector.eval()
        return self

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """Embed every fragment of every frame.

        Parameters
        ----------
        clips : Tensor
            ``(B, 3, T, H, W)``, normalised as for Swin; H and W are whole fragments.

        Returns
        -------
        Tensor
            ``(B, T, fragments, 128)``, fragments in scan order; without gradient.
        """
        batch, channels, frames, height, width = clips.shape
        p = self.patch
        x = clips.reshape(batch, channels, frames, height // p, p, width // p, p)
        x = x.permute(0, 2, 3, 5, 1, 4, 6).reshape(-1, channels, p, p)
        x = F.normalize(self.encoder(x).flatten(1), dim=1)
        out: Tensor = self.projector(x)
        return out.reshape(batch, frames, -1, out.shape[1])
