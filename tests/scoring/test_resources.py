"""Core counting under affinity and cgroup quotas, on a made-up /proc and /sys."""

import os

import pytest

from vqafast.errors import InvalidArgument
from vqafast.scoring.resources import available_cores, resolve_threads


@pytest.fixture
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_affinity_without_any_cgroup(sixteen_cores, tmp_path):
    assert available_cores(tmp_path) == 16


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("150000 100000", 2), ("max 100000", 16), ("50000 100000", 1), ("6400000 100000", 16), ("junk", 16)],
)
def test_cgroup_v2(sixteen_cores, tmp_path, quota, cores):
    write(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path, "sys/fs/cgroup/a/b/cpu.max", quota)
    assert available_cores(tmp_path) == cores


def test_the_tightest_quota_on_the_way_up_counts(sixteen_cores, tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path, "sys/fs/cgroup/a/b/cpu.max", "400000 100000")
    write(tmp_path, "sys/fs/cgroup/a/cpu.max", "300000 100000")
    assert available_cores(tmp_path) == 3


def test_inside_a_container_the_mount_point_has_the_limit(sixteen_cores, tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/on/the/host/only\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "200000 100000")
    assert available_cores(tmp_path) == 2


@pytest.mark.parametrize(("quota", "cores"), [("250000", 3), ("-1", 16)])
def test_cgroup_v1(sixteen_cores, tmp_path, quota, cores):
    write(tmp_path, "proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/x\n")
    write(tmp_path, "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", quota)
    write(tmp_path, "sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000")
    assert available_cores(tmp_path) == cores


def test_resolve_threads():
    assert resolve_threads(3) == 3
    assert resolve_threads(0) == available_cores()
    for bad in (-1, 1.5, True):
        with pytest.raises(InvalidArgument, match="threads: must be 0"):
            resolve_threads(bad)
