"""``vqafast assess``: everything about one file."""

from __future__ import annotations

import sys
from pathlib import Path as FilePath
from typing import Annotated

import typer

from vqafast.cli import _options as options
from vqafast.cli._progress import Bar
from vqafast.cli._report import digits, printable, reporting, warn
from vqafast.errors import InvalidArgument
from vqafast.scoring.assessment import Assessment  # noqa: TC001 - typer reads the hints of this module

Path = Annotated[str, typer.Argument(help="Video file; - is standard input (YUV4MPEG2 as it comes).")]
Frames = Annotated[bool, typer.Option("--frames", help="Frame scores as CSV: index,pts,score.")]
Maps = Annotated[
    FilePath | None,
    typer.Option(
        "--maps",
        help="Write quality and saliency by region: .npz, or .png to look at. For models that have them.",
    ),
]
_MOST_ROWS = 40


def command(
    path: Path,
    *,
    model: options.Model = None,
    device: options.Device = "cpu",
    engine: options.Engine = None,
    decoder: options.Decoder = "auto",
    precision: options.Precision = "f32",
    threads: options.Threads = 0,
    samples: options.Samples = 1,
    batch: options.Batch = 8,
    pooling: options.Pooling = None,
    window: options.Window = None,
    display: options.Display = None,
    as_json: options.Json = False,
    frames: Frames = False,
    maps: Maps = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Say everything about a video: frame scores, segments, provenance, timings, warnings."""
    # Engines and codecs are loaded only by the commands that use them.
    from vqafast.scoring.maps import check_target
    from vqafast.scoring.scorer import Scorer

    with reporting(debug):
        if as_json and frames:
            raise InvalidArgument("assess: give --json or --frames, not both (--json has the frames)")
        if maps is not None:
            check_target(maps, path)
        length = options.parts(window)
        scorer = Scorer(
            model,
            device=device,
            engine=engine,
            decoder=decoder,
            threads=threads,
            samples=samples,
            precision=precision,
            batch=batch,
            display=display,
        )
        with Bar(path, enabled=not quiet) as bar:
            result = scorer.assess(path, pooling=pooling, window=length, progress=bar, maps=maps is not None)
        if maps is not None:
            low, high = scorer.write_maps(result, maps)
            d = digits(result.scale)
            note = "; red is the lowest and blue the highest" if maps.suffix == ".png" else ""
            if not quiet:
                print(f"maps: {maps}, local quality {low:.{d}f}..{high:.{d}f}{note}", file=sys.stderr)
        if not quiet:
            warn(result.warnings)
        if as_json:
            print(result.to_json(indent=2))
        elif frames:
            print("index,pts,score")
            for frame in result.frames:
                print(f"{frame.index},{frame.pts:.6f},{frame.score:.4f}")
        else:
            _print_tables(result)


def _print_tables(result: Assessment) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False)
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for name, value in _facts(result):
        facts.add_row(name, Text(printable(value)))
    console.print(facts)
    d = digits(result.scale)
    if result.segments:
        table = Table("from", "to", "score", "frames", title="segments", title_justify="left")
        for segment in result.segments:
            half = "" if segment.uncertainty is None else f" +- {segment.uncertainty:.{d}f}"
            table.add_row(
                f"{segment.start:.2f}", f"{segment.end:.2f}", f"{segment.score:.{d}f}{half}",
                str(segment.frames),
            )  # fmt: skip
        console.print(table)
    table = Table("frame", "seconds", "score", title="frames", title_justify="left")
    for frame in result.frames[:_MOST_ROWS]:
        table.add_row(str(frame.index), f"{frame.pts:.3f}", f"{frame.score:.{d}f}")
    console.print(table)
    if len(result.frames) > _MOST_ROWS:
        console.print(f"... {len(result.frames) - _MOST_ROWS} more with --frames or --json")


def _facts(result: Assessment) -> list[tuple[str, str]]:
    scale, video, counts, times = result.scale, result.video, result.counts, result.timings
    plan = result.sampling
    rate = "" if plan.rate is None else f", {plan.rate:g} a second"
    duration = "?" if video.duration is None else f"{video.duration:.2f} s"
    fps = "?" if video.frame_rate is None else f"{video.frame_rate:g} fps"
    facts = [
        ("score", f"{result.score:.{digits(scale)}f}  ({scale.min:g}..{scale.max:g}, "
                  f"{scale.direction.replace('_', ' ')})"),
        ("meaning", f"{scale.name}: {scale.meaning}"),
        ("pooling", result.pooling),
        ("path", result.path),
        ("video", f"{video.codec} in {video.container}, {video.width}x{video.height} "
                  f"(shown {video.display_width}x{video.display_height}), {video.pixel_format}, "
                  f"{video.matrix} {'full' if video.full_range else 'limited'} range, {fps}, "
                  f"{duration}"),
        ("model", f"{result.model.name} {result.model.version}, weights sha256 "
                  f"{result.model.weights_sha256}"),
        ("sampling", f"{plan.kind}{rate}, bursts of {plan.burst}, windows of "
                     f"{plan.window or 'all'} samples, draws {plan.draws}"),
        ("frames", f"{counts.scored} scored, {counts.decoded} decoded, {counts.skipped} skipped, "
                   f"{counts.corrupt} corrupt, {counts.lost} lost, {counts.dropped} samples dropped"),
        ("run on", f"{result.device}, {result.engine}, {result.precision}, "
                   f"{result.threads} threads, decoder {result.decoder}"),
        ("seconds", f"open {times.open:.3f}, decode {times.decode:.3f}, ingest {times.ingest:.3f}, "
                    f"backbone {times.backbone:.3f}, head {times.head:.3f}; total {times.total:.3f}"),
        ("version", f"vqafast {result.library_version}"),
    ]  # fmt: skip
    facts[1:1] = _doubts(result)
    if result.display is not None:
        on = result.display
        facts.insert(-3, ("display", f"{on.width}x{on.height}, the picture on it {on.shown_width}x"
                                     f"{on.shown_height}"))  # fmt: skip
    if result.attributes:
        facts.insert(-3, ("attributes", ", ".join(f"{a.name} {a.value:.3f}" for a in result.attributes)))
    if result.bitstream:
        facts.insert(-3, ("bitstream", ", ".join(f"{b.name} {b.value:.3g}" for b in result.bitstream)))
    return facts


def _doubts(result: Assessment) -> list[tuple[str, str]]:
    """What is known of how far off the score is."""
    doubts = []
    if result.uncertainty is not None:
        u = result.uncertainty
        doubts.append(
            ("uncertainty", f"+- {u.half_width:.1f} ({u.low:.1f}..{u.high:.1f}) for {u.coverage:.0%} of "
                            f"videos, {u.meaning}; {u.members} heads with std {u.spread:.2f}")
        )  # fmt: skip
    if result.spread is not None:
        spread = result.spread
        interval = "" if spread.low is None else f", 95% {spread.low:.2f}..{spread.high:.2f}"
        doubts.append(("spread", f"std {spread.std:.2f} over {spread.samples} draws{interval}"))
    return doubts
