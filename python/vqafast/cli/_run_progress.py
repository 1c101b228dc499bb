"""Shows a training run: bars on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

from vqafast.cli._report import printable

if TYPE_CHECKING:
    from types import TracebackType

    import rich.progress

_STAGES = {"features": "features", "train": "training", "predict": "predictions", "export": "export"}


class RunProgress:
    """A `vqafast.training.reporter.Reporter` and context manager; everything goes to stderr.

    Parameters
    ----------
    quiet : bool
        Notes only.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress
            from rich.progress import TimeRemainingColumn as Remaining

            columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), Remaining()]
            text = TextColumn("{task.description}", markup=False)
            self._bar = RichProgress(text, *columns, console=Console(stderr=True))
            self._bar.start()
        return self

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a new bar."""
        if self._bar is not None:
            self._task = self._bar.add_task(_STAGES.get(name, name), total=total or None)
        elif not self._quiet:
            print(
                f"{_STAGES.get(name, name)}: {total}" if total else _STAGES.get(name, name), file=sys.stderr
            )

    def advance(self, text: str = "", done: int | None = None) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            return
        change: dict[str, Any] = {"advance": 1} if done is None else {"completed": done}
        if text:
            change["description"] = printable(text)
        self._bar.update(self._task, **change)

    def epoch(self, row: dict[str, Any]) -> None:
        """One line of figures."""
        if not self._quiet:
            figures = [f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"]
            self._say(f"epoch {row['epoch']}: {', '.join(figures)}")

    def note(self, text: str) -> None:
        """One line, also when quiet."""
        self._say(f"note: {printable(text)}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
