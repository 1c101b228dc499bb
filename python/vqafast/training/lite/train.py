"""The whole training of ``a2inet-lite``, from a synthesised data set to a model directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.training import features
from vqafast.training.lite import head, protocol
from vqafast.training.lite.data import load
from vqafast.training.lite.publish import publish

if TYPE_CHECKING:
    from pathlib import Path


def train(
    data: Path, out: Path, *, folds: int, epochs: int, semantic_epochs: int, seed: int, jobs: int
) -> dict[str, Any]:
    """Cross-validate over sources (unless `folds` is 0), fit on everything, export to `out`.

    Returns
    -------
    dict
        The figures that model.json carries: the data's description and the cross-validation.
    """
    schedule = protocol.Schedule(semantic_epochs, head.Recipe(epochs=epochs), seed)
    dataset = load(data, jobs)
    figures: dict[str, Any] = {"data": features.describe(dataset.records)}
    if folds:
        scores = protocol.cross_validate(dataset, folds, schedule)
        figures["cross_validation"] = protocol.report(dataset, scores, folds)
        print(json.dumps(figures["cross_validation"], indent=1))
    net, trained = protocol.fit(dataset, np.arange(len(dataset.labels)), schedule)
    publish(net, trained, out, figures)
    print(f"wrote {out}")
    return figures
