"""A small regression problem for the trainer, in this process or one that gets killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqafast.training import metrics
from vqafast.training.distributed import World, join, leave
from vqafast.training.losses import weighted_loss
from vqafast.training.recipe import Recipe
from vqafast.training.trainer import Progress, Trainer

LOSS = weighted_loss({"mae": 1.0, "rank": 1.0})


class Rows:
    """Vectors whose label is a noisy sum."""

    def __init__(self, count: int, seed: int, dtype: torch.dtype = torch.float32) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=(count, 6))
        self._targets = 0.5 + 0.2 * self.x[:, :3].sum(1) + 0.02 * rng.normal(size=count)
        self._dtype = dtype
        self.draws: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    @property
    def targets(self) -> np.ndarray:
        return self._targets

    def sample(self, index: int, draw: int) -> Tensor:
        self.draws.append(draw)
        return torch.tensor(self.x[index], dtype=self._dtype)

    def collate(self, samples: list[Tensor]) -> tuple[Tensor, ...]:
        return (torch.stack(samples),)


class Net(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.layers(x)
        return h.squeeze(1), h


def figures(predicted: np.ndarray, target: np.ndarray) -> dict[str, float]:
    return {"srcc": metrics.srcc(predicted, target), "mae": metrics.mae(predicted, target)}


def trainer(
    directory: Path, *, dropout: float = 0.3, count: int = 22, dtype: torch.dtype = torch.float32,
    world: World | None = None, validate: bool = True, on_step: Any = None, net: Any = Net,
    auxiliary: Any = None, **recipe: Any,
) -> Trainer:  # fmt: skip
    torch.manual_seed(4)
    values = {"epochs": 5, "batch": 4, "lr": 1e-2, "seed": 9, "checkpoint_steps": 1, **recipe}
    return Trainer(
        net(dropout).to(dtype), Rows(count, 1, dtype), Rows(9, 2, dtype) if validate else None,
        recipe=Recipe(**values), loss=LOSS, figures=figures, directory=directory, world=world,
        fingerprint="rows", on_step=on_step, auxiliary=auxiliary,
    )  # fmt: skip


def killed_at(directory: Path, step: int, every: int) -> None:
    def on_step(at: Progress, steps: int) -> None:
        if at.epoch * steps + at.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer(directory, on_step=on_step, checkpoint_steps=every).fit()


def one_of_many(directory: Path, count: int, batch: int) -> None:
    made = trainer(
        directory, dropout=0.0, count=count, batch=batch, dtype=torch.float64, world=join("cpu"), clip=0.5
    )
    made.fit()
    leave()


if __name__ == "__main__":
    action, folder, *numbers = sys.argv[1:]
    {"killed_at": killed_at, "one_of_many": one_of_many}[action](Path(folder), *map(int, numbers))
