"""What a run ends in: predictions, figures by part, the exported model; and reading them back."""

from __future__ import annotations

import csv
import io
import shutil
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import vqafast
from vqafast.training import atomic, metrics
from vqafast.training.run_config import RunConfig, read_object
from vqafast.training.samples import predict
from vqafast.training.trainer import BEST, CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from vqafast.training.calibration import Line
    from vqafast.training.distributed import World
    from vqafast.training.labelled import LabelledJob
    from vqafast.training.reporter import Reporter
    from vqafast.training.trainer import Outcome


#: What training goes on from.
WEIGHTS = (CHECKPOINT, "checkpoint.json", BEST)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One video's score, on the scale of the labels."""

    name: str
    split: str
    mos: float
    predicted: float


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished run leaves: `metrics` is metrics.json, `predictions` are predictions.csv."""

    directory: Path
    metrics: dict[str, Any]
    predictions: tuple[Prediction, ...]


def finished(root: Path, config: RunConfig, fingerprint: str) -> RunResult | None:
    """Read a run back that was finished with these data and this many epochs; None otherwise."""
    if not (root / "metrics.json").exists():
        return None
    figures = read_object(root / "metrics.json")
    same = figures.get("fingerprint") == fingerprint and figures.get("until") == _until(config)
    if not same or (config.export and not (root / "model" / "model.json").exists()):
        return None
    with (root / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            Prediction(r["name"], r["split"], float(r["mos"]), float(r["predicted"]))
            for r in csv.DictReader(file)
        ]
    return RunResult(root, figures, tuple(rows))


def _until(config: RunConfig) -> dict[str, Any]:
    return {"epochs": config.epochs, "patience": config.patience, **config.recipe().deciding()}


def conclude(
    job: LabelledJob, model: nn.Module, outcome: Outcome, world: World, reporter: Reporter
) -> RunResult:
    """Predict all parts, and write figures and model."""
    reporter.stage("predict", len(job.data.items))
    parts = {part: chosen for part, chosen in job.indices.items() if len(chosen)}
    raw = {
        part: predict(model, job.samples(chosen), world, workers=job.config.workers)
        for part, chosen in parts.items()
    }
    line = job.line(raw)
    rows: list[Prediction] = []
    figures: dict[str, Any] = {}
    for part, chosen in parts.items():
        predicted = line.of(raw[part])
        figures[part] = _figures(predicted, job.mos(chosen), reporter)
        for i, value in zip(chosen, predicted, strict=True):
            rows.append(Prediction(job.data.items[i].name, part, job.data.items[i].mos, float(value)))
            reporter.advance()
    figures |= {
        "model": job.name,
        **job.described(),
        "dataset": job.data.name,
        "split": job.config.split,
        "splits": job.config.splits,
        "videos": {part: len(chosen) for part, chosen in job.indices.items()},
        "label_range": list(job.label_range),
        "best_epoch": outcome.best_epoch,
        "epochs_run": len(outcome.rows),
        "data_sha256": job.data_digest,
        "fingerprint": job.fingerprint,
        "until": _until(job.config),
        "versions": {"vqafast": vqafast.__version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    if world.first:
        _write_predictions(job.root / "predictions.csv", rows)
        if job.config.export:
            reporter.stage("export")
            figures["export"] = _export(job, model.to("cpu"), line, figures)
        atomic.write_json(job.root / "metrics.json", figures)
        if not job.config.keep_weights:
            for name in WEIGHTS:
                (job.root / name).unlink(missing_ok=True)
    world.barrier()
    return RunResult(job.root, figures, tuple(rows))


def _figures(
    predicted: NDArray[np.float64], mos: NDArray[np.float64], reporter: Reporter
) -> dict[str, Any] | None:
    if len(mos) < 2:
        return None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", metrics.LogisticFitWarning)
        result = metrics.evaluate(predicted, mos).to_dict()
    for warning in seen:
        reporter.note(str(warning.message))
    return result


def _write_predictions(path: Path, rows: Iterable[Prediction]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "split", "mos", "predicted"])
    # repr, so that what is read back is what was computed.
    writer.writerows([r.name, r.split, repr(r.mos), repr(r.predicted)] for r in rows)
    atomic.write_text(path, text.getvalue())


def _export(job: LabelledJob, model: nn.Module, line: Line, figures: dict[str, Any]) -> dict[str, Any]:
    """Write the model beside and rename it, so that a kill leaves no half of one."""
    part = job.root / ".model.part"
    shutil.rmtree(part, ignore_errors=True)
    said = job.export(part, model, line, figures)
    shutil.rmtree(job.root / "model", ignore_errors=True)
    part.rename(job.root / "model")
    return said
