"""Hyper-parameters of a training, and what follows from them for each step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vqafast.errors import InvalidArgument
from vqafast.video.sampling import splitmix64

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

OPTIMISERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("f32", "bf16")
_MOMENTUM = 0.9

#: Fields that change when and how fast something is computed or written, not what comes out.
FREE = frozenset({"workers", "checkpoint_steps", "checkpoint_seconds", "tensorboard", "patience"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The paper's Adam, learning rate and batch (001, section 4.1); the rest it does not say.

    Attributes
    ----------
    batch : int
        Samples of a step, over all processes.
    schedule : {"constant", "cosine"}
        Of the learning rate; "cosine" falls to 0 over all epochs.
    warmup : float
        Epochs in which the learning rate rises linearly to `lr`; the schedule begins after them.
    backbone_lr : float
        Factor of the learning rate for what the model says is its backbone; see `Trainer`.
    ema : float
        Decay of the moving average of the weights over steps. Above 0, the average is what is validated and
        kept.
    precision : {"f32", "bf16"}
        "bf16" runs the forward pass under autocast; weights, loss and optimiser stay in float32.
    clip : float or None
        Largest norm of the gradient.
    patience : int or None
        Epochs without a better validation SRCC after which the training stops.
    workers : int
        Threads that read samples ahead; 0 reads them in the training thread.
    checkpoint_steps, checkpoint_seconds : int or None, float
        A checkpoint is written every so many steps, and when the last one is this old.
    """

    epochs: int = 100
    batch: int = 8
    lr: float = 2e-5
    weight_decay: float = 0.0
    optimiser: str = "adam"
    schedule: str = "constant"
    warmup: float = 0.0
    backbone_lr: float = 1.0
    ema: float = 0.0
    precision: str = "f32"
    clip: float | None = None
    patience: int | None = 20
    seed: int = 0
    workers: int = 0
    checkpoint_steps: int | None = None
    checkpoint_seconds: float = 60.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience", "checkpoint_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidArgument(f"train: {name} must be at least 1, got {value}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise InvalidArgument(f"train: lr must be positive and finite, got {self.lr}")
        if self.clip is not None and not self.clip > 0:
            raise InvalidArgument(f"train: clip must be positive, got {self.clip}")
        for name in ("weight_decay", "workers", "seed", "checkpoint_seconds", "warmup", "backbone_lr"):
            if not getattr(self, name) >= 0:
                raise InvalidArgument(f"train: {name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise InvalidArgument(f"train: ema must be in [0, 1), got {self.ema}")
        for name, allowed in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidArgument(
                    f"train: {name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )

    def deciding(self) -> dict[str, Any]:
        """The fields that a checkpoint must share with the training that goes on from it.

        More epochs may be asked for afterwards, unless the learning rate depends on their number.
        """
        free = FREE | ({"epochs"} if self.schedule == "constant" else set())
        return {name: value for name, value in asdict(self).items() if name not in free}


def make_optimiser(
    recipe: Recipe, parameters: Iterable[Tensor], backbone: Iterable[Tensor] = ()
) -> torch.optim.Optimizer:
    """The optimiser that `recipe` names; Adam's weight decay is L2, AdamW's is decoupled.

    Parameters
    ----------
    parameters : iterable of Tensor
        All that are trained.
    backbone : iterable of Tensor
        Those of them whose learning rate is `recipe.backbone_lr` times the others'. They are a group of their
        own, with that factor under "factor".

    Raises
    ------
    InvalidArgument
        When nothing is trained, or the factor is not 1 and no parameter is a backbone's.
    """
    wanted = list(parameters)
    if not wanted:
        raise InvalidArgument("train: the model must have a parameter that is trained, got none")
    groups: list[dict[str, Any]] = [{"params": wanted}]
    if recipe.backbone_lr != 1:
        slow = {id(p) for p in backbone}
        groups = [
            {"params": [p for p in wanted if id(p) not in slow]},
            {"params": [p for p in wanted if id(p) in slow], "factor": recipe.backbone_lr},
        ]
        if not groups[1]["params"]:
            raise InvalidArgument(
                "train: backbone_lr must be 1 for a model without a trained backbone, "
                f"got {recipe.backbone_lr}"
            )
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, recipe.lr, momentum=_MOMENTUM, weight_decay=recipe.weight_decay)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, recipe.lr, weight_decay=recipe.weight_decay)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of step `step` of `steps`."""
    rising = recipe.warmup * steps / recipe.epochs
    if step < rising:
        # Not from 0: the first step would be none.
        return recipe.lr * min(1.0, (step + 1) / rising)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1.0 + math.cos(math.pi * (step - rising) / (steps - rising)))
    return recipe.lr


def order_of(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of `count` samples in an epoch: a permutation that depends on seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of torch's generator for one step on one process (dropout)."""
    return splitmix64(seed, step, rank)
