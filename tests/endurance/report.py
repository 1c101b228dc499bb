"""What the reports of long tests share."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """CPU, cores, versions and commit."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    cpu = next(
        (x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.processor()
    )
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("vqafast", "av", "openvino"))
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, {versions}, commit {done.stdout.strip()}"


def write(path: Path, lines: list[str]) -> None:
    """Write and print a report."""
    text = "\n".join(line for line in lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
