"""``vqafast doctor``: what this build and this machine can do, and why not the rest."""

from __future__ import annotations

import dataclasses
import json

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._probes import Finding, probe_all
from vqafast.cli._report import printable, reporting
from vqafast.errors import EXIT_CODES


def command(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Check this installation. The exit status is 0 unless nothing could be scored."""
    with reporting(debug):
        findings = probe_all()
        broken = [f for f in findings if f.status == "broken"]
        if as_json:
            record = {
                "can_score": not broken,
                "findings": [dataclasses.asdict(f) for f in findings],
            }
            print(json.dumps(record, indent=2, ensure_ascii=False))
        else:
            _print_report(findings)
            print("scoring: " + ("works" if not broken else f"impossible ({broken[0].name})"))
        if broken:
            raise typer.Exit(EXIT_CODES.get(broken[0].code or "internal", 1))


def _print_report(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "absent": "dim", "broken": "bold red"}
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(
            Text(finding.status, style=styles[finding.status]),
            finding.name,
            Text(printable(finding.detail)),
        )
    Console(highlight=False).print(table)
