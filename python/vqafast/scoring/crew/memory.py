"""What a process holds in memory."""

from __future__ import annotations

import os


def resident(pid: int) -> int | None:
    """Bytes that a process holds in memory; None where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def proportional(pid: int) -> int | None:
    """Like `resident`, a page that n processes share counted as a part of n."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return resident(pid)
