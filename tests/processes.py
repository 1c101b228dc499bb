"""What processes there are."""

from __future__ import annotations

import contextlib
from pathlib import Path


def descendants(process: int) -> list[int]:
    """Processes that any thread of a process has started, and theirs."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for pid in map(int, (task / "children").read_text().split()):
                found += [pid, *descendants(pid)]
    return found
