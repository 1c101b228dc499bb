"""``vqafast report``: a batch as a page that a person reads."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - typer reads the hints
from typing import Annotated

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import printable, reporting
from vqafast.errors import InvalidArgument


def command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="RECORDS...", help="Results of vqafast batch: .jsonl, or folders.")
    ],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")],
    title: Annotated[str, typer.Option("--title", help="Its heading.")] = "Video quality",
    worst: Annotated[int, typer.Option("--worst", help="Files and segments in the lists of the worst.")] = 20,
    below: Annotated[
        float | None, typer.Option("--below", help="Count and mark scores below this one.")
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Write one HTML file: distribution, worst files and segments, failures by reason.

    It needs no network.
    """
    with reporting(debug):
        from vqafast.farm.report.gather import gather, read_records
        from vqafast.farm.report.pages import report_page, write_page

        if not 0 <= worst <= 10_000:
            raise InvalidArgument(f"report: worst must be in 0..10000, got {worst}")
        g = gather(read_records(inputs), worst=worst, threshold=below)
        names = ", ".join(os.path.basename(os.path.abspath(name)) for name in inputs)
        write_page(output, report_page(g, title=title, source=names, threshold=below))
        print(f"{g.scored} scored, {g.failed} failed: {printable(str(output))}")
