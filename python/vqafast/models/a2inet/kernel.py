"""Regression with a kernel on one sample's quality features: the part of a score that needs no context.

With a few hundred contents to learn from, a Gaussian kernel on fixed statistics ranks unseen content better
than a network does. It sees one sample at a time, so the network beside it keeps what needs several: see
`vqafast.models.a2inet.ensemble`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .modules import _asinh


class KernelRegression(nn.Module):
    r"""Kernel expansion over landmarks: ``y(q) = offset + sum_m c_m exp(-|P z(q) - l_m|^2)``.

    `z` compresses with asinh and standardises with the training set's constants, as the head does; `P`
    projects on principal axes and scales, so that the width of the Gaussian is 1.

    Parameters
    ----------
    quality_dim : int
        Features of one sample, those of the bitstream behind them if there are any.
    axes : int
        Rows of `P`.
    landmarks : int
        Samples of the training set that span the solution (Nystroem). The buffer holds them as columns, and
        `squares` their squared lengths, as the graph needs them.
    """

    scale: Tensor
    mean: Tensor
    std: Tensor
    projection: Tensor
    landmarks: Tensor
    squares: Tensor
    coefficients: Tensor
    offset: Tensor

    def __init__(self, quality_dim: int, axes: int, landmarks: int) -> None:
        super().__init__()
        for name, shape in (
            ("scale", (quality_dim,)), ("mean", (quality_dim,)), ("std", (quality_dim,)),
            ("projection", (quality_dim, axes)), ("landmarks", (axes, landmarks)),
            ("squares", (landmarks,)), ("coefficients", (landmarks,)), ("offset", ()),
        ):  # fmt: skip
            self.register_buffer(name, torch.ones(shape) if name in ("scale", "std") else torch.zeros(shape))

    def forward(self, quality: Tensor) -> Tensor:
        """Map ``(..., quality_dim)`` to scores ``(...)``, each sample by itself."""
        z = (_asinh(quality / self.scale) - self.mean) / self.std
        at = z @ self.projection
        squares = (at * at).sum(dim=-1, keepdim=True) + self.squares
        distance = torch.clamp(squares - 2.0 * (at @ self.landmarks), min=0.0)
        return torch.exp(-distance) @ self.coefficients + self.offset
