"""log.csv, always; TensorBoard when it is asked for."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Self

from vqafast.errors import EngineUnavailable
from vqafast.training.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType


class RunLog:
    """One row per epoch.

    The file is written anew from all rows, so that it never holds an epoch that the checkpoint
    does not know.
    """

    def __init__(self, directory: Path, tensorboard: bool, enabled: bool = True) -> None:
        self._path = directory / "log.csv"
        self._enabled = enabled
        self._shown = 0
        self._writer: Any = _summary_writer(directory / "tensorboard") if tensorboard and enabled else None

    def __enter__(self) -> Self:
        return self

    def rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Make the log hold exactly `rows`."""
        if not self._enabled:
            return
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._path, text.getvalue())
        if self._writer is not None:
            for row in rows[self._shown :]:
                for name, value in row.items():
                    if name != "epoch":
                        self._writer.add_scalar(name.replace("_", "/", 1), value, row["epoch"])
            self._writer.flush()
        self._shown = len(rows)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise EngineUnavailable(f"tensorboard must be installed: pip install tensorboard: {error}") from error
    # What an earlier process wrote of later epochs is hidden.
    return SummaryWriter(str(folder), purge_step=0)
