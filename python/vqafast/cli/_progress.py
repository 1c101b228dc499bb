"""A progress bar for long work, on a terminal only."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    import rich.progress

    from vqafast.scoring.pipeline import Progress

# Work that ends sooner is not worth a bar that flashes.
_PATIENCE = 1.5


class Bar:
    """Context manager; give it to `Scorer.assess` as ``progress``.

    Parameters
    ----------
    label : str
        Shown before the bar.
    enabled : bool
        Nothing is ever drawn when false, or when stderr is not a terminal.
    """

    def __init__(self, label: str, enabled: bool = True) -> None:
        self._label = label
        self._enabled = enabled and sys.stderr.isatty()
        self._began = time.monotonic()
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, progress: Progress) -> None:
        """Show `progress` once the work has taken a while."""
        if not self._enabled or time.monotonic() - self._began < _PATIENCE:
            return
        if self._bar is None:
            self._start()
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                total=progress.duration,
                completed=progress.pts,
                description=f"{self._label}  {progress.frames} frames",
            )

    def _start(self) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._label = escape(self._label)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._label, total=None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
