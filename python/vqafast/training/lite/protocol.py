"""Cross-validation over sources: every version is scored by models that saw no frame of its content."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vqafast.training import metrics
from vqafast.training.lite import baseline, head
from vqafast.training.lite.data import Dataset, fold_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

#: The models trained together: what they see beside the pictures' features.
KINDS = ("pixels", "hybrid")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the ensembles are trained."""

    recipe: head.Recipe = field(default_factory=head.Recipe)
    seed: int = 0


def samples(data: Dataset, chosen: NDArray[np.int64], kind: str) -> head.Samples:
    """What the heads of `kind` read of the chosen versions."""
    return head.Samples.of(
        [data.quality[i] for i in chosen],
        [data.semantic[i] for i in chosen],
        [data.frame_labels[i] for i in chosen],
        data.labels[chosen],
        data.bitstream[chosen] if kind == "hybrid" else None,
    )


def fit(
    data: Dataset, chosen: NDArray[np.int64], schedule: Schedule, pool: Executor | None = None
) -> dict[str, head.Ensemble]:
    """Ensembles of every kind, from the chosen versions only."""
    return {
        kind: head.fit_ensemble(
            samples(data, chosen, kind), recipe=schedule.recipe, seed=schedule.seed, pool=pool
        )
        for kind in KINDS
    }


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
            unseen = head.predict(trained[kind], samples(data, outside, kind))
            scores[kind].score[outside] = unseen.score
            scores[kind].members[:, outside] = unseen.members
        for name, regress in baseline.BASELINES.items():
            scores[name].score[outside] = regress(data, inside, outside)
        got = {name: metrics.srcc(s.score[outside], data.labels[outside]) for name, s in scores.items()}
        line = ", ".join(f"{name} {value:.3f}" for name, value in got.items())
        print(f"fold {k + 1}/{folds}: {len(outside)} versions, SRCC {line}", file=sys.stderr, flush=True)
    return scores
