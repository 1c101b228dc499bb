"""A run: data set, split, training, predictions, figures, exported model; resumable.

A2INet's head learns from stored features; networks over clips learn end to end.

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
from vqafast.models.a2inet.variants import VARIANTS
from vqafast.training import atomic, distributed
from vqafast.training.clips.job import ClipJob, refuse_options, start_of
from vqafast.training.clips.system import NAMES as CLIP_MODELS
from vqafast.training.clips.system import system_of
from vqafast.training.content_hash import ContentHashes
from vqafast.training.datasets import VideoDataset, load_dataset
from vqafast.training.extract import ExtractReport, Video, extract, probe
from vqafast.training.feature_store import CONTENT, FeatureStore
from vqafast.training.job import Job
from vqafast.training.parts import Parts, parts_of
from vqafast.training.reporter import Reporter, Silent
from vqafast.training.run_config import RunConfig
from vqafast.training.run_results import WEIGHTS, Prediction, RunResult, conclude, finished
from vqafast.training.splits import Split, splits
from vqafast.training.trainer import CHECKPOINT

if TYPE_CHECKING:
    import os

    from vqafast.training.clips.system import ClipSystem
    from vqafast.training.distributed import World
    from vqafast.training.labelled import LabelledJob

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
    system: ClipSystem | None = None,
) -> RunResult:
    """Do what `config` says, or what is left of it.

    Parameters
    ----------
    directory : path
        The run's own; made if it is missing.
    resume : bool
        Go on from what is there; a finished run is read back. False starts the training over;
        stored features are kept either way.
    dataset, parts, system : optional
        Instead of those that the config names: `parts` for A2INet, `system` for a network over clips.

    Raises
    ------
    InvalidArgument
        When the directory holds another run, the data cannot be split, or the model has no use for an
        option.
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
    if system is None and parts is None and config.model in CLIP_MODELS:
        system = system_of(config.model)
    if system is None and parts is None and config.model not in VARIANTS:
        known = ", ".join([*(n for n in VARIANTS if n.startswith("a2inet")), *CLIP_MODELS])
        raise InvalidArgument(
            f"run: model must be one of {known}, or a row of A2INet's tables such as table7-ss-fe, "
            f"got {config.model!r}"
        )
    job: LabelledJob
    if system is not None:
        job = _over_clips(config, root, data, system, world, reporter, resume)
    else:
        job = _on_features(config, root, data, parts or parts_of(config), world, reporter, resume)
    for names in job.leaks():
        reporter.note(f"the same file is in the training and in another part: {', '.join(names)}")
    done = finished(root, config, job.fingerprint)
    if done is not None:
        reporter.note(f"{root}: already finished")
        return done
    model, outcome = job.train(world, reporter, resume)
    return conclude(job, model, outcome, world, reporter)


def _on_features(
    config: RunConfig,
    root: Path,
    data: VideoDataset,
    parts: Parts,
    world: World,
    reporter: Reporter,
    resume: bool,
) -> Job:
    if parts.random:
        reporter.note(f"random backbones ({', '.join(parts.random)}): the scores will measure no quality")
    _begin(root, config, resume, world)
    store = FeatureStore(features_folder(config, root), parts.backbones().key())
    report = _read_videos(config, data, parts, store, world, reporter)
    return Job(config, root, data, _settled(config, root, data, report, world, reporter), parts, store)


def _over_clips(
    config: RunConfig,
    root: Path,
    data: VideoDataset,
    system: ClipSystem,
    world: World,
    reporter: Reporter,
    resume: bool,
) -> ClipJob:
    refuse_options(config, system)
    weights = {n: getattr(config, n) for n in system.weights if getattr(config, n) is not None}
    start, digest = start_of(system, weights, config.seed)
    for note in start.notes:
        reporter.note(note)
    if start.random and not config.random_backbones:
        raise InvalidArgument(
            f"run: {', '.join(start.random)} must have weights, got none: init, clip_weights or "
            "contrique_weights bring them, and random_backbones leaves them random, for tests"
        )
    if start.random:
        reporter.note(f"random parts ({', '.join(start.random)}): the scores will measure no quality")
    _begin(root, config, resume, world)
    folder = features_folder(config, root)
    folder.mkdir(parents=True, exist_ok=True)
    hashes = ContentHashes(folder / CONTENT)
    reporter.stage("videos", len(data.items))

    def progress(item: Video, outcome: str) -> None:
        reporter.advance(f"{item.name} {outcome}")

    report = probe(data.items, lambda item: hashes.of(item.path), progress)
    split = _settled(config, root, data, report, world, reporter)
    return ClipJob(config, root, data, split, system, start, digest, hashes)


def _begin(root: Path, config: RunConfig, resume: bool, world: World) -> None:
    if world.first:
        _claim(root, config, resume)
    world.barrier()


def _claim(root: Path, config: RunConfig, resume: bool) -> None:
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
        return probe(data.items, store.content, progress)
    backbones = parts.backbones(world.device)
    report = extract(mine, backbones, store, jobs=config.jobs, threads=config.threads, progress=progress)
    if world.size > 1:
        # The others' videos are in the store by now; what failed there fails here again.
        world.barrier()
        report = extract(data.items, backbones, store, jobs=config.jobs, threads=config.threads)
    return report


def _settled(
    config: RunConfig,
    root: Path,
    data: VideoDataset,
    report: ExtractReport,
    world: World,
    reporter: Reporter,
) -> Split:
    """The config's split of the videos that can be read; what cannot is told, and refused unless skipped."""
    if world.first:
        atomic.write_json(root / "extraction.json", report.to_dict())
    for failure in report.failures:
        reporter.note(f"not used [{failure.code}]: {failure.message}")
    if report.failures and not config.skip_failed:
        first = report.failures[0]
        raise VqafastError(
            f"{data.name}: every listed video must be readable, got {len(report.failures)} of "
            f"{len(data.items)} that are not (the first: {first.message}); extraction.json lists them, and "
            "skip_failed goes on without them",
            code=first.code,
            path=str(data.labels),
        )
    ratio = cast("Any", config.ratio)
    chosen = splits(data, config.splits, config.split_seed, ratio)[config.split]
    failed = {f.name for f in report.failures}
    usable = np.array([item.name not in failed for item in data.items])
    return Split(*(part[usable[part]] for part in (chosen.train, chosen.val, chosen.test)))
