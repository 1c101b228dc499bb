"""The progress bar: on a terminal, for long work, and nowhere else."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from vqafast.cli import _progress
from vqafast.scoring.pipeline import Progress

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(
    monkeypatch: pytest.MonkeyPatch,
    stderr: io.StringIO,
    *,
    patience: float = 0.0,
    seconds: float | None = 20.0,
    enabled: bool = True,
) -> str:
    """What a run of ten steps leaves on `stderr`; patched here, for capturing resets it."""
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", stderr)
        patch.setattr(_progress, "_PATIENCE", patience)
        with _progress.Bar("[bold]clip[/].mp4", enabled) as bar:
            for i in range(1, 11):
                bar(Progress(float(i), seconds, i))
    return stderr.getvalue()


def test_long_work_on_a_terminal(monkeypatch):
    # A file name is no markup.
    assert "[bold]clip[/].mp4" in drive(monkeypatch, Terminal())


def test_unknown_length(monkeypatch):
    assert "frames" in drive(monkeypatch, Terminal(), seconds=None)


def test_short_work_shows_nothing(monkeypatch):
    assert drive(monkeypatch, Terminal(), patience=1.5) == ""


def test_quiet(monkeypatch):
    assert drive(monkeypatch, Terminal(), enabled=False) == ""


def test_no_terminal(monkeypatch):
    assert drive(monkeypatch, io.StringIO()) == ""
