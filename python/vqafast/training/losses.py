"""Training losses of the papers, by function and by name (`LOSSES`).

Losses on scores take two ``(B,)`` tensors of one shape and return a scalar. Half and bfloat16 are
widened to float32, because differences of neighbouring scores are what these losses are made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from vqafast.errors import InvalidArgument
from vqafast.training.losses_contrastive import contrastive_distortion_loss, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

# A spread within this many roundings of the largest score is that of a constant.
ROUNDINGS = 32


def mae_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error (A2INet, eq. 6); both ``(B,)``."""
    predicted, target = _checked("mae_loss", predicted, target)
    return (predicted - target).abs().mean()


def rank_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Pairwise rank loss (A2INet, eqs. 7 and 8).

    A pair costs nothing once the predicted difference has the sign of the target's and at least
    its size; the mean runs over all ``B * B`` ordered pairs. One item costs 0; with constant labels
    what is left is the mean of the positive predicted differences.

    Parameters
    ----------
    predicted, target : Tensor
        ``(B,)`` scores on the same scale.
    """
    predicted, target = _checked("rank_loss", predicted, target)
    difference = target[:, None] - target[None, :]
    apart = predicted[:, None] - predicted[None, :]
    gap = difference.abs() - torch.where(difference >= 0, apart, -apart)
    return gap.clamp(min=0.0).mean()


def a2inet_loss(predicted: Tensor, target: Tensor, eta: float = 1.0) -> Tensor:
    """MAE plus `eta` times the rank loss (A2INet, eq. 9)."""
    return mae_loss(predicted, target) + eta * rank_loss(predicted, target)


def monotonicity_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Monotonicity-induced loss (CLiF-VQA, eq. 14): the same expression as `rank_loss`."""
    return rank_loss(predicted, target)


def linearity_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Linearity-induced loss (CLiF-VQA, eq. 15): ``(1 - rho) / 2``, from 0 to 1.

    Where Pearson's `rho` is undefined (one item, or a side that is constant up to rounding) it
    counts as 0: the loss is 1/2, without a gradient.
    """
    return (1 - _pearson(*_checked("linearity_loss", predicted, target))) / 2


def clif_vqa_loss(predicted: Tensor, target: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """``alpha * monotonicity + beta * linearity`` (CLiF-VQA, eq. 16, which gives no weights)."""
    return alpha * monotonicity_loss(predicted, target) + beta * linearity_loss(predicted, target)


def plcc_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """PLCC loss of KSVQE: ``(1 - rho) / 4 + (1 - rho^2) / 8``, from 0 to 1/2.

    The paper (section 5.2) gives no equation. Its public release averages two squared errors of
    standardised scores, each over 4: of the predictions, ``2 - 2 rho``, and of the predictions
    times rho, ``1 - rho^2``; this is that mean in closed form. Its slope over rho, ``-(1 + rho) / 4``,
    vanishes at rho = -1. An undefined rho counts as 0, as in `linearity_loss`: 3/8, no gradient.
    """
    rho = _pearson(*_checked("plcc_loss", predicted, target))
    return (1 - rho) / 4 + (1 - rho * rho) / 8


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss, what it compares, and where it comes from.

    `inputs` is "scores" for ``f(predicted (B,), target (B,))`` and "embeddings" for
    ``f(embeddings (B, D), patterns (B,))``.
    """

    function: Callable[..., Tensor]
    inputs: Literal["scores", "embeddings"]
    paper: str
    equation: str


LOSSES: dict[str, Loss] = {
    "mae": Loss(mae_loss, "scores", "A2INet (ACM MM 2024)", "eq. 6"),
    "rank": Loss(rank_loss, "scores", "A2INet (ACM MM 2024)", "eqs. 7, 8"),
    "monotonicity": Loss(monotonicity_loss, "scores", "CLiF-VQA", "eq. 14"),
    "linearity": Loss(linearity_loss, "scores", "CLiF-VQA", "eq. 15"),
    "plcc": Loss(plcc_loss, "scores", "KSVQE (CVPR 2024)", "section 5.2, public release"),
    "contrastive": Loss(
        contrastive_distortion_loss, "embeddings", "KSVQE (CVPR 2024)", "section 4.2, CONTRIQUE's loss"
    ),
}
"""The losses a trainer can choose by name. Sums with the papers' weights: ``{"mae": 1, "rank": eta}``
is A2INet's eq. 9, ``{"monotonicity": alpha, "linearity": beta}`` CLiF-VQA's eq. 16."""


def weighted_loss(weights: Mapping[str, float]) -> Callable[[Tensor, Tensor], Tensor]:
    """The weighted sum of score losses as one function of ``(predicted, target)``.

    Parameters
    ----------
    weights : mapping
        Name in `LOSSES` to its weight, e.g. ``{"mae": 1.0, "rank": 1.0}``; a weight of 0 leaves the
        loss out.

    Raises
    ------
    InvalidArgument
        For an unknown name, a loss that compares no scores, a weight that is negative or not
        finite, and when no weight is above 0.
    """
    for name, weight in weights.items():
        if name not in LOSSES:
            raise InvalidArgument(f"losses: must be of {', '.join(LOSSES)}, got {name!r}")
        if LOSSES[name].inputs != "scores":
            raise InvalidArgument(
                f"losses: {name!r} compares {LOSSES[name].inputs}, and a sum is of losses on scores"
            )
        if not (weight >= 0 and math.isfinite(weight)):
            raise InvalidArgument(f"losses: the weight of {name!r} must be finite and >= 0, got {weight}")
    terms = [(LOSSES[name].function, weight) for name, weight in weights.items() if weight > 0]
    if not terms:
        raise InvalidArgument(f"losses: one weight at least must be above 0, got {dict(weights)}")

    def total(predicted: Tensor, target: Tensor) -> Tensor:
        return torch.stack([weight * function(predicted, target) for function, weight in terms]).sum()

    return total


def _checked(name: str, predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    # (B, 1) against (B,) would broadcast to (B, B) without a word.
    if predicted.shape != target.shape or predicted.ndim != 1 or len(predicted) == 0:
        raise InvalidArgument(
            f"{name}: both sides must be (B,) with B >= 1, got "
            f"{tuple(predicted.shape)}, {tuple(target.shape)}"
        )
    return widened(predicted), widened(target)


def _pearson(predicted: Tensor, target: Tensor) -> Tensor:
    """Pearson's rho; 0 without a gradient where it is undefined."""
    p, p_varies = _centred(predicted)
    t, t_varies = _centred(target)
    defined = p_varies & t_varies
    power = torch.where(defined, (p * p).sum() * (t * t).sum(), 1.0)
    return torch.where(defined, (p * t).sum() / power.sqrt(), 0.0)


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` less its mean, scaled to at most 1, and whether it varies at all."""
    centred = x - x.mean()
    # rho does not depend on the scale, so nothing is lost by keeping it out of the graph.
    spread = centred.detach().abs().amax()
    varies = spread > ROUNDINGS * torch.finfo(x.dtype).eps * x.detach().abs().amax()
    return centred / torch.where(varies, spread, 1.0), varies
