"""Workers that misbehave on files whose names say how: real processes, really killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CODE = """
import os, signal, time
import vqafast.scoring.scorer as scorer

whole = scorer.Scorer.assess

def assess(self, path, **options):
    if not isinstance(path, str):
        # The clip with which forks are tried.
        return whole(self, path, **options)
    name = os.path.basename(path)
    with open({log!r}, "a") as log:
        log.write(name + "\\n")
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("once") and not os.path.exists({log!r} + name):
        open({log!r} + name, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("hang"):
        time.sleep(600)
    if name.startswith("grow"):
        held = []
        while True:
            held.append(b"x" * (32 << 20))
            time.sleep(0.01)
    if name.startswith("slow"):
        from vqafast.scoring.pipeline import Progress
        for i in range(600):
            time.sleep(0.1)
            options["progress"](Progress(i / 100, None, i))
    if name.startswith("raise"):
        raise RuntimeError("no reason")
    return whole(self, path, **options)

scorer.Scorer.assess = assess
"""


def environment(folder: Path) -> dict[str, str]:
    """Variables for a process whose workers misbehave; ``FOLDER/tried`` lists what they were given."""
    (folder / "site").mkdir(exist_ok=True)
    # Python imports it at its start, before the worker's own code.
    (folder / "site" / "sitecustomize.py").write_text(_CODE.format(log=str(folder / "tried")))
    return {**os.environ, "PYTHONPATH": str(folder / "site")}


def tried(folder: Path) -> list[str]:
    """Names of the files that workers began with."""
    return (folder / "tried").read_text().splitlines()
