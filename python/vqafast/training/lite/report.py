"""Figures of the model card from out-of-fold scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.training import metrics
from vqafast.training.lite.data import Dataset, fold_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Mask = NDArray[np.bool_]

#: Classes of picture area in pixels, by the usual name of their upper end.
AREAS = ((160_000, "270p"), (280_000, "360p"), (500_000, "480p"), (10**9, "720p"))
#: Where the mean gradient and the mean absolute frame difference at full size stand in the 176.
_GRADIENT, _CHANGE = 0, 11
#: Fewer versions than this are not worth a row.
_LEAST = 30


def figures(scores: Floats, labels: Floats, mask: Mask | None = None) -> dict[str, float]:
    """Size and accuracy of a part of the versions; scores are clipped to 0..100 as published."""
    inside = np.ones(len(scores), dtype=bool) if mask is None else mask
    p, t = np.clip(scores[inside], 0, 100), labels[inside]
    return {
        "n": int(inside.sum()),
        "srcc": round(metrics.srcc(p, t), 4),
        "plcc": round(metrics.plcc(p, t), 4),
        "mae": round(metrics.mae(p, t), 2),
    }


def report(data: Dataset, scores: Floats, folds: int) -> dict[str, Any]:
    """Everything that the model card says of one model; `scores` are ``(N,)``, unclipped."""
    labels = data.labels
    fold = np.array([fold_of(s, folds) for s in data.sources])
    ladder = data.fields("group") == "ladder"
    clipped = np.clip(scores, 0, 100)
    within = metrics.grouped_srcc(clipped[ladder], labels[ladder], list(data.sources[ladder]))
    bias = [float((clipped - labels)[data.sources == s].mean()) for s in sorted(set(data.sources))]

    def table(classes: NDArray[np.str_]) -> dict[str, dict[str, float]]:
        names = sorted(set(classes))
        masks = {n: classes == n for n in names}
        return {n: figures(scores, labels, m) for n, m in masks.items() if m.sum() >= _LEAST}

    steps = sorted({step for r in data.records for step in r["recipe"]["steps"]})
    holding = {s: np.array([s in r["recipe"]["steps"] for r in data.records]) for s in steps}
    return {
        "protocol": f"{folds}-fold cross-validation over sources",
        "pooled": figures(scores, labels),
        "folds": [figures(scores, labels, fold == k) for k in sorted(set(fold))],
        "by_codec": table(data.fields("codec")),
        "by_flow": table(data.fields("group")),
        "by_distortion": {s: figures(scores, labels, m) for s, m in holding.items() if m.sum() >= _LEAST},
        "by_resolution": table(_areas(data)),
        "by_kind": table(np.array([r["kind"] for r in data.records])),
        "by_detail": table(_thirds(data, _GRADIENT, ("smooth", "middle", "detailed"))),
        "by_motion": table(_thirds(data, _CHANGE, ("still", "middle", "moving"))),
        "ladder_srcc_mean": round(float(np.mean(list(within.values()))), 4),
        "ladder_srcc_min": round(min(within.values()), 4),
        "ladder_sources": len(within),
        "source_bias_sd": round(float(np.std(bias)), 2),
        "pairs_in_order": round(pairs_in_order(clipped, labels, data.sources), 4),
        "reliability": reliability(clipped, labels),
    }


def _areas(data: Dataset) -> NDArray[np.str_]:
    sizes = [r["width"] * r["height"] for r in data.records]
    return np.array([next(name for limit, name in AREAS if size <= limit) for size in sizes])


def _thirds(data: Dataset, feature: int, names: tuple[str, str, str]) -> NDArray[np.str_]:
    """Three classes of equal size by one statistic of the clean master."""
    values = np.array([data.clean[r["master"]][feature] for r in data.records])
    return np.array(names)[np.searchsorted(np.quantile(values, (1 / 3, 2 / 3)), values)]


def pairs_in_order(scores: Floats, labels: Floats, sources: NDArray[np.str_], apart: float = 10.0) -> float:
    """Share of same-source pairs more than `apart` VMAF apart that the scores put in order."""
    right = total = 0
    for source in sorted(set(sources)):
        label, score = labels[sources == source], scores[sources == source]
        above = label[:, None] - label[None, :] > apart
        total += int(above.sum())
        right += int((above & (score[:, None] > score[None, :])).sum())
    return right / max(1, total)


def reliability(scores: Floats, labels: Floats, bins: int = 10) -> list[dict[str, float]]:
    """For each tenth of the scale: what was said, what it was, and how often."""
    edges = np.linspace(0, 100, bins + 1)
    which = np.clip(np.digitize(scores, edges) - 1, 0, bins - 1)
    rows = []
    for k in range(bins):
        inside = which == k
        if inside.any():
            said, was = float(scores[inside].mean()), labels[inside]
            rows.append(
                {
                    "n": int(inside.sum()),
                    "said": round(said, 2),
                    "was": round(float(was.mean()), 2),
                    "p10": round(float(np.quantile(was, 0.1)), 2),
                    "p90": round(float(np.quantile(was, 0.9)), 2),
                }
            )
    return rows
