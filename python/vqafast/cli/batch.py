"""``vqafast batch``: many files into one output, whatever happens on the way."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from vqafast.cli import _options as options
from vqafast.cli._report import fail, printable, reporting
from vqafast.errors import EXIT_CODES
from vqafast.signals import Interruption

if TYPE_CHECKING:
    from vqafast.farm.batch import Summary
    from vqafast.farm.record import Record

# Seconds between lines of progress where there is no terminal to draw on.
_EVERY = 30.0

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Manifests (.csv, .tsv, .jsonl, .parquet), lists (.txt, - for standard input), folders, "
        "patterns, videos.",
    ),
]


def command(
    inputs: Inputs,
    *,
    output: Annotated[
        str, typer.Option("-o", "--output", help="A .jsonl, .csv or .parquet file, or a folder.")
    ],
    workers: options.Workers = 0,
    videos: options.Videos = 0,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="A file may take so long: 120, 2m.")
    ] = None,
    memory: options.Memory = None,
    attempts: Annotated[
        int, typer.Option("--attempts", help="Processes that may die of a file before it is given up.")
    ] = 2,
    fail_below: Annotated[
        float | None, typer.Option("--fail-below", help="Exit status 26 when a score is below.")
    ] = None,
    retry: Annotated[
        str,
        typer.Option(
            "--retry", help="Earlier failures to try again: none, machine (timeouts, crashes), all."
        ),
    ] = "none",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew; what OUTPUT holds is removed.")] = False,
    column: Annotated[
        str | None, typer.Option("--column", help="Column with the path.  [default: path, file, filename...]")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option("--root", help="Where relative paths begin.  [default: the manifest's folder]"),
    ] = None,
    frames: Annotated[bool, typer.Option("--frames", help="Keep the score of every sampled frame.")] = False,
    content_hash: Annotated[
        bool, typer.Option("--content-hash", help="Tell files apart by content, not by time of modification.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Workers on a Ray cluster: its address, auto, or local for this machine."),
    ] = None,
    model: options.Model = None,
    device: options.Device = "cpu",
    engine: options.Engine = None,
    decoder: options.Decoder = "auto",
    precision: options.Precision = "f32",
    threads: options.EachThreads = 0,
    samples: options.Samples = 1,
    batch: options.Batch = 8,
    pooling: options.Pooling = None,
    window: options.Window = None,
    display: options.Display = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
    debug: options.Debug = False,
) -> None:
    """Score many files: one record for each, also for those that cannot be scored.

    The same command goes on where it was stopped. Ctrl-C and SIGTERM let files under way finish.
    """
    with reporting(debug):
        from vqafast.farm.batch import BatchOptions, run_batch

        chosen = BatchOptions(
            scorer={
                "model": model, "device": device, "engine": engine, "decoder": decoder,
                "precision": precision, "threads": threads, "samples": samples, "batch": batch,
            },
            workers=workers, videos=videos, timeout=options.seconds(timeout, "timeout"),
            memory=options.size(memory, "memory"), attempts=attempts, pooling=pooling,
            window=options.parts(window), display=display, frames=frames, content_hash=content_hash,
            retry=retry, ray=ray,
        )  # fmt: skip
        stop = Interruption("stopping: files under way are finished; once more stops now")
        with stop, _Lines(not quiet) as lines:
            summary = run_batch(
                inputs, output, chosen, column=column, root=root, fresh=fresh, threshold=fail_below,
                stopping=lambda: stop.asked, on_record=lines.record,
            )  # fmt: skip
    if not quiet:
        _show(summary, output, fail_below)
    raise typer.Exit(_status(summary, stop.received))


class _Lines:
    """Progress on stderr: a line that is drawn again on a terminal, one every half minute elsewhere."""

    def __init__(self, enabled: bool) -> None:
        self._enabled, self._terminal = enabled, sys.stderr.isatty()
        self._begun = self._shown = time.monotonic()
        self._done = self._failed = 0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._enabled and self._done:
            print(file=sys.stderr)

    def record(self, record: Record) -> None:
        """Count one."""
        self._done += 1
        self._failed += record.status == "failed"
        now = time.monotonic()
        if not self._enabled or now - self._shown < (0.2 if self._terminal else _EVERY):
            return
        self._shown = now
        rate = self._done / (now - self._begun)
        text = f"{self._done} files, {self._failed} failed, {rate:.1f} files/s"
        if self._terminal:
            print(f"\r\033[K{text}  {printable(record.path)[-60:]}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _show(summary: Summary, output: str, threshold: float | None) -> None:
    parts = [f"{summary.new} files in {summary.seconds:.1f} s"]
    if summary.known:
        parts.append(f"{summary.known} had their record")
    if summary.duplicates:
        parts.append(f"{summary.duplicates} rows named a file again")
    print(f"{', '.join(parts)}; {printable(output)} has:", file=sys.stderr)
    for code, count in sorted(summary.counts.items(), key=lambda pair: (pair[0] != "scored", -pair[1])):
        print(f"  {count:8}  {code}", file=sys.stderr)
    if summary.median is not None and summary.lowest is not None:
        print(f"  scores: median {summary.median:.2f}, lowest {summary.lowest:.2f}", file=sys.stderr)
    if threshold is not None:
        print(f"  {summary.below:8}  below {threshold:g}", file=sys.stderr)


def _status(summary: Summary, received: int | None) -> int:
    if not summary.complete:
        print("stopped: the same command goes on", file=sys.stderr)
        return 128 + (received or signal.SIGINT)
    if summary.below:
        return fail("below_threshold", f"{summary.below} files have a score below the threshold")
    if summary.failures:
        return EXIT_CODES["files_failed"]
    return 0
