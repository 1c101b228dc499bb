"""Content-adaptive (CaM) and distortion-aware (DaM) modulation (paper, sections 4.1 and 4.2).

Names of parameters are the release's, its spelling included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation


def adapter(inputs: int, outputs: int, reduction: int) -> nn.Sequential:
    """FC, ReLU, FC, ReLU, with ``inputs // reduction`` hidden channels."""
    hidden = inputs // reduction
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs), nn.ReLU(inplace=True)
    )


class CrossAttention(nn.Module):
    """Tokens of the quality features gather what belongs to them from other tokens.

    There is no projection after it, no residual link, and logits are divided by the root of the whole
    width, not of a head's (release, crossattention1).

    Parameters
    ----------
    width, heads : int
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        self.fc_q = nn.Linear(width, width)
        self.fc_k = nn.Linear(width, width)
        self.fc_v = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map ``(N, L, C)`` to the same shape, with context ``(N, M, C)``."""
        q, k, v = (_split(t, self.heads) for t in (self.fc_q(x), self.fc_k(context), self.fc_v(context)))
        return _join(F.scaled_dot_product_attention(q, k, v, scale=self.scale))


class TimeAttention(nn.Module):
    """Tokens of one place, one a frame, look at each other (release, Attention).

    Parameters
    ----------
    width, heads : int
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, T, C)`` to the same shape."""
        q, k, v = (_split(t, self.heads) for t in self.to_qkv(x).chunk(3, dim=2))
        out: Tensor = self.to_out(_join(F.scaled_dot_product_attention(q, k, v)))
        return out


class SemanticModulation(nn.Module):
    """A scale and an offset for each token (paper, eq. 2; the sigmoid is the release's).

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_gama = nn.Conv2d(width, 1, 1)
        self.conv_beta = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor, content: Tensor) -> Tensor:
        """Map features ``(B, N, C)`` to the same shape; `content`, ``(B, N, C)``, is what CLIP sees there."""
        # 1 x 1 convolutions by name and shape; per token they are FC layers.
        scale, offset = (
            F.linear(content, c.weight.flatten(1), c.bias) for c in (self.conv_gama, self.conv_beta)
        )
        return torch.sigmoid(scale) * x + offset


class DistortionModulation(nn.Module):
    """A scale and an offset for each channel (paper, eq. 3; the sigmoid is the release's).

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.get_gamma = nn.Linear(width, width)
        self.get_beta = nn.Linear(width, width)

    def forward(self, x: Tensor, distortion: Tensor) -> Tensor:
        """Map features ``(B, N, C)`` to the same shape; the order of `distortion`'s tokens is of no matter.

        `distortion` is ``(B, N, C)``; its mean and its unbiased standard deviation over N are used.
        """
        scale = torch.sigmoid(self.get_gamma(distortion.std(dim=1, keepdim=True)))
        offset: Tensor = self.get_beta(distortion.mean(dim=1, keepdim=True))
        return scale * x + offset


def _split(x: Tensor, heads: int) -> Tensor:
    """``(N, L, C)`` to ``(N, heads, L, C / heads)``."""
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, width // heads).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    """``(N, heads, L, C / heads)`` to ``(N, L, C)``."""
    return x.transpose(1, 2).flatten(2)
