"""Training heads on cached features (A2INet, section 3.4: MAE plus rank loss)."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor, nn

from vqafast.models.a2inet.config import HeadConfig
from vqafast.models.a2inet.ensemble import mixed
from vqafast.models.a2inet.functional import hysteresis_pool
from vqafast.models.a2inet.lite import RAW_PER_VMAF
from vqafast.models.a2inet.modules import A2INetHead
from vqafast.training.lite import kernel
from vqafast.training.losses import a2inet_loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from vqafast.models.a2inet.kernel import KernelRegression


def head_config(quality_dim: int, semantic_dim: int) -> HeadConfig:
    """The head of ``a2inet-lite``: the paper's modules at small widths."""
    return HeadConfig(
        quality_dim=quality_dim, semantic_dim=semantic_dim, dim=128, reduced_dim=64, gru_dim=32,
        fc_activation="relu", gate_reduction=4, eps=1e-2, dropout=0.15, compress=True, standardise=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyper-parameters; `frame_weight` weighs the loss on frame scores beside the video's.

    Steps are larger than the paper's (Adam, 2e-5, batches of 8; section 4.1): this head has an eightieth
    of its weights and one dense label per frame. Noise is in standard deviations of a feature.
    `members` heads differ in their seeds; the score is their mean. Beside each stands a kernel regression
    that has the part `share` in the member's frame scores.
    """

    epochs: int = 10
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.05
    frame_weight: float = 0.5
    quality_noise: float = 0.05
    semantic_noise: float = 1.0
    prior_noise: float = 0.1
    members: int = 2
    share: float = 0.75
    kernel: kernel.KernelRecipe = field(default_factory=kernel.KernelRecipe)


@dataclass(frozen=True, slots=True)
class Samples:
    """N versions padded to T samples: features, frame labels in VMAF units, counts and labels.

    The last `prior` features of both sequences are the bitstream's, constant over a version.
    """

    quality: Tensor  # (N, T, Dq)
    semantic: Tensor  # (N, T, Ds)
    frames: Tensor  # (N, T)
    lengths: Tensor  # (N,)
    labels: Tensor  # (N,)
    prior: int = 0

    @classmethod
    def of(
        cls, quality: Sequence[NDArray[np.float32]], semantic: Sequence[NDArray[np.float32]],
        frames: Sequence[NDArray[np.float32]], labels: NDArray[np.float32],
        bitstream: NDArray[np.float32] | None = None,
    ) -> Self:  # fmt: skip
        """Pad; padding is never read, because lengths go with it everywhere."""
        prior = 0 if bitstream is None else bitstream.shape[1]
        if bitstream is not None:
            quality, semantic = (
                [np.hstack([x, np.tile(b, (len(x), 1))]) for x, b in zip(rows, bitstream, strict=True)]
                for rows in (quality, semantic)
            )
        lengths = np.array([len(q) for q in quality])
        longest = int(lengths.max())

        def padded(rows: Sequence[NDArray[np.float32]]) -> Tensor:
            out = np.zeros((len(rows), longest, *rows[0].shape[1:]), dtype=np.float32)
            for i, row in enumerate(rows):
                out[i, : len(row)] = row
            return torch.from_numpy(out)

        return cls(
            padded(quality), padded(semantic), padded(frames), torch.from_numpy(lengths),
            torch.from_numpy(np.asarray(labels, dtype=np.float32)), prior,
        )  # fmt: skip

    def rows(self, chosen: NDArray[np.int64]) -> Samples:
        """Some of the versions."""
        i = torch.from_numpy(chosen)
        return Samples(
            self.quality[i], self.semantic[i], self.frames[i], self.lengths[i], self.labels[i], self.prior
        )

    def flat(self, features: Tensor) -> Tensor:
        """All real samples of `features`, ``(n, D)``."""
        return features[torch.arange(features.shape[1])[None] < self.lengths[:, None]]


def fit(samples: Samples, *, recipe: Recipe, seed: int) -> A2INetHead:
    """Train one head; the same seed gives the same weights on the same machine.

    Each step sees a random run of samples of each version, so that windows of any length occur.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    q_dim, s_dim = samples.quality.shape[2], samples.semantic.shape[2]
    head = A2INetHead(head_config(q_dim, s_dim))
    flat = [samples.flat(samples.quality), samples.flat(samples.semantic)]
    head.fit_constants(*flat)
    noise = [x.std(dim=0) * strength for x, strength in zip(flat, _strengths(samples, recipe), strict=True)]
    optimiser = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    count = len(samples.labels)
    batches = max(1, count // recipe.batch)
    steps = recipe.epochs * batches
    # the rise takes at least a step
    rise = max(0.1, 2 / steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps, pct_start=rise)
    head.train()
    total = 0.0
    for _ in range(recipe.epochs):
        order, total = rng.permutation(count), 0.0
        for step in range(batches):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            q, s, frames, lengths = _runs(samples, chosen, rng)
            q, s = _shifted(q, noise[0]), _shifted(s, noise[1])
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
    print(f"head: seed {seed}, {recipe.epochs} epochs, loss {total / batches:.4f}", file=sys.stderr)
    return head.eval()


def _runs(
    samples: Samples, chosen: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    full = samples.lengths[chosen].numpy()
    lengths = rng.integers(np.minimum(2, full), full + 1)
    starts = rng.integers(full - lengths + 1)
    steps = starts[:, None] + np.arange(lengths.max())[None]
    # past the end of a run any row will do: lengths keep it out
    which = torch.from_numpy(chosen)[:, None], torch.from_numpy(np.minimum(steps, full[:, None] - 1))
    frames = samples.frames[which] * RAW_PER_VMAF
    return samples.quality[which], samples.semantic[which], frames, torch.from_numpy(lengths)


def _strengths(samples: Samples, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Noise of each feature of both sequences, in its standard deviations."""
    strengths = []
    for features, strength in (
        (samples.quality, recipe.quality_noise),
        (samples.semantic, recipe.semantic_noise),
    ):
        own = features.shape[2] - samples.prior
        strengths.append(
            torch.cat([torch.full((own,), strength), torch.full((samples.prior,), recipe.prior_noise)])
        )
    return strengths[0], strengths[1]


def _shifted(x: Tensor, deviation: Tensor) -> Tensor:
    """Shift each version's features by noise that is constant over its samples.

    A content's own bias looks like that; without it the head learns contents by heart.
    """
    return x + deviation * torch.randn(x.shape[0], 1, x.shape[2])


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Heads, a kernel regression beside each, and the weight of the kernel regressions."""

    heads: list[A2INetHead]
    kernels: list[KernelRegression]
    share: float


def _member(job: tuple[Samples, Recipe, int]) -> tuple[dict[str, Tensor], KernelRegression]:
    samples, recipe, seed = job
    # one thread a member: the same weights however many members train side by side
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return fit(samples, recipe=recipe, seed=seed).state_dict(), kernel.fit(samples, recipe.kernel, seed)
    finally:
        torch.set_num_threads(threads)


def workers(jobs: int) -> AbstractContextManager[Executor | None]:
    """Processes that train members side by side, for a ``with`` block; none for one job."""
    if jobs == 1:
        return nullcontext()
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


def fit_ensemble(samples: Samples, *, recipe: Recipe, seed: int, pool: Executor | None = None) -> Ensemble:
    """Train `recipe.members` members, in the processes of `pool` if there is one."""
    work = [(samples, recipe, 1000 * seed + k) for k in range(recipe.members)]
    heads, kernels = [], []
    for state, regression in (map if pool is None else pool.map)(_member, work):
        head = A2INetHead(head_config(samples.quality.shape[2], samples.semantic.shape[2]))
        head.load_state_dict(state)
        heads.append(head.eval())
        kernels.append(regression)
    return Ensemble(heads, kernels, recipe.share)


@dataclass(frozen=True, slots=True)
class Scores:
    """Unclipped scores in VMAF units of N versions.

    `score` ``(N,)`` is pooled from the mean of the members' frame scores, as when scoring a video;
    `members` ``(K, N)`` are pooled one by one, and only their spread is used.
    """

    score: NDArray[np.float32]
    members: NDArray[np.float32]

    @property
    def spread(self) -> NDArray[np.float32]:
        """Standard deviation of the members ``(N,)``."""
        deviation: NDArray[np.float32] = self.members.std(axis=0)
        return deviation


@torch.no_grad()
def predict(ensemble: Ensemble, samples: Samples, batch: int = 512) -> Scores:
    """Score all versions with an ensemble."""
    count, config = len(samples.labels), ensemble.heads[0].config
    score, members = np.empty(count, np.float32), np.empty((len(ensemble.heads), count), np.float32)
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        quality, semantic, lengths = samples.quality[part], samples.semantic[part], samples.lengths[part]
        frames = torch.stack([head(quality, semantic, lengths)[1] for head in ensemble.heads])
        beside = torch.stack([regression(quality) for regression in ensemble.kernels])
        series = mixed(frames, beside, ensemble.share)

        def pooled(q: Tensor, valid: Tensor = lengths) -> NDArray[np.float32]:
            whole, _ = hysteresis_pool(q, valid, alpha=config.alpha, beta=config.beta)
            return np.asarray(whole.numpy() / RAW_PER_VMAF, dtype=np.float32)

        members[:, part] = np.stack([pooled(q) for q in series])
        score[part] = pooled(series.mean(dim=0))
    return Scores(score, members)
