"""Training the head on cached features (A2INet, section 3.4: MAE plus rank loss)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vqafast.models.a2inet.config import HeadConfig
from vqafast.models.a2inet.lite import QUALITY_DIM, RAW_PER_VMAF, SEMANTIC_DIM
from vqafast.models.a2inet.modules import A2INetHead
from vqafast.training.losses import a2inet_loss


def head_config() -> HeadConfig:
    """The head of ``a2inet-lite``: the paper's modules at small widths."""
    return HeadConfig(
        quality_dim=QUALITY_DIM, semantic_dim=SEMANTIC_DIM, dim=128, reduced_dim=64, gru_dim=32,
        fc_activation="relu", gate_reduction=4, eps=1e-2, dropout=0.15, compress=True, standardise=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyper-parameters; `frame_weight` weighs the loss on frame scores beside the video's.

    Steps are larger than the paper's (Adam, 2e-5, batches of 8; section 4.1): this head has an eightieth
    of its weights and one dense label per frame. Noise is in standard deviations of a feature.
    """

    epochs: int = 22
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    frame_weight: float = 0.5
    quality_noise: float = 0.05
    semantic_noise: float = 1.0


#: Samples from which the standardising constants are taken.
_CONSTANTS_FROM = 20_000

Features = Sequence[NDArray[np.float32]]


def fit(
    quality: Features, semantic: Features, frame_labels: Features, labels: NDArray[np.float32],
    *, recipe: Recipe, seed: int, config: HeadConfig | None = None,
) -> A2INetHead:  # fmt: skip
    """Train a head on versions of T_i samples; labels are VMAF, 0 to 100."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = A2INetHead(config or head_config())
    rows = rng.permutation(sum(len(q) for q in quality))[:_CONSTANTS_FROM]
    flat = [torch.from_numpy(np.concatenate(x)[rows]) for x in (quality, semantic)]
    head.fit_constants(*flat)
    spread = [x.std(dim=0) for x in flat]
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    batches = max(1, len(labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.lr, total_steps=recipe.epochs * batches, pct_start=0.1
    )
    head.train()
    for epoch in range(recipe.epochs):
        order, total = rng.permutation(len(labels)), 0.0
        for step in range(batches):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            q, s, frames, lengths = _batch(quality, semantic, frame_labels, chosen, rng)
            q = _shifted(q, spread[0], recipe.quality_noise)
            s = _shifted(s, spread[1], recipe.semantic_noise)
            score, series = head(q, s, lengths)
            mask = torch.arange(q.shape[1])[None] < lengths[:, None]
            target = (frames * mask).sum(1) / lengths
            frame_loss = (series - frames)[mask].abs().mean()
            loss = a2inet_loss(score, target) + recipe.frame_weight * frame_loss
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9 or epoch + 1 == recipe.epochs:
            print(f"head: epoch {epoch + 1}/{recipe.epochs}, loss {total / batches:.4f}", file=sys.stderr)
    return head.eval()


def _batch(
    quality: Features, semantic: Features, frame_labels: Features, chosen: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Padded ``(B, T, .)`` with a random run of samples of each version: any window length occurs."""
    runs = []
    for i in chosen:
        count = len(quality[i])
        length = int(rng.integers(min(2, count), count + 1))
        start = int(rng.integers(count - length + 1))
        runs.append((i, slice(start, start + length), length))
    longest = max(length for *_, length in runs)

    def padded(series: Features) -> Tensor:
        rows = [np.asarray(series[i][part], dtype=np.float32) for i, part, _ in runs]
        pads = [[(0, longest - len(r)), *[(0, 0)] * (r.ndim - 1)] for r in rows]
        return torch.from_numpy(np.stack([np.pad(r, p) for r, p in zip(rows, pads, strict=True)]))

    lengths = torch.tensor([length for *_, length in runs])
    frames = padded(frame_labels) * RAW_PER_VMAF
    return padded(quality), padded(semantic), frames, lengths


def _shifted(x: Tensor, deviation: Tensor, strength: float) -> Tensor:
    """Shift each version's features by noise that is constant over its samples.

    A content's own bias looks like that; without it the head learns contents by heart.
    """
    return x + strength * deviation * torch.randn(x.shape[0], 1, x.shape[2])


@torch.no_grad()
def predict(head: A2INetHead, quality: Features, semantic: Features) -> NDArray[np.float32]:
    """Scores in VMAF units, one for each version, not clipped."""
    scores = []
    for q, s in zip(quality, semantic, strict=True):
        score, _ = head(torch.from_numpy(q)[None], torch.from_numpy(s)[None])
        scores.append(float(score) / RAW_PER_VMAF)
    return np.array(scores, dtype=np.float32)
