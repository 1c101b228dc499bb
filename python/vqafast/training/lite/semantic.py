"""Pretraining the semantic backbone: from the small distorted picture, guess the clean statistics.

A blind score errs mostly per source: the picture's own texture or noise looks like distortion, or
hides it. What helps is to know what the clean picture would have looked like, and that depends on
the scene, which a small view still shows. So the backbone learns to predict the quality features
of the clean master from the view of a distorted version. No labels of quality are used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from vqafast.models.a2inet.functional import moment_pool
from vqafast.models.a2inet.lite import QUALITY_DIM, SEMANTIC_DIM
from vqafast.models.backbones.compact_resnet import CompactResNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CROP = (128, 176)
BATCH = 48


class StatisticsPredictor(nn.Module):
    """The backbone with a linear read-out of its pooled features; only used for pretraining."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = CompactResNet()
        self.readout = nn.Linear(SEMANTIC_DIM, QUALITY_DIM)

    def forward(self, frames: Tensor) -> Tensor:
        """``(N, 3, H, W)`` RGB in 0..1 -> ``(N, QUALITY_DIM)`` standardised statistics."""
        out: Tensor = self.readout(moment_pool(self.backbone(frames)))
        return out


def _crop(view: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random crop of CROP (transposed for portrait), mirrored half of the time, padded if small."""
    if view.shape[1] > view.shape[2]:
        view = view.transpose(0, 2, 1)
    high, wide = CROP
    pad = max(0, high - view.shape[1]), max(0, wide - view.shape[2])
    if any(pad):
        view = np.pad(view, ((0, 0), (0, pad[0]), (0, pad[1])), mode="reflect")
    y = rng.integers(view.shape[1] - high + 1)
    x = rng.integers(view.shape[2] - wide + 1)
    part = view[:, y : y + high, x : x + wide]
    return part[:, :, ::-1] if rng.random() < 0.5 else part


def pretrain(
    views: Sequence[NDArray[np.uint8]], targets: NDArray[np.float32], *, epochs: int, seed: int
) -> CompactResNet:
    """Train on versions with `targets` ``(N, QUALITY_DIM)``, standardised; returns the frozen backbone."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = StatisticsPredictor()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    steps = epochs * (len(views) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=max(1, steps))
    net.train()
    for epoch in range(epochs):
        order = rng.permutation(len(views))
        total = 0.0
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            # one view of a version an epoch: its others show nearly the same picture
            crops = [_crop(views[i][rng.integers(len(views[i]))], rng) for i in chosen]
            batch = torch.from_numpy(np.stack(crops)).float() / 255
            gain = torch.from_numpy(rng.uniform(0.8, 1.2, (BATCH, 1, 1, 1)).astype(np.float32))
            batch = (batch * gain).clamp(0, 1).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):  # 2.5 times faster than float where it is native
                predicted = net(batch)
            loss = nn.functional.smooth_l1_loss(predicted.float(), torch.from_numpy(targets[chosen]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(
            f"semantic: epoch {epoch + 1}/{epochs}, loss {total / max(1, len(order) // BATCH):.4f}",
            file=sys.stderr,
        )
    net.backbone.eval().requires_grad_(False)
    return net.backbone


@torch.no_grad()
def extract(
    net: CompactResNet, views: Sequence[NDArray[np.uint8]], counts: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Semantic features ``(T, 32)`` of each version: T = `counts`, each sample takes the nearest view."""
    rows = []
    for pictures, count in zip(views, counts, strict=True):
        frames = (torch.from_numpy(pictures).float() / 255).contiguous(memory_format=torch.channels_last)
        pooled: NDArray[np.float32] = moment_pool(net(frames)).numpy()
        nearest = np.linspace(0, len(pooled) - 1, count).round().astype(int)
        rows.append(pooled[nearest])
    return rows
