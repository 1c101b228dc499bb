"""``vqafast score``: one number per file."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from vqafast.cli import _options as options
from vqafast.cli._progress import Bar
from vqafast.cli._report import describe, digits, fail, printable, reporting, warn
from vqafast.scoring.assessment import Assessment  # noqa: TC001 - typer reads the hints of this module

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Video files; - is standard input (YUV4MPEG2 as it comes)."),
]


def command(
    paths: Paths,
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
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Score videos. A file that fails does not stop the others."""
    # Engines and codecs are loaded only by the commands that use them.
    from vqafast.scoring.pooling import check_pooling
    from vqafast.scoring.scorer import Scorer

    status = 0
    with reporting(debug):
        length = options.parts(window)
        if pooling is not None:
            check_pooling(pooling)
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
        for path in paths:
            try:
                with Bar(path, enabled=not quiet) as bar:
                    result = scorer.assess(path, pooling=pooling, window=length, progress=bar)
            except Exception as error:
                code, message = describe(error, debug)
                _print_failure(path, code, message, as_json, alone=len(paths) == 1)
                failed = fail(code, message, path)
                status = status or failed
                continue
            if not quiet:
                warn(result.warnings, path if len(paths) > 1 else None)
            if as_json:
                _print_line(json.dumps(summary(result), ensure_ascii=False))
            else:
                _print_result(result, alone=len(paths) == 1, quiet=quiet)
    if status:
        raise typer.Exit(status)


def summary(result: Assessment) -> dict[str, Any]:
    """One record per file, without the per-frame series: what ``score --json`` prints."""
    plain = result.to_dict()
    keys = ("path", "score", "uncertainty", "scale", "pooling", "display", "segments", "spread", "model",
            "warnings")  # fmt: skip
    return {
        **{key: plain[key] for key in keys},
        "frames": result.counts.scored,
        "seconds": result.timings.total,
    }


def _print_result(result: Assessment, alone: bool, quiet: bool) -> None:
    scale, d = result.scale, digits(result.scale)
    if not alone:
        _print_line(f"{result.score:.{d}f}  {printable(result.path)}")
    elif quiet:
        _print_line(f"{result.score:.{d}f}")
    else:
        half = "" if result.uncertainty is None else f" +- {result.uncertainty.half_width:.{d}f}"
        _print_line(
            f"{result.score:.{d}f}{half}  ({scale.min:g}..{scale.max:g}, {scale.direction.replace('_', ' ')})"
        )
    for part in result.segments:
        half = "" if part.uncertainty is None or quiet or not alone else f" +- {part.uncertainty:.{d}f}"
        _print_line(f"  {part.start:.2f}..{part.end:.2f} s  {part.score:.{d}f}{half}")
    if alone and not quiet:
        _print_line(about(result))


def about(result: Assessment) -> str:
    """Write the line below the score: model, frames, seconds; display and spread if there is one."""
    scored = result.counts.scored
    parts = [
        f"{result.model.name} {result.model.version}",
        f"{scored} frame{'' if scored == 1 else 's'} scored",
        f"{result.timings.total:.2f} s",
    ]
    if result.display is not None:
        parts.insert(1, f"on a display of {result.display.width}x{result.display.height}")
    if result.spread is not None:
        d = digits(result.scale)
        text = f"{result.spread.samples} draws: std {result.spread.std:.{d + 1}f}"
        if result.spread.low is not None and result.spread.high is not None:
            text += f", 95% {result.spread.low:.{d}f}..{result.spread.high:.{d}f}"
        parts.append(text)
    return ", ".join(parts)


def _print_failure(path: str, code: str, message: str, as_json: bool, alone: bool) -> None:
    if as_json:
        record = {"path": path, "error": {"code": code, "message": message}}
        _print_line(json.dumps(record, ensure_ascii=False))
    elif not alone:
        _print_line(f"  --  {printable(path)}  error[{code}]")


def _print_line(text: str) -> None:
    # Flushed, so that a script that reads the pipe has each file's line when the file is done.
    print(text, flush=True)
