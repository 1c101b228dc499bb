"""The ``vqafast`` command: one module per subcommand, put together here."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from vqafast.cli import (
    ablate,
    assess,
    batch,
    dataset,
    doctor,
    evaluate,
    ladder,
    models,
    mos,
    report,
    score,
    serve,
    train,
    version,
)
from vqafast.cli._report import INTERRUPTED, fail, silence_stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="vqafast",
    help="Blind (no-reference) video quality scores.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("score")(score.command)
app.command("assess")(assess.command)
app.command("batch")(batch.command)
app.add_typer(dataset.app, name="dataset")
app.command("doctor")(doctor.command)
app.command("evaluate")(evaluate.command)
app.command("ablate")(ablate.command)
app.command("ladder")(ladder.command)
app.add_typer(models.app, name="models")
app.command("mos")(mos.command)
app.command("report")(report.command)
app.command("serve")(serve.command)
app.command("train")(train.command)
app.command("version")(version.command)

# Typer may carry its own copy of click, so the base of its usage errors is found, not imported.
_ClickException: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # File names are bytes; one that is not text must not end the program when it is printed.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = app(arguments, prog_name="vqafast", standalone_mode=False)
        sys.stdout.flush()
    except _ClickException as error:
        return fail("invalid_argument", error.format_message())  # type: ignore[attr-defined]
    except BrokenPipeError:
        return silence_stdout()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def main() -> NoReturn:
    """Entry point of the ``vqafast`` script."""
    status = run()
    if status == INTERRUPTED:
        # Threads of a decoder or engine may still be at work; nobody waits for them any more.
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    sys.exit(status)
