"""VSFA's head on one feature vector a video, trained with A2INet's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vqafast.models.a2inet.config import HeadConfig
from vqafast.models.a2inet.modules import TemporalHead
from vqafast.training import metrics
from vqafast.training.losses import a2inet_loss
from vqafast.training.regressors import standardised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

#: Networks that differ in their start and their batches only; their scores are averaged.
MEMBERS = 3
EPOCHS = 80
BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
DROPOUTS = (0.2, 0.5)
#: Epochs over which a validation SRCC is averaged before the best one is taken.
_SMOOTHING = 9


def principal(features: Array, fitted_on: Indices) -> Tensor:
    """Features in the axes that the fitted ones span ``(N, r)``, r <= n - 1.

    n videos say nothing about directions in which none of them differ; without these the network has
    a thirtieth of the weights. Scaled so that a coordinate's mean square is 1, all by one factor.
    """
    x = standardised(features, fitted_on)
    _, size, axes = np.linalg.svd(x[fitted_on], full_matrices=False)
    turned = x @ axes[size > 1e-6 * size[0]].T
    return torch.from_numpy((turned / turned[fitted_on].std()).astype(np.float32))


def train(
    x: Tensor, y: Tensor, wanted: Sequence[Tensor], *, epochs: int, dropout: float, seed: int
) -> list[list[NDArray[np.float32]]]:
    """Scores of each set in `wanted` after every epoch.

    Parameters
    ----------
    x : (n, r) Tensor
    y : (n,) Tensor
        Standardised MOS.
    """
    torch.manual_seed(seed)
    # 128, GRU of 32, one score: with T = 1 the pooling over time has nothing to do.
    config = HeadConfig(quality_dim=x.shape[1], semantic_dim=x.shape[1], dropout=dropout)
    net = TemporalHead(x.shape[1], config)
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    history = []
    for _ in range(epochs):
        net.train()
        for batch in torch.split(torch.randperm(len(y)), BATCH):
            if len(batch) < 2:
                continue
            loss = a2inet_loss(net(x[batch, None])[:, 0], y[batch])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        net.eval()
        with torch.no_grad():
            history.append([net(part[:, None])[:, 0].numpy() for part in wanted])
    return history


def _labels(mos: Array, fitted_on: Indices) -> tuple[Tensor, float, float]:
    mean, deviation = float(mos[fitted_on].mean()), max(float(mos[fitted_on].std()), 1e-12)
    return torch.from_numpy(((mos[fitted_on] - mean) / deviation).astype(np.float32)), mean, deviation


def choose(features: Array, mos: Array, train_on: Indices, val: Indices, seed: int) -> dict[str, float]:
    """Dropout and number of epochs of the highest smoothed SRCC on `val`."""
    x, (y, *_) = principal(features, train_on), _labels(mos, train_on)
    best = {"dropout": DROPOUTS[0], "epochs": 1.0}
    highest = -2.0
    for dropout in DROPOUTS:
        members = [
            train(x[train_on], y, [x[val]], epochs=EPOCHS, dropout=dropout, seed=seed * MEMBERS + m)
            for m in range(MEMBERS)
        ]
        scores = np.mean([[epoch[0] for epoch in member] for member in members], axis=0)
        ranks = np.nan_to_num([metrics.srcc(s, mos[val]) for s in scores], nan=-1.0)
        padded = np.pad(ranks, _SMOOTHING // 2, mode="edge")
        smooth = np.convolve(padded, np.full(_SMOOTHING, 1 / _SMOOTHING), mode="valid")
        at = int(smooth.argmax())
        if smooth[at] > highest:
            highest, best = float(smooth[at]), {"dropout": dropout, "epochs": at + 1.0}
    return best


def predict(
    features: Array, mos: Array, train_on: Indices, wanted: Indices, chosen: dict[str, float], seed: int
) -> Array:
    """Mean score of the members after the chosen number of epochs, on the scale of the MOS."""
    x, (y, mean, deviation) = principal(features, train_on), _labels(mos, train_on)
    members = [
        train(
            x[train_on], y, [x[wanted]],
            epochs=int(chosen["epochs"]), dropout=chosen["dropout"], seed=seed * MEMBERS + m,
        )[-1][0]
        for m in range(MEMBERS)
    ]  # fmt: skip
    result: Array = np.stack(members).astype(np.float64).mean(axis=0) * deviation + mean
    return result
