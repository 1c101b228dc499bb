"""Fitting the kernel regression that stands beside each head of ``a2inet-lite``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vqafast.models.a2inet.kernel import KernelRegression
from vqafast.models.a2inet.lite import RAW_PER_VMAF

if TYPE_CHECKING:
    from vqafast.training.lite.head import Samples


@dataclass(frozen=True, slots=True)
class KernelRecipe:
    """Hyper-parameters.

    `width` is the exponent's factor for features of unit variance, `strength` the ridge's. The bitstream's
    features together weigh `prior_share` of what the picture's do. Of each version, its mean features and
    `frames` samples of it are fitted: the regression is asked about single samples.
    """

    landmarks: int = 2000
    axes: int = 192
    width: float = 0.2
    strength: float = 0.05
    prior_share: float = 0.7
    frames: int = 2


def fit(samples: Samples, recipe: KernelRecipe, seed: int) -> KernelRegression:
    """Fit on versions and samples of them; `seed` draws the samples and the landmarks.

    In float64 and by torch throughout, whose number of threads the caller decides.
    """
    rng = np.random.default_rng(seed)
    x, y = _rows(samples, recipe.frames, rng)
    scale = torch.quantile(x.abs(), 0.05, dim=0) + 1e-4
    squeezed = torch.asinh(x / scale)
    mean, std = squeezed.mean(dim=0), squeezed.std(dim=0) + 1e-3
    own = x.shape[1] - samples.prior
    weight = torch.full((x.shape[1],), math.sqrt(recipe.width / own), dtype=torch.float64)
    if samples.prior:
        weight[own:] = math.sqrt(recipe.width * recipe.prior_share / samples.prior)
    standard = (squeezed - mean) / std * weight
    axes = min(recipe.axes, *standard.shape)
    # principal axes from the covariance: rows are many, columns few
    vectors = torch.linalg.eigh(standard.T @ standard)[1].flip(1)[:, :axes]
    at = standard @ vectors
    marks = at[torch.from_numpy(rng.permutation(len(at))[: recipe.landmarks])]
    kernel, offset = _gaussian(at, marks), y.mean()
    system = kernel.T @ kernel + recipe.strength * _gaussian(marks, marks)
    system += 1e-6 * torch.eye(len(marks), dtype=torch.float64)
    target = kernel.T @ (y - offset)[:, None]
    coefficients = torch.cholesky_solve(target, torch.linalg.cholesky(system))[:, 0]
    regression = KernelRegression(x.shape[1], axes, len(marks))
    for name, value in (
        ("scale", scale), ("mean", mean), ("std", std), ("projection", weight[:, None] * vectors),
        ("landmarks", marks.T), ("squares", (marks * marks).sum(dim=1)), ("coefficients", coefficients),
        ("offset", offset),
    ):  # fmt: skip
        regression.get_buffer(name).copy_(value)
    return regression.eval()


def _rows(samples: Samples, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Features and raw labels: the mean of each version, then some of its samples, drawn anew."""
    real = torch.arange(samples.quality.shape[1])[None] < samples.lengths[:, None]
    total = torch.where(real[:, :, None], samples.quality, torch.zeros(())).double().sum(dim=1)
    x, y = [total / samples.lengths[:, None]], [samples.labels]
    everyone = torch.arange(len(samples.lengths))
    for _ in range(frames):
        drawn = torch.from_numpy(rng.integers(samples.lengths.numpy()))
        x.append(samples.quality[everyone, drawn].double())
        y.append(samples.frames[everyone, drawn])
    return torch.cat(x), torch.cat(y).double() * RAW_PER_VMAF


def _gaussian(a: Tensor, b: Tensor) -> Tensor:
    squares = (a * a).sum(dim=1)[:, None] + (b * b).sum(dim=1)[None] - 2 * a @ b.T
    return torch.exp(-squares.clamp(min=0))
