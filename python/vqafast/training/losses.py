"""Training losses of A2INet (paper, section 3.4, eqs. 6 to 9)."""

from __future__ import annotations

import torch
from torch import Tensor


def mae_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error (eq. 6); both ``(B,)``."""
    return (predicted - target).abs().mean()


def rank_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Pairwise rank loss (eqs. 7 and 8).

    A pair costs nothing once the predicted difference has the sign of the target's and at least
    its size; the mean runs over all ``B * B`` ordered pairs.

    Parameters
    ----------
    predicted, target : Tensor
        ``(B,)`` scores on the same scale.
    """
    difference = target[:, None] - target[None, :]
    sign = torch.where(difference >= 0, 1.0, -1.0)
    gap = difference.abs() - sign * (predicted[:, None] - predicted[None, :])
    return gap.clamp(min=0.0).mean()


def a2inet_loss(predicted: Tensor, target: Tensor, eta: float = 1.0) -> Tensor:
    """Eq. 9: MAE plus `eta` times the rank loss."""
    return mae_loss(predicted, target) + eta * rank_loss(predicted, target)
