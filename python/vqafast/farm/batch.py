"""A batch: manifest, workers, journal; and what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vqafast
from vqafast.errors import InvalidArgument
from vqafast.farm import manifest, sinks
from vqafast.farm.identity import Stamp, content_of, key_of, scoring_of, stamp_of
from vqafast.farm.journal import Journal
from vqafast.farm.record import Record, failed, scored
from vqafast.farm.workers import workers_of
from vqafast.scoring.crew.base import Crew, Job, Result
from vqafast.scoring.crew.pool import Pool
from vqafast.scoring.crew.worker import Task
from vqafast.scoring.loading import load_spec
from vqafast.scoring.pooling import check_options
from vqafast.scoring.scorer import ScorerOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from vqafast.scoring.segments import Window

#: Codes of failures that may be the machine's fault rather than the file's: `retry="machine"`.
MACHINE = frozenset(
    (
        "internal",
        "timeout",
        "worker_died",
        "memory_limit",
        "cuda_error",
        "engine_unavailable",
        "unreadable",
        "missing_file",
    )
)
_TABLES = {".csv": sinks.write_csv, ".parquet": sinks.write_parquet}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How files are scored, and what is kept of them.

    Attributes
    ----------
    scorer : ScorerOptions
        Of `Scorer`. With "threads" 0 or without, the cores are shared out among the workers.
    workers : int
        Processes; 0 is one for each core of `threads`, on GPUs one for each GPU.
    videos : int
        At once in a process, which share its weights; 0 is 1 on CPUs, and on GPUs as many as keep the
        decoders busy.
    timeout, memory, attempts
        See `Pool`.
    pooling, window, display
        See `Scorer.assess`.
    frames : bool
        Keep seconds and score of every sampled frame.
    content_hash : bool
        Files are told apart by their content (SHA-256) and not by their time of modification.
    retry : {"none", "machine", "all"}
        Which failures of an earlier run are tried again: none; those that may be the machine's fault
        (`MACHINE`); all. A file that has changed is always scored again.
    ray : str or None
        Address of a Ray cluster, on which the workers then are; see `cluster.RayPool`.
    """

    scorer: ScorerOptions = field(default_factory=ScorerOptions)
    workers: int = 0
    videos: int = 0
    timeout: float | None = None
    memory: int | None = None
    attempts: int = 2
    pooling: str | None = None
    window: Window | None = None
    display: Any = None
    frames: bool = False
    content_hash: bool = False
    retry: str = "none"
    ray: str | None = None

    def __post_init__(self) -> None:
        if min(self.workers, self.videos) < 0:
            raise InvalidArgument(
                "batch: workers and videos must be 0 (as many as fit) or more, "
                f"got {self.workers}, {self.videos}"
            )
        if self.retry not in ("none", "machine", "all"):
            raise InvalidArgument(f"batch: retry must be one of none, machine, all, got {self.retry!r}")
        check_options("mean" if self.pooling is None else self.pooling, self.window)


@dataclass(slots=True)
class Summary:
    """What a batch came to.

    Attributes
    ----------
    counts : dict
        Records in the output by error code; "scored" for those with a score.
    new, known, duplicates : int
        Rows of this run: recorded now; that had their record already; that named a file which another
        row of this run had named.
    median, lowest : float or None
        Over the scores in the output.
    below : int
        Scores below the threshold that was asked for.
    workers : int
        Processes that were started, those that replaced others included.
    seconds : float
    complete : bool
        False when it was stopped before its end.
    """

    counts: dict[str, int] = field(default_factory=dict)
    new: int = 0
    known: int = 0
    duplicates: int = 0
    median: float | None = None
    lowest: float | None = None
    below: int = 0
    workers: int = 0
    seconds: float = 0.0
    complete: bool = True

    @property
    def failures(self) -> int:
        """Records of files without a score."""
        return sum(count for code, count in self.counts.items() if code != "scored")


@dataclass(frozen=True, slots=True)
class _Pending:
    item: manifest.Item
    stamp: Stamp
    sha256: str | None
    key: str


class Batch:
    """Scores what manifests name into one output; see `run_batch`."""

    def __init__(self, journal: Journal, options: BatchOptions, on_record: Callable[[Record], None]) -> None:
        self._journal, self._options, self._on_record = journal, options, on_record
        self._pending: dict[int, _Pending] = {}
        self._under_way: set[str] = set()
        self._next = 0
        self.summary = Summary()
        model = load_spec(options.scorer.get("model"))
        settings = {n: options.scorer.get(n) for n in ("device", "engine", "decoder", "samples", "precision")}
        asked = {"pooling": options.pooling, "window": options.window, "frames": options.frames}
        display = None if options.display is None else str(options.display)
        self._scoring = scoring_of(
            model.weights_sha256, vqafast.__version__, {**settings, **asked, "display": display}
        )

    def jobs(self, items: Iterable[manifest.Item]) -> Iterator[Job]:
        """Yield what is left to do; rows that cannot be scored are recorded on the way."""
        for item in items:
            stamp = stamp_of(item.path)
            sha256 = content_of(item.path) if self._options.content_hash and item.problem is None else None
            key = key_of(item.path, stamp, sha256, self._scoring)
            if item.path in self._under_way:
                self.summary.duplicates += 1
                continue
            known = self._journal.known(item.path)
            if known is not None and known.key == key and (known.new or not self._again(known.code)):
                self.summary.duplicates += known.new
                self.summary.known += not known.new
                continue
            pending = _Pending(item, stamp, sha256, key)
            if item.problem is not None:
                self._record(
                    pending, {"status": "failed", "code": "invalid_argument", "message": item.problem}
                )
                continue
            self._pending[self._next] = pending
            self._under_way.add(item.path)
            self._next += 1
            yield Job(Task(self._next - 1, item.path))

    def _again(self, code: str | None) -> bool:
        retry = self._options.retry
        return code is not None and (retry == "all" or (retry == "machine" and code in MACHINE))

    def done(self, result: Result) -> None:
        """Record what a worker said."""
        pending = self._pending.pop(result.index)
        outcome = result.outcome
        if outcome.assessment is not None:
            values = scored(outcome.assessment, frames=self._options.frames, size=pending.stamp.size)
        else:
            assert outcome.error is not None
            values = failed(outcome.error)
        if stamp_of(pending.item.path) != pending.stamp:
            note = {"code": "file_changed", "message": "the file changed while it was scored"}
            values["warnings"] = (*values.get("warnings", ()), note)
        self._record(pending, values, attempts=result.attempts, seconds=round(result.seconds, 6))
        self._under_way.discard(pending.item.path)

    def _record(self, pending: _Pending, values: dict[str, Any], **more: Any) -> None:
        item, stamp = pending.item, pending.stamp
        record = Record(
            path=item.path, key=pending.key, size=stamp.size, mtime_ns=stamp.mtime_ns, sha256=pending.sha256,
            extra=item.extra, **values, **more,
        )  # fmt: skip
        self._journal.add(record)
        self.summary.new += 1
        self._on_record(record)


def run_batch(
    inputs: Iterable[str],
    output: str | os.PathLike[str],
    options: BatchOptions | None = None,
    *,
    column: str | None = None,
    root: str | None = None,
    fresh: bool = False,
    threshold: float | None = None,
    stopping: Callable[[], bool] = lambda: False,
    on_record: Callable[[Record], None] = lambda _: None,
) -> Summary:
    """Score every file that `inputs` name; exactly one record for each ends up in `output`.

    The same call goes on where an earlier one was stopped or killed. Files that have not changed and have
    their record are not scored again.

    Parameters
    ----------
    inputs, column, root
        See `manifest.read`.
    output : path
        ``.jsonl``: grows while the batch runs. ``.csv``, ``.parquet``: written at the end, from a journal
        beside it (``OUTPUT.journal``). A folder gets ``records.jsonl``.
    fresh : bool
        Begin anew instead of going on.
    threshold : float, optional
        Scores below it are counted.
    stopping : callable
        Once it is true, files under way are finished and no other is begun.
    on_record : callable
        Told every record once it is in the journal.

    Raises
    ------
    VqafastError
        When the model cannot be loaded, a manifest cannot be read, or the output cannot be written
        (`OutputError`). What is recorded stays.
    """
    options = options or BatchOptions()
    begun = time.monotonic()
    path, table = journal_of(output)
    with Journal(path, fresh=fresh) as journal:
        batch = Batch(journal, options, on_record)
        with _pool(options) as pool:
            for result in pool.run(batch.jobs(manifest.read(inputs, column=column, root=root)), stopping):
                if result is not None:
                    batch.done(result)
        summary = batch.summary
        summary.complete = not stopping()
        if summary.complete:
            journal.compact()
            if table is not None:
                _TABLES[table.suffix.lower()](journal.records(), table)
        _count(journal, summary, threshold)
    summary.workers = pool.started
    summary.seconds = time.monotonic() - begun
    return summary


def journal_of(output: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """Where the journal of an output is, and the table that is made of it.

    Raises
    ------
    InvalidArgument
        For an output of another kind.
    """
    path = Path(output)
    suffix = path.suffix.lower()
    if path.is_dir() or str(output).endswith(("/", "\\")):
        return path / "records.jsonl", None
    if suffix in _TABLES:
        return path.with_name(f"{path.name}.journal"), path
    if suffix in (".jsonl", ".ndjson"):
        return path, None
    raise InvalidArgument(
        f"batch: output must be a .jsonl, .csv or .parquet file or a folder, got {str(path)!r}"
    )


def _count(journal: Journal, summary: Summary, threshold: float | None) -> None:
    summary.counts = journal.counts()
    total = summary.counts.get("scored", 0)
    for place, score in enumerate(journal.scores()):
        if place == 0:
            summary.lowest = score
        if place == (total - 1) // 2:
            summary.median = score
        if threshold is not None and score < threshold:
            summary.below += 1


def _pool(options: BatchOptions) -> Crew:
    asked = {"pooling": options.pooling, "window": options.window, "display": options.display}
    if options.ray is not None:
        if options.memory is not None:
            raise InvalidArgument("batch: memory is Ray's to limit, it must not be given with ray")
        from vqafast.farm.cluster import RayPool

        return RayPool(
            {**options.scorer, "threads": max(1, options.scorer.get("threads", 0))}, address=options.ray,
            workers=options.workers, timeout=options.timeout, attempts=options.attempts, asked=asked,
        )  # fmt: skip
    devices, threads, videos = workers_of(options.scorer, workers=options.workers, videos=options.videos)
    return Pool(
        {**options.scorer, "threads": threads}, devices, videos=videos, timeout=options.timeout,
        memory=options.memory, attempts=options.attempts, asked=asked,
    )  # fmt: skip
