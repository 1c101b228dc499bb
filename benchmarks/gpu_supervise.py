"""Cases of a GPU benchmark in a second process: one that dies or hangs costs its own row, and no row is lost.

A part of a benchmark is a dictionary with ``results``, a row for each case, and ``progress``. It stands in a
JSON file, alone or beside another part, and Markdown of the whole file lies beside that. Both are written
after every case.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_tables import markdown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

AGAIN = 75  # exit status of a worker that must go on in a new process
MESSAGE_LENGTH = 200

Row = dict[str, Any]


class AgainError(Exception):
    """The case is to be measured once more, in a new process."""


@dataclass
class Record:
    """A results file, and what it holds."""

    path: Path
    state: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Record:
        """What another process saved."""
        return cls(path, json.loads(path.read_text(encoding="utf-8")))

    def part(self, name: str) -> dict[str, Any]:
        """Where the file holds one part only, it is that."""
        part: dict[str, Any] = self.state.get(name, self.state)
        return part

    def save(self) -> None:
        """Each file whole or not at all: a worker may be killed at any time."""
        for suffix, text in ((".json", json.dumps(self.state, indent=1)), (".md", markdown(self.state))):
            part = self.path.with_suffix(".part")
            part.write_text(text + "\n", encoding="utf-8")
            os.replace(part, self.path.with_suffix(suffix))


def started() -> dict[str, Any]:
    """Results and progress of a part before its first case."""
    return {"results": [], "progress": {"next": 0, "total": None, "running": None}}


def message(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text[:MESSAGE_LENGTH].replace("|", "/")


def succeeded(part: dict[str, Any]) -> bool:
    """Whether there are cases, and every one was measured whole."""
    results = part["results"]
    reached = bool(results) and len(results) == part["progress"]["total"]
    return reached and not any("failed" in row or "plain_failed" in row for row in results)


# The worker


def add_worker(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What `supervise` starts."""
    worker = commands.add_parser("work", help="measure what is left to do in a results file")
    worker.add_argument("path", type=Path)
    worker.add_argument("--until", type=float, required=True, help="seconds of time.monotonic")


def run_cases(
    record: Record,
    name: str,
    cases: Sequence[tuple[Row, Callable[[], Row]]],
    *,
    limit: Callable[[int], int],
    healthy: Callable[[], bool],
) -> int:
    """Measure cases from where part `name` says, until all are done (0) or a new process must go on.

    Parameters
    ----------
    cases : sequence
        What says which case it is, and what gives its row.
    limit : callable
        Seconds that a case may take when so many are left; 0 for any number.
    healthy : callable
        Whether this process can still be trusted; asked after each case.
    """
    part = record.part(name)
    progress = part["progress"]
    progress["total"] = len(cases)
    for index in range(progress["next"], len(cases)):
        label, measured = cases[index]
        seconds = limit(len(cases) - index)
        progress |= {"running": label, "limit_s": seconds}
        record.save()
        signal.alarm(seconds)  # ends the process, which nothing else can while a kernel hangs
        try:
            row = label | measured()
        except AgainError:
            progress["running"] = None
            record.save()
            return AGAIN
        except Exception as error:
            row = label | {"failed": message(error)}
        part["results"].append(row)
        progress |= {"next": index + 1, "running": None}
        record.save()
        if not healthy():
            return AGAIN
    signal.alarm(0)
    return 0


# The parent process


def supervise(path: Path, name: str, script: str, budget: float) -> Record:
    """Run workers of `script` until every case of part `name` has a row or `budget` seconds are over."""
    until = time.monotonic() + budget
    program = str(Path(__file__).with_name(script))
    command = [sys.executable, program, "work", str(path), "--until", str(until)]
    while True:
        code: int | None
        try:
            left = max(0.1, until - time.monotonic())
            code = subprocess.run(command, timeout=left, check=False).returncode
        except subprocess.TimeoutExpired:
            code = None
        record = Record.read(path)
        part = record.part(name)
        progress = part["progress"]
        running = progress["running"]
        if code not in (0, AGAIN) and running is not None:
            why = f"ended with status {code}"
            if code is None:
                why = f"the time of {budget:.0f} s was over"
            elif code == -signal.SIGALRM:
                why = f"took more than {progress['limit_s']} s"
            part["results"].append(running | {"failed": why})
            progress |= {"next": progress["next"] + 1, "running": None}
        elif code is None:
            progress["stopped"] = f"the time of {budget:.0f} s was over"
        elif code not in (0, AGAIN):
            progress["stopped"] = f"no case could be started (status {code})"
        record.save()
        if code in (0, None) or "stopped" in progress:
            return record
