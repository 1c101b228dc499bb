"""The contrastive loss with which KSVQE adapts its distortion features."""

from __future__ import annotations

import torch
from torch import Tensor

from vqafast.errors import InvalidArgument


def contrastive_distortion_loss(embeddings: Tensor, patterns: Tensor, temperature: float = 0.1) -> Tensor:
    """Pull embeddings of one processing pattern together, push others apart (KSVQE, section 4.2).

    The paper names the pairs (same processing pattern: positive, any other: negative) and gives no
    equation; this is the loss of CONTRIQUE, whose features it adapts. With ``s_ij`` the cosine
    similarity over `temperature` and ``P(i)`` the other items of i's pattern::

        L_i = -1 / |P(i)| * sum_{j in P(i)} log(exp(s_ij) / sum_{k != i} exp(s_ik))

    averaged over the items that have a positive. With none (one item, all patterns different) the
    loss is 0 with a gradient of 0. A zero embedding has no direction: it is similar to nothing, and
    gets no gradient.

    Parameters
    ----------
    embeddings : Tensor
        ``(B, D)``, of any length; computed in float32 at least, also under autocast.
    patterns : Tensor
        ``(B,)`` integers naming each item's processing pattern.
    temperature : float
        Above 0; CONTRIQUE's 0.1 by default.
    """
    if embeddings.ndim != 2 or patterns.shape != embeddings.shape[:1] or len(embeddings) == 0:
        raise InvalidArgument(
            "contrastive_distortion_loss: must be (B, D) embeddings and (B,) patterns with B >= 1, got "
            f"{tuple(embeddings.shape)}, {tuple(patterns.shape)}"
        )
    if not temperature > 0:
        raise InvalidArgument(f"contrastive_distortion_loss: temperature must be above 0, got {temperature}")
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = _directions(widened(embeddings))
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        positive = (patterns[:, None] == patterns[None, :]) & ~itself
        similarity = unit @ unit.T / temperature
        # The most negative finite value, not -inf: a batch of one would have NaN gradients.
        others = similarity.masked_fill(itself, torch.finfo(unit.dtype).min)
        log_share = similarity - others.logsumexp(dim=1, keepdim=True)
        count = positive.sum(dim=1)
        each = -torch.where(positive, log_share, 0.0).sum(dim=1) / count.clamp(min=1)
        return each.sum() / (count > 0).sum().clamp(min=1)


def widened(x: Tensor) -> Tensor:
    """`x` in float32 if it is of a narrower type, else as it is."""
    return x if x.dtype in {torch.float32, torch.float64} else x.float()


def _directions(x: Tensor) -> Tensor:
    # Scaled before squaring: squares of small or large float32 embeddings leave the range.
    largest = x.detach().abs().amax(dim=1, keepdim=True)
    some = largest > 0
    scaled = x / torch.where(some, largest, 1.0)
    length = torch.where(some, scaled.square().sum(dim=1, keepdim=True), 1.0).sqrt()
    return torch.where(some, scaled / length, 0.0)
