"""``vqafast dataset``: which datasets can be read, and what of one is there."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads the hints
from typing import TYPE_CHECKING, Annotated

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import printable, reporting
from vqafast.cli._run_progress import RunProgress
from vqafast.errors import EXIT_CODES, EngineUnavailable

if TYPE_CHECKING:
    from vqafast.training.datasets import Report

app = typer.Typer(help="Labelled datasets: what can be read, and what of it is there.", no_args_is_help=True)

_SHOWN = 20


@app.command("list")
def list_command(*, as_json: options.Json = False, debug: options.Debug = False) -> None:
    """List the datasets by name, with the number of videos and the MOS range as published."""
    with reporting(debug):
        try:
            from vqafast.training.datasets import DATASETS
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        if as_json:
            rows = [
                {"name": name, "title": e.title, "videos": e.videos, "mos": e.mos and list(e.mos),
                 "citation": e.citation, "address": e.address}
                for name, e in DATASETS.items()
            ]  # fmt: skip
            print(json.dumps(rows, ensure_ascii=False))
            return
        for name, e in DATASETS.items():
            videos = f"{e.videos} videos" if e.videos else ""
            mos = f"MOS {e.mos[0]:g}..{e.mos[1]:g}" if e.mos else ""
            print(f"{name:14} {e.title:20} {videos:13} {mos:14} {e.citation}".rstrip())


@app.command("check")
def check_command(
    name: Annotated[str, typer.Argument(help="A name that vqafast dataset list shows.")],
    *,
    root: Annotated[Path, typer.Option(help="Folder of the videos; they may lie in folders below it.")],
    labels: Annotated[Path | None, typer.Option(help="Label file; else looked for below the root.")] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="Info file (.mat) or CSV (name, split) with the splits.")
    ] = None,
    as_json: options.Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress; all that is wrong is named.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Find and open every video that the label file lists.

    The exit status is 0 when all are there and open, 3 when some are missing, else that of the first one
    that does not open.
    """
    with reporting(debug):
        try:
            from vqafast.training.datasets import check, load_dataset
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        data = load_dataset(name, root, labels=labels, split_file=split_file)
        with RunProgress(quiet) as progress:
            progress.stage("videos", len(data.items))
            report = check(data, lambda item: progress.advance(item.name))
        if as_json:
            print(json.dumps(report.to_dict(), ensure_ascii=False))
        else:
            _show(report, everything=quiet)
    if report.missing:
        raise typer.Exit(EXIT_CODES["missing_file"])
    if report.unreadable:
        raise typer.Exit(EXIT_CODES.get(report.unreadable[0].code, EXIT_CODES["internal"]))


def _show(report: Report, *, everything: bool) -> None:
    low, high = report.mos
    official = ", ".join(f"{n} {part}" for part, n in report.official.items())
    splits = [official] if official else []
    if report.published:
        splits.append(f"{report.published} published")
    print(f"{report.title} ({printable(report.labels)})")
    print(f"listed      {report.videos} videos, {report.groups} contents")
    print(f"found       {report.found}")
    print(f"missing     {len(report.missing)}")
    print(f"unreadable  {len(report.unreadable)}")
    print(f"MOS         {low:g}..{high:g}")
    print(f"splits      {'; '.join(splits) or 'none official: random by content'}")
    if report.pairs:
        print(f"pairs       {report.pairs} ranked")
    lines = [f"missing: {name}" for name in report.missing]
    lines += [f"unreadable [{u.code}]: {u.message}" for u in report.unreadable]
    shown = lines if everything else lines[:_SHOWN]
    for line in shown:
        print(printable(line))
    if len(shown) < len(lines):
        print(f"and {len(lines) - len(shown)} more; --quiet or --json names all")


def _missing(error: ModuleNotFoundError) -> EngineUnavailable:
    return EngineUnavailable(f"dataset: {error.name} must be installed: pip install 'vqafast[train]'")
