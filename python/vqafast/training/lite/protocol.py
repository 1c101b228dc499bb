"""Cross-validation over sources: every version is scored by models that saw no frame of its content."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vqafast.training import metrics
from vqafast.training.lite import baseline, head, semantic
from vqafast.training.lite.data import Dataset, fold_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from vqafast.models.a2inet.modules import A2INetHead
    from vqafast.models.backbones.compact_resnet import CompactResNet

#: The models trained together: what they see beside the semantic features, which they share.
KINDS = ("pixels", "hybrid")


@dataclass(frozen=True, slots=True)
class Schedule:
    """What one training costs: epochs of the semantic backbone and of the heads."""

    semantic_epochs: int = 2
    recipe: head.Recipe = field(default_factory=head.Recipe)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """One semantic backbone and, for each kind, the heads of its ensemble."""

    semantic: CompactResNet
    heads: dict[str, list[A2INetHead]]


def clean_targets(data: Dataset, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """Standardised, compressed statistics of the clean master of each chosen version ``(n, QUALITY_DIM)``.

    Constants come from the chosen versions' masters alone: nothing leaks from the other folds.
    """
    masters = [data.records[i]["master"] for i in chosen]
    names = sorted(set(masters))
    clean = np.stack([data.clean[m] for m in names])
    small = np.percentile(np.abs(clean), 5, axis=0) + 1e-4
    squeezed = np.arcsinh(clean / small)
    standard = (squeezed - squeezed.mean(0)) / (squeezed.std(0) + 1e-3)
    rows = dict(zip(names, standard.astype(np.float32), strict=True))
    return np.stack([rows[m] for m in masters])


def samples(data: Dataset, chosen: NDArray[np.int64], net: CompactResNet, kind: str) -> head.Samples:
    """What the heads of `kind` read of the chosen versions."""
    quality = [data.quality[i] for i in chosen]
    features = semantic.extract(net, [data.views[i] for i in chosen], [len(q) for q in quality])
    frames = [data.frame_labels[i] for i in chosen]
    prior = data.bitstream[chosen] if kind == "hybrid" else None
    return head.Samples.of(quality, features, frames, data.labels[chosen], prior)


def fit(
    data: Dataset, chosen: NDArray[np.int64], schedule: Schedule, pool: Executor | None = None
) -> Trained:
    """Semantic backbone, then the heads of every kind, on the chosen versions only."""
    net = semantic.pretrain(
        [data.views[i] for i in chosen], clean_targets(data, chosen),
        epochs=schedule.semantic_epochs, seed=schedule.seed,
    )  # fmt: skip
    heads = {
        kind: head.fit_ensemble(
            samples(data, chosen, net, kind), recipe=schedule.recipe, seed=schedule.seed, pool=pool
        )
        for kind in KINDS
    }
    return Trained(net, heads)


def cross_validate(
    data: Dataset, folds: int, schedule: Schedule, pool: Executor | None = None
) -> dict[str, head.Scores]:
    """Out-of-fold scores of each kind and of the hand-crafted baselines."""
    fold = np.array([fold_of(s, folds) for s in data.sources])
    count = len(data.labels)
    members = dict.fromkeys(KINDS, schedule.recipe.members) | dict.fromkeys(baseline.BASELINES, 1)
    scores = {
        name: head.Scores(np.full(count, np.nan, np.float32), np.full((k, count), np.nan, np.float32))
        for name, k in members.items()
    }
    for k in range(folds):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(outside):
            continue
        trained = fit(data, inside, schedule, pool)
        for kind in KINDS:
            unseen = head.predict(trained.heads[kind], samples(data, outside, trained.semantic, kind))
            scores[kind].score[outside] = unseen.score
            scores[kind].members[:, outside] = unseen.members
        for name, regress in baseline.BASELINES.items():
            scores[name].score[outside] = regress(data, inside, outside)
        got = {name: metrics.srcc(s.score[outside], data.labels[outside]) for name, s in scores.items()}
        line = ", ".join(f"{name} {value:.3f}" for name, value in got.items())
        print(f"fold {k + 1}/{folds}: {len(outside)} versions, SRCC {line}", file=sys.stderr, flush=True)
    return scores
