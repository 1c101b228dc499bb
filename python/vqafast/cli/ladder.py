"""``vqafast ladder``: renditions against their source."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the hints
from typing import TYPE_CHECKING, Annotated

import typer

from vqafast.cli import _options as options
from vqafast.cli._report import fail, printable, reporting
from vqafast.scoring.assessment import decimals

if TYPE_CHECKING:
    from vqafast.farm.ladder import Ladder, Rung


def command(
    source: Annotated[str, typer.Argument(help="What the renditions were made of.")],
    renditions: Annotated[list[str], typer.Argument(metavar="RENDITION...", help="Its encodes.")],
    *,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with curves too.")] = None,
    as_json: options.Json = False,
    display: options.Display = None,
    window: Annotated[str, typer.Option("--window", help="Parts that are compared: 2s, 500ms, 1m.")] = "2s",
    model: options.Model = None,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    debug: options.Debug = False,
) -> None:
    """Compare renditions with their source, as they look on one display: its own size if none is given.

    Differences within the uncertainty say little.
    """
    with reporting(debug):
        from vqafast.farm.ladder import ladder
        from vqafast.video.display import Display

        shown = None if display is None else Display.of(display)
        size = None if shown is None else (shown.width, shown.height)
        length = options.seconds(window)
        assert length is not None
        made = ladder(
            source, renditions, display=size, window=length, model=model, device=device, threads=threads
        )
        if html is not None:
            from vqafast.farm.report.pages import ladder_page, write_page

            write_page(html, ladder_page(made, title=f"Ladder of {made.rungs[0].name}"))
        if as_json:
            print(json.dumps(asdict(made), ensure_ascii=False))
        else:
            _show(made)
    failure = made.first_failure
    if failure is not None:
        raise typer.Exit(fail(failure.code or "internal", failure.message or "", failure.path))


def _show(made: Ladder) -> None:
    wide, high = made.display
    print(f"{made.model}, on a display of {wide}x{high}")
    d = decimals(made.scale_min, made.scale_max)
    head = ("file", "picture", "codec", "Mbit/s", "score", "+-", "delta", "worst", "at, s")
    table = [head, *(_cells(r, d) for r in made.rungs)]
    # A row that says only why there is no score does not widen the columns.
    widths = [max(len(row[i]) for row in table if i == 0 or len(row) == len(head)) for i in range(len(head))]
    for place, row in enumerate(table):
        # Names and codecs begin at the left, numbers end at the right.
        cells = [f"{c:{'<' if i in (0, 2) else '>'}{widths[i]}}" for i, c in enumerate(row)]
        print("  ".join(cells).rstrip())
        for note in made.rungs[place - 1].notes if place else ():
            print(f"  {printable(note)}")
    print("delta: to the source; worst: to the source, in the window where it is lowest")
    print("Differences within the uncertainty (+-) say little.")


def _cells(r: Rung, d: int) -> tuple[str, ...]:
    name = printable(r.name)
    if r.score is None:
        return name, "--", f"error[{r.code}]"
    return (
        name,
        f"{r.width}x{r.height}",
        r.codec,
        "" if r.bit_rate is None else f"{r.bit_rate / 1e6:.3f}",
        f"{r.score:.{d}f}",
        "" if r.uncertainty is None else f"{r.uncertainty:.{d}f}",
        "" if r.delta is None else f"{r.delta:+.{d}f}",
        "" if r.worst_delta is None else f"{r.worst_delta:+.{d}f}",
        "" if r.worst_start is None else f"{r.worst_start:.1f}",
    )
