"""The compiled module itself: build facts, CPU targets, threads, forks, and its stub."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vqafast
from vqafast import _core, ops

STUB = Path(vqafast.__file__).with_name("_core.pyi")
RUN = (
    "import numpy as np\n"
    "from vqafast import _core, ops\n"
    "ops.moment_pool(np.ones((4, 64, 128, 128), np.float32), threads=4)\n"
    "print(_core.cpu_target())\n"
)


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_build_info() -> None:
    info = _core.build_info()
    assert set(info) == {"version", "compiler", "cuda", "cuda_architectures", "cpu_targets", "sanitizers"}
    assert info["version"] == "0.1.0"
    assert info["cpu_targets"][0] == "baseline"
    assert bool(info["cuda_architectures"]) == info["cuda"]
    assert _core.cpu_target() in info["cpu_targets"]
    assert _core.usable_threads() >= 1


@pytest.mark.parametrize("target", _core.build_info()["cpu_targets"])
def test_environment_caps_the_target(target: str) -> None:
    done = python(RUN, VQAFAST_CPU_TARGET=target)
    assert done.returncode == 0, done.stderr
    names = ["baseline", "avx2", "avx512"]
    assert done.stdout.strip() == names[min(names.index(target), names.index(_core.best_cpu_target()))]


def test_unknown_target_is_refused() -> None:
    done = python(RUN, VQAFAST_CPU_TARGET="sse9")
    assert done.returncode != 0
    assert "VQAFAST_CPU_TARGET: must be baseline, avx2 or avx512, got sse9" in done.stderr
    with pytest.raises(ValueError, match="name must be baseline, avx2 or avx512, got sse9"):
        _core.set_cpu_target("sse9")


def test_exit_with_idle_workers_does_not_hang() -> None:
    done = python(RUN)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_exit_during_work_does_not_hang() -> None:
    done = python(
        "import threading, time, numpy as np\n"
        "from vqafast import ops\n"
        "x = np.ones((4, 64, 128, 128), np.float32)\n"
        "def work():\n    while True: ops.moment_pool(x, threads=4)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.2)\n"
    )
    assert done.returncode == 0, done.stderr


def test_fork_gets_a_new_pool() -> None:
    x = np.random.default_rng(0).normal(size=(8, 64, 40, 40)).astype(np.float32)
    expected = ops.moment_pool(x, threads=4)
    done = python(
        "import os, sys, numpy as np\n"
        "from vqafast import ops\n"
        "x = np.random.default_rng(0).normal(size=(8, 64, 40, 40)).astype(np.float32)\n"
        "before = ops.moment_pool(x, threads=4)\n"
        "for _ in range(3):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        same = np.array_equal(before, ops.moment_pool(x, threads=4))\n"
        "        os._exit(0 if same else 9)\n"
        "    status = os.waitpid(pid, 0)[1]\n"
        "    assert status == 0, status\n"
        "print(before.sum() == ops.moment_pool(x, threads=4).sum())\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
    assert np.isfinite(expected).all()


def test_many_callers_share_the_pool() -> None:
    rng = np.random.default_rng(1)
    maps = [rng.normal(size=(2, 16, 50 + i, 60)).astype(np.float32) for i in range(6)]
    alone = [ops.moment_pool(x, threads=1) for x in maps]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            if not np.array_equal(ops.moment_pool(maps[i], threads=1 + i), alone[i]):
                wrong.append(i)

    callers = [threading.Thread(target=work, args=(i,)) for i in range(len(maps))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    assert not wrong


def test_the_lock_is_released_during_work() -> None:
    one = np.random.default_rng(2).normal(size=(1, 64, 128, 128)).astype(np.float32)
    x = np.broadcast_to(one, (2000, 64, 128, 128))

    def ticks_during_work() -> int:
        marks: list[float] = []

        def work() -> None:
            marks.append(time.perf_counter())
            ops.moment_pool(x, threads=1)
            marks.append(time.perf_counter())

        worker = threading.Thread(target=work)
        worker.start()
        ticks = []
        while worker.is_alive():
            time.sleep(0.001)
            ticks.append(time.perf_counter())
        return sum(marks[0] < tick < marks[1] for tick in ticks)

    # With the lock held there would be none, ever; a busy machine may not let this thread in for a while.
    deadline = time.monotonic() + 60
    while ticks_during_work() < 3:
        assert time.monotonic() < deadline


def test_stub_names_every_function_and_argument() -> None:
    stub = {
        node.name: [a.arg for a in node.args.args]
        for node in ast.parse(STUB.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    built = {}
    for name, function in vars(_core).items():
        if name.startswith("_") or not callable(function):
            continue
        signature = (function.__doc__ or "").splitlines()[0]
        inside = ast.parse(f"def {signature}: ...".replace("::", ".")).body[0]
        assert isinstance(inside, ast.FunctionDef)
        built[name] = [a.arg for a in inside.args.args]
    assert stub == built
