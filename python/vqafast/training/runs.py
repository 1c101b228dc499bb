"""A run: data set, features, split, training, predictions, figures, exported model; resumable.

The run's directory holds

=========================  ===========================================================================
config.json                the `RunConfig`
extraction.json            videos computed, reused and failed, by name and error code
log.csv                    one row per epoch
checkpoint.safetensors     state of the training; checkpoint.json is a copy of its JSON part
best.safetensors           weights of the epoch with the best validation SRCC
predictions.csv            name, split, mos, predicted
metrics.json               figures by part, and what they were computed from; written last
model/                     what ``Scorer(model=PATH)`` loads
=========================  ===========================================================================
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vqafast.errors import InvalidArgument, VqafastError
from vqafast.training import atomic, distributed
from vqafast.training.datasets import VideoDataset, load_dataset
from vqafast.training.extract import ExtractReport, Video, extract, probe
from vqafast.training.feature_store import FeatureStore
from vqafast.training.job import Job, train
from vqafast.training.parts import Parts, parts_of
from vqafast.training.reporter import Reporter, Silent
from vqafast.training.run_config import RunConfig
from vqafast.training.run_results import WEIGHTS, Prediction, RunResult, conclude, finished
from vqafast.training.splits import Split, splits
from vqafast.training.trainer import CHECKPOINT

if TYPE_CHECKING:
    import os

    from vqafast.training.distributed import World

__all__ = ["Prediction", "RunResult", "features_folder", "run"]

_MADE = (*WEIGHTS, "extraction.json", "log.csv", "predictions.csv", "metrics.json")


def run(
    config: RunConfig,
    directory: str | os.PathLike[str],
    *,
    resume: bool = True,
    reporter: Reporter | None = None,
    dataset: VideoDataset | None = None,
    parts: Parts | None = None,
) -> RunResult:
    """Do what `config` says, or what is left of it.

    Parameters
    ----------
    directory : path
        The run's own; made if it is missing.
    resume : bool
        Go on from what is there; a finished run is read back. False starts the training over;
        stored features are kept either way.
    dataset, parts : optional
        Instead of those that the config names.

    Raises
    ------
    InvalidArgument
        When the directory holds another run, or the data cannot be split.
    VqafastError
        When videos failed and the config does not skip them; extraction.json lists them.
    KeyboardInterrupt
        After Ctrl-C; the same call goes on.
    """
    world = distributed.join(config.device)
    reporter = (reporter if world.first else None) or Silent()
    root = Path(directory)
    data = dataset or load_dataset(
        config.dataset, config.root, labels=config.labels, split_file=config.split_file
    )
    parts = parts or parts_of(config)
    if parts.random:
        reporter.note(f"random backbones ({', '.join(parts.random)}): the scores will measure no quality")
    if world.first:
        _begin(root, config, resume)
    world.barrier()
    store = FeatureStore(features_folder(config, root), parts.backbones().key())
    report = _read_videos(config, root, data, parts, store, world, reporter)
    ratio = cast("Any", config.ratio)
    chosen = splits(data, config.splits, config.split_seed, ratio)[config.split]
    chosen = _without(chosen, data, report)
    job = Job(config, root, data, parts, store, chosen)
    for names in job.leaks():
        reporter.note(f"the same file is in the training and in another part: {', '.join(names)}")
    done = finished(root, config, job.fingerprint)
    if done is not None:
        reporter.note(f"{root}: already finished")
        return done
    model, outcome = train(job, world, reporter, resume)
    return conclude(job, model, outcome, world, reporter)


def _begin(root: Path, config: RunConfig, resume: bool) -> None:
    root.mkdir(parents=True, exist_ok=True)
    atomic.clean(root)
    path = root / "config.json"
    if not resume:
        for name in _MADE:
            (root / name).unlink(missing_ok=True)
        shutil.rmtree(root / "model", ignore_errors=True)
        shutil.rmtree(root / "tensorboard", ignore_errors=True)
    elif path.exists() and ((root / CHECKPOINT).exists() or (root / "metrics.json").exists()):
        theirs, mine = RunConfig.read(path).deciding(), config.deciding()
        wrong = [f"{n} {theirs[n]!r} is now {mine.get(n)!r}" for n in theirs if theirs[n] != mine.get(n)]
        if wrong:
            raise InvalidArgument(
                f"{root}: must hold the same run to go on with it, got another one: {', '.join(wrong)}; "
                "choose another directory, or start over without resume",
                path=str(root),
            )
    atomic.write_json(path, config.to_dict())


def features_folder(config: RunConfig, root: Path) -> Path:
    """The feature store of a run in the directory `root`."""
    return Path(config.features) if config.features is not None else root.parent / "features"


def _read_videos(
    config: RunConfig,
    root: Path,
    data: VideoDataset,
    parts: Parts,
    store: FeatureStore,
    world: World,
    reporter: Reporter,
) -> ExtractReport:
    """Features of every video, each process doing its share; end to end, only whether they open."""
    mine = data.items[world.share(len(data.items))]
    reporter.stage("features", len(mine))

    def progress(item: Video, outcome: str) -> None:
        reporter.advance(f"{item.name} {outcome}")

    if config.end_to_end:
        report = probe(data.items, store, progress)
    else:
        backbones = parts.backbones(world.device)
        report = extract(mine, backbones, store, jobs=config.jobs, threads=config.threads, progress=progress)
        if world.size > 1:
            # The others' videos are in the store by now; what failed there fails here again.
            world.barrier()
            report = extract(data.items, backbones, store, jobs=config.jobs, threads=config.threads)
    if world.first:
        atomic.write_json(root / "extraction.json", report.to_dict())
    for failure in report.failures:
        reporter.note(f"no features [{failure.code}]: {failure.message}")
    if report.failures and not config.skip_failed:
        first = report.failures[0]
        raise VqafastError(
            f"{data.name}: every listed video must be readable, got {len(report.failures)} of "
            f"{len(data.items)} that are not (the first: {first.message}); extraction.json lists them, and "
            "skip_failed goes on without them",
            code=first.code,
            path=str(data.labels),
        )
    return report


def _without(chosen: Split, data: VideoDataset, report: ExtractReport) -> Split:
    failed = {f.name for f in report.failures}
    usable = np.array([item.name not in failed for item in data.items])
    return Split(*(part[usable[part]] for part in (chosen.train, chosen.val, chosen.test)))
