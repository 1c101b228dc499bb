"""What a run tells while it goes on; the command line shows it, scripts may ignore it."""

from __future__ import annotations

from typing import Any, Protocol


class Reporter(Protocol):
    """Told by `vqafast.training.runs.run`, in the thread that called it."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A part of the run begins: "features", "train", "predict", "export"; `total` units of work."""

    def advance(self, text: str = "", done: int | None = None) -> None:
        """One more unit is done, or `done` of them; `text` names it."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch ended; `row` is its row of log.csv."""

    def note(self, text: str) -> None:
        """Something that the user must read: a video that failed, a training that was taken up."""


class Silent:
    """A `Reporter` that tells nobody."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Nothing."""

    def advance(self, text: str = "", done: int | None = None) -> None:
        """Nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
