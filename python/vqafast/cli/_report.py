"""How errors and warnings are printed, and what the process then returns."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING

import typer

from vqafast.errors import EXIT_CODES, VqafastError
from vqafast.scoring.assessment import decimals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vqafast.scoring.assessment import Scale, WarningNote

INTERRUPTED = 130
BROKEN_PIPE = 141
INTERNAL = "internal"


def fail(code: str, message: str, path: str | None = None) -> int:
    """Print ``error[code]: message`` to stderr and return the exit status of `code`."""
    where = f"{path}: " if path and path not in message else ""
    print(f"error[{code}]: {printable(where + message)}", file=sys.stderr)
    return EXIT_CODES.get(code, EXIT_CODES[INTERNAL])


def warn(warnings: Iterable[WarningNote], path: str | None = None) -> None:
    """Print ``warning[code]: message`` lines to stderr."""
    where = f"{path}: " if path else ""
    for warning in warnings:
        print(f"warning[{warning.code}]: {printable(where + warning.message)}", file=sys.stderr)


def describe(error: Exception, debug: bool) -> tuple[str, str]:
    """Code and message of `error`; prints the traceback of an unexpected one under `debug`."""
    if isinstance(error, VqafastError):
        return error.code, str(error)
    if debug:
        traceback.print_exception(error)
    hint = "" if debug else " (--debug shows the traceback)"
    return INTERNAL, f"{type(error).__name__}: {error}{hint}"


@contextlib.contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Turn exceptions of a command into one line on stderr and the matching exit status."""
    try:
        yield
    except typer.Exit:
        raise
    except BrokenPipeError:
        raise typer.Exit(silence_stdout()) from None
    except Exception as error:
        code, message = describe(error, debug)
        raise typer.Exit(fail(code, message, getattr(error, "path", None))) from None


def silence_stdout() -> int:
    """Point stdout nowhere after its reader has gone, so that no later flush complains."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return BROKEN_PIPE


def printable(text: str) -> str:
    """`text` on one line and without characters that could steer a terminal.

    File names and messages of libraries may hold either.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def digits(scale: Scale) -> int:
    """See `decimals`."""
    return decimals(scale.min, scale.max)
