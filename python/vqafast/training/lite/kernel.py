"""Fitting the kernel regression that stands beside each head of ``a2inet-lite``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve

from vqafast.models.a2inet.kernel import KernelRegression
from vqafast.models.a2inet.lite import RAW_PER_VMAF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vqafast.training.lite.head import Samples

    Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KernelRecipe:
    """Hyper-parameters.

    `width` is the exponent's factor for features of unit variance, `strength` the ridge's. The bitstream's
    features together weigh `prior_share` of what the picture's do. Of each version, its mean features and
    `frames` samples of it are fitted: the regression is asked about single samples.
    """

    landmarks: int = 2000
    axes: int = 192
    width: float = 0.3
    strength: float = 0.1
    prior_share: float = 0.4
    frames: int = 2


def fit(samples: Samples, recipe: KernelRecipe, seed: int) -> KernelRegression:
    """Fit on versions and samples of them; `seed` draws the samples and the landmarks."""
    rng = np.random.default_rng(seed)
    x, y = _rows(samples, recipe.frames, rng)
    scale = np.percentile(np.abs(x), 5, axis=0) + 1e-4
    squeezed = np.arcsinh(x / scale)
    mean, std = squeezed.mean(axis=0), squeezed.std(axis=0) + 1e-3
    own = x.shape[1] - samples.prior
    weight = np.full(x.shape[1], np.sqrt(recipe.width / own))
    if samples.prior:
        weight[own:] = np.sqrt(recipe.width * recipe.prior_share / samples.prior)
    standard = (squeezed - mean) / std * weight
    axes = min(recipe.axes, *standard.shape)
    # principal axes from the covariance: rows are many, columns few
    _, vectors = np.linalg.eigh(standard.T @ standard)
    projection = weight[:, None] * vectors[:, ::-1][:, :axes]
    at = standard @ vectors[:, ::-1][:, :axes]
    marks = at[rng.permutation(len(at))[: recipe.landmarks]]
    kernel, offset = _gaussian(at, marks), float(y.mean())
    system = kernel.T @ kernel + recipe.strength * _gaussian(marks, marks) + 1e-6 * np.eye(len(marks))
    coefficients = cho_solve(cho_factor(system), kernel.T @ (y - offset))
    regression = KernelRegression(x.shape[1], axes, len(marks))
    for name, value in (
        ("scale", scale), ("mean", mean), ("std", std), ("projection", projection), ("landmarks", marks),
        ("coefficients", coefficients), ("offset", offset),
    ):  # fmt: skip
        regression.get_buffer(name).copy_(torch.tensor(value))
    return regression.eval()


def _rows(samples: Samples, frames: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Features and raw labels: the mean of each version, then some of its samples, drawn anew."""
    lengths = samples.lengths.numpy()
    real = torch.arange(samples.quality.shape[1])[None] < samples.lengths[:, None]
    total = torch.where(real[:, :, None], samples.quality, torch.zeros(())).double().sum(dim=1)
    x, y = [total.numpy() / lengths[:, None]], [samples.labels.numpy()]
    everyone = np.arange(len(lengths))
    for _ in range(frames):
        drawn = torch.from_numpy(rng.integers(lengths))
        x.append(samples.quality[everyone, drawn].double().numpy())
        y.append(samples.frames[everyone, drawn].numpy())
    return np.concatenate(x), np.concatenate(y).astype(np.float64) * RAW_PER_VMAF


def _gaussian(a: Rows, b: Rows) -> Rows:
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T
    similarity: Rows = np.exp(-np.maximum(squares, 0))
    return similarity
