"""The whole training of ``a2inet-lite`` and its hybrid, from a synthesised data set to model directories."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.training import features
from vqafast.training.lite import head, protocol, report, uncertainty
from vqafast.training.lite.data import fold_of, load
from vqafast.training.lite.publish import publish

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.models.spec import Uncertainty
    from vqafast.training.lite.data import Dataset
    from vqafast.training.lite.head import Scores


def train(
    data: Path,
    out: Path,
    *,
    folds: int = 5,
    epochs: int | None = None,
    seed: int = 0,
    jobs: int = 2,
) -> dict[str, Any]:
    """Cross-validate over sources (unless `folds` is 0), fit on everything, export.

    The model of pixels goes to `out`, the hybrid to `out` with ``-hybrid`` appended to its name, and the
    held-out scores of every version, those of the baselines too, to `out` with ``-held-out.csv`` appended.
    Epochs are those of `head.Recipe` unless given.

    Returns
    -------
    dict
        For each kind the figures that its model.json carries.
    """
    schedule = protocol.Schedule(seed=seed)
    if epochs is not None:
        schedule = replace(schedule, recipe=replace(schedule.recipe, epochs=epochs))
    dataset = load(data, jobs)
    figures: dict[str, Any] = {kind: {"data": features.describe(dataset.records)} for kind in protocol.KINDS}
    constants: dict[str, Uncertainty] = {}
    with head.workers(jobs) as pool:
        if folds:
            scores = protocol.cross_validate(dataset, folds, schedule, pool)
            _write_held_out(out.with_name(f"{out.name}-held-out.csv"), dataset, scores, folds)
            for kind in protocol.KINDS:
                figures[kind] |= _held_out(dataset, scores, kind, folds)
                constants[kind] = uncertainty.fit(scores[kind], dataset.labels)
            print(json.dumps(figures, indent=1), flush=True)
        trained = protocol.fit(dataset, np.arange(len(dataset.labels)), schedule, pool)
    for kind, directory in zip(protocol.KINDS, (out, out.with_name(f"{out.name}-hybrid")), strict=True):
        bitstream = dataset.bitstream if kind == "hybrid" else None
        publish(
            trained[kind],
            kind,
            directory,
            figures=figures[kind],
            uncertainty=constants.get(kind),
            bitstream=bitstream,
        )
        print(f"wrote {directory}")
    return figures


def _write_held_out(path: Path, data: Dataset, scores: dict[str, Scores], folds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "source", "fold", "vmaf", *scores])
        for i, record in enumerate(data.records):
            source = record["source"]
            values = [f"{s.score[i]:.3f}" for s in scores.values()]
            rows.writerow([record["id"], source, fold_of(source, folds), record["vmaf"], *values])


def _held_out(data: Dataset, scores: dict[str, Scores], kind: str, folds: int) -> dict[str, Any]:
    fold = np.array([fold_of(s, folds) for s in data.sources])
    baselines = {
        name: report.figures(s.score, data.labels) for name, s in scores.items() if name not in protocol.KINDS
    }
    return {
        "cross_validation": report.report(data, scores[kind].score, folds),
        "baselines": baselines,
        "uncertainty": uncertainty.coverage(scores[kind], data.labels, fold),
    }
