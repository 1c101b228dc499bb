"""FAST-VQA's head: a small network on every token, whose scores are averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

if TYPE_CHECKING:
    from .config import HeadConfig


class VQAHead(nn.Module):
    """Dropout, FC, GELU, dropout, FC on every token ("intra-patch non-linear regression").

    The layers are the authors' 1 x 1 x 1 convolutions, in name and shape, and are computed as FC layers.

    Parameters
    ----------
    config : HeadConfig
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.fc_hid = nn.Conv3d(config.channels, config.hidden, 1)
        self.fc_last = nn.Conv3d(config.hidden, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(B, T, H, W, C)`` to local scores ``(B, T, H, W)``."""
        x = F.gelu(_per_token(self.fc_hid, self.dropout(x)))
        return _per_token(self.fc_last, self.dropout(x)).squeeze(4)


def _per_token(layer: nn.Conv3d, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.flatten(1), layer.bias)
