"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from vqafast.errors import InvalidArgument


def available_cores(root: Path = Path("/")) -> int:
    """Cores this process may use: CPU affinity, further limited by a cgroup CPU quota.

    A container with a quota of 1.5 CPUs on a 64-core machine gives 2, not 64: more threads
    than quota get throttled together and are slower than few.

    Parameters
    ----------
    root : Path
        Where /proc and /sys are looked for (for tests).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota = _cgroup_quota(root)
    if quota is not None:
        cores = min(cores, math.ceil(quota))
    return max(1, cores)


def resolve_threads(threads: int) -> int:
    """Thread count to use: `threads` itself, or all available cores for 0."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise InvalidArgument(f"threads: must be 0 (all cores) or more, got {threads!r}")
    return threads if threads > 0 else available_cores()


def _cgroup_quota(root: Path) -> float | None:
    """Find the tightest CPU quota on the way from this process's cgroup up to the root, in CPUs."""
    v2_path, v1_path = "/", "/"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            v2_path = path
        elif "cpu" in controllers.split(","):
            v1_path = path
    quotas = []
    for folder in _upwards(root / "sys/fs/cgroup", v2_path):
        fields = _read(folder / "cpu.max").split()
        quotas.append(_ratio(fields[0], fields[1]) if len(fields) == 2 else None)
    for folder in _upwards(root / "sys/fs/cgroup/cpu", v1_path):
        quotas.append(_ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")))
    found = [q for q in quotas if q is not None]
    return min(found, default=None)


def _upwards(mount: Path, path: str) -> list[Path]:
    # Inside a container the path may name a cgroup of the host that is not mounted here; the
    # container's own limits are then at the mount point, which always ends the list.
    leaf = mount / path.lstrip("/")
    return [leaf, *(p for p in leaf.parents if p == mount or mount in p.parents)]


def _ratio(quota: str, period: str) -> float | None:
    try:
        allowed, span = int(quota), int(period)
    except ValueError:
        return None
    return allowed / span if allowed > 0 and span > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
