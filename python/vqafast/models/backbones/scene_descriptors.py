"""The semantic branch of ``a2inet-lite``: fixed descriptors of what a scene looks like from afar.

Brightness, colour and coarse structure of a small view, which compression hardly changes. They tell an
evenly lit wall from a meadow, and no more: a network that was learnt from a few hundred contents told
contents from each other too well, and cost accuracy on unseen ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

#: Sides, in pixels of the view, of the squares whose means the coarser stages describe.
POOLS = (4, 16, 32)
#: Luma below and above which a pixel counts as dark or bright, with a soft edge.
DARK, BRIGHT = 0.15, 0.85


def _slope(y: Tensor) -> Tensor:
    """Mean step to the right and down, on the map without its last row and column."""
    here = y[:, :, :-1, :-1]
    return ((y[:, :, :-1, 1:] - here).abs() + (y[:, :, 1:, :-1] - here).abs()) * 0.5


def _soft_step(x: Tensor, at: float) -> Tensor:
    return torch.clamp((x - at) * 10.0 + 0.5, 0.0, 1.0)


class SceneDescriptors(nn.Module):
    """Input ``(N, 3, H, W)`` RGB in 0..1, H and W at least 64; output five maps of 16 channels in all."""

    stage_channels = (6, 1, 3, 3, 3)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Map `frames`; see the class for shapes."""
        red, green, blue = frames[:, :1], frames[:, 1:2], frames[:, 2:]
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        cb, cr = (blue - luma) / 1.8556, (red - luma) / 1.5748
        colour = torch.sqrt(cb * cb + cr * cr + 1e-6)
        fine = [luma, cb, cr, colour, 1.0 - _soft_step(luma, DARK), _soft_step(luma, BRIGHT)]
        stages = [torch.cat(fine, dim=1), _slope(luma)]
        for side in POOLS:
            y, c = avg_pool2d(luma, side), avg_pool2d(colour, side)
            stages.append(torch.cat([y[:, :, :-1, :-1], c[:, :, :-1, :-1], _slope(y)], dim=1))
        return tuple(stages)
