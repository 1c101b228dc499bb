"""Where a number came from: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import runpy
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TIMED = ("vqafast", "numpy", "av", "openvino", "torch")


def describe() -> dict[str, Any]:
    """CPU, cores of this process, GPU and its driver, versions of what is timed, commit and local changes.

    None stands for what cannot be found out here.
    """
    changes = _git("status", "--porcelain", "--", ":/csrc", ":/python")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": [round(x, 2) for x in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in TIMED},
        "gpu": nvidia_smi("name"),
        "driver": nvidia_smi("driver_version"),
        "cuda_runtime": _cuda_runtime(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "modified": None if changes is None else bool(changes),
    }


#: Program for a fresh process: peak resident memory in MB. getrusage would do but for what Linux
#: carries over from the parent at exec.
PEAK_RSS_MB = """
def peak_rss_mb():
    with open("/proc/self/status") as status:
        return int(next(x for x in status if x.startswith("VmHWM")).split()[1]) // 1024
"""


def nvidia_smi(field: str) -> str | None:
    """A property of the first GPU; None without one, or without the program."""
    found = _output_of("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader")
    return found.splitlines()[0].strip() if found else None


def _output_of(*command: str) -> str | None:
    """What a program prints; None without the program, or when it fails."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=here, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cuda_runtime() -> str | None:
    """CUDA that torch was built for, without importing torch: not everything that is timed should have it."""
    spec = find_spec("torch")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "version.py"
        if path.is_file():
            found: str | None = runpy.run_path(str(path)).get("cuda")
            return found
    return None


def _git(*arguments: str) -> str | None:
    return _output_of("git", *arguments)
