"""Cross-validation over sources, and what it reports."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.training import metrics
from vqafast.training.lite import head, semantic
from vqafast.training.lite.data import Dataset, fold_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vqafast.models.a2inet.modules import A2INetHead
    from vqafast.models.backbones.compact_resnet import CompactResNet


@dataclass(frozen=True, slots=True)
class Schedule:
    """What one training costs: epochs of the semantic backbone and of the head."""

    semantic_epochs: int = 3
    recipe: head.Recipe = field(default_factory=head.Recipe)
    seed: int = 0


def clean_targets(data: Dataset, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """Standardised, compressed statistics of the clean master of each chosen version ``(n, 176)``.

    Constants come from the chosen versions' masters alone: nothing leaks from the other folds.
    """
    sources = sorted(set(data.sources[chosen]))
    clean = np.stack([data.clean[s] for s in sources])
    small = np.percentile(np.abs(clean), 5, axis=0) + 1e-4
    squeezed = np.arcsinh(clean / small)
    standard = (squeezed - squeezed.mean(0)) / (squeezed.std(0) + 1e-3)
    rows = dict(zip(sources, standard.astype(np.float32), strict=True))
    return np.stack([rows[s] for s in data.sources[chosen]])


def fit(data: Dataset, chosen: NDArray[np.int64], schedule: Schedule) -> tuple[CompactResNet, A2INetHead]:
    """Semantic backbone, then head, on the chosen versions only."""
    views = [data.views[i] for i in chosen]
    net = semantic.pretrain(
        views, clean_targets(data, chosen), epochs=schedule.semantic_epochs, seed=schedule.seed
    )
    trained = head.fit(
        [data.quality[i] for i in chosen], semantic.extract(net, views),
        [data.frame_labels[i] for i in chosen], data.labels[chosen],
        recipe=schedule.recipe, seed=schedule.seed,
    )  # fmt: skip
    return net, trained


def cross_validate(data: Dataset, folds: int, schedule: Schedule) -> NDArray[np.float32]:
    """Out-of-fold scores ``(N,)``: every version is scored by a model that saw no frame of its content."""
    fold = np.array([fold_of(s, folds) for s in data.sources])
    scores = np.full(len(data.labels), np.nan, dtype=np.float32)
    for k in range(folds):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(outside):
            continue
        net, trained = fit(data, inside, schedule)
        features = semantic.extract(net, [data.views[i] for i in outside])
        scores[outside] = head.predict(trained, [data.quality[i] for i in outside], features)
        got = metrics.srcc(scores[outside], data.labels[outside])
        print(f"fold {k + 1}/{folds}: {len(outside)} versions, SRCC {got:.3f}", file=sys.stderr)
    return scores


def report(data: Dataset, scores: NDArray[np.float32], folds: int) -> dict[str, Any]:
    """Figures of the model card from out-of-fold scores, clipped to 0..100 as published."""
    scores = np.clip(scores, 0, 100)
    fold = np.array([fold_of(s, folds) for s in data.sources])
    groups = data.groups()
    codecs = np.array([r["recipe"]["codec"] for r in data.records])
    kinds = np.array([r["kind"] for r in data.records])
    ladder = groups == "ladder"
    within = metrics.grouped_srcc(scores[ladder], data.labels[ladder], list(data.sources[ladder]))
    bias = [float((scores - data.labels)[data.sources == s].mean()) for s in sorted(set(data.sources))]

    def figures(mask: NDArray[np.bool_]) -> dict[str, float]:
        return {
            "n": int(mask.sum()),
            "srcc": round(metrics.srcc(scores[mask], data.labels[mask]), 4),
            "plcc": round(metrics.plcc(scores[mask], data.labels[mask]), 4),
            "mae": round(metrics.mae(scores[mask], data.labels[mask]), 2),
        }

    return {
        "protocol": f"{folds}-fold cross-validation over sources",
        "pooled": figures(np.ones(len(scores), dtype=bool)),
        "folds": [figures(fold == k) for k in sorted(set(fold))],
        "by_codec": {c: figures(codecs == c) for c in sorted(set(codecs))},
        "by_group": {g: figures(groups == g) for g in sorted(set(groups))},
        "by_kind": {k: figures(kinds == k) for k in sorted(set(kinds))},
        "ladder_srcc_mean": round(float(np.mean(list(within.values()))), 4),
        "ladder_srcc_min": round(min(within.values()), 4),
        "ladder_sources": len(within),
        "source_bias_sd": round(float(np.std(bias)), 2),
        "pairs_in_order": round(_pairs_in_order(scores, data), 4),
    }


def _pairs_in_order(scores: NDArray[np.float32], data: Dataset, apart: float = 10.0) -> float:
    """Share of same-source pairs more than `apart` VMAF apart that the scores put in order."""
    right = total = 0
    for source in sorted(set(data.sources)):
        inside = data.sources == source
        label, score = data.labels[inside], scores[inside]
        above = label[:, None] - label[None, :] > apart
        total += int(above.sum())
        right += int((above & (score[:, None] > score[None, :])).sum())
    return right / max(1, total)
