"""Workers that are forked from one loaded model: what they share, and what becomes of them without it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.farm import misbehaving
from tests.processes import descendants

import vqafast
from vqafast.scoring.crew import nursery
from vqafast.scoring.crew.memory import proportional, resident
from vqafast.scoring.crew.nursery import can_share
from vqafast.scoring.crew.pool import Pool

from .jobs import jobs, scores, short_clip

if TYPE_CHECKING:
    from vqafast.scoring.crew.base import Result

OPTIONS: Any = {"threads": 1}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_clip(tmp_path_factory.mktemp("nursery"))


def named(name: str) -> list[int]:
    pids = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                pids.append(pid)
    return pids


def found(name: str, count: int) -> list[int]:
    """Wait for that many: a forked process has its parent's name until it gives itself its own."""
    deadline = time.monotonic() + 60
    while len(pids := named(name)) != count:
        assert time.monotonic() < deadline, pids
        time.sleep(0.01)
    return pids


@pytest.mark.parametrize("model", ["a2inet-lite", "a2inet-lite-hybrid"])
def test_forked_workers_score_as_a_process_of_its_own_does(clip: Path, model: str) -> None:
    with Pool({**OPTIONS, "model": model}, ["cpu"] * 3) as pool:
        got = scores(pool.run(jobs(clip, 12)))
        found("vqafast-worker", 3)
        found("vqafast-model", 1)
    assert got == [vqafast.Scorer(model, threads=1).score(clip)] * 12
    assert named("vqafast-worker") == named("vqafast-model") == []


def shared(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Shared_Dirty"))


def test_what_was_loaded_is_there_once(clip: Path) -> None:
    with Pool(OPTIONS, ["cpu"] * 2) as pool:
        assert len(scores(pool.run(jobs(clip, 4)))) == 4
        # Pages that were written before the fork and are still the same ones: the model, and Python.
        workers = found("vqafast-worker", 2)
        for pid in workers:
            assert shared(pid) > 20e6
            assert (proportional(pid) or 0) < (resident(pid) or 0) - 10e6
        assert pool.held < sum(resident(pid) or 0 for pid in workers + found("vqafast-model", 1))


def test_only_workers_of_one_thread_on_cpus_are_forked(clip: Path) -> None:
    assert can_share(OPTIONS, ["cpu", "cpu"])
    assert not can_share(OPTIONS, ["cpu"])
    assert not can_share({"threads": 2}, ["cpu", "cpu"])
    assert not can_share({**OPTIONS, "engine": "torch"}, ["cpu", "cpu"])
    assert not can_share(OPTIONS, ["cuda:0", "cuda:1"])
    with Pool({"threads": 2}, ["cpu"] * 2) as pool:
        assert len(scores(pool.run(jobs(clip, 4)))) == 4
        assert named("vqafast-model") == []


def end(process: int) -> None:
    """Kill it, and wait until its children know: a busy machine takes its time to give memory back."""
    os.kill(process, signal.SIGKILL)
    status = Path(f"/proc/{process}/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while status.read_text().rpartition(")")[2].split()[0] not in "ZX":
            time.sleep(0.001)


def test_the_model_process_is_killed(clip: Path) -> None:
    """Its workers end with it; what they had is scored by new ones."""
    with Pool(OPTIONS, ["cpu"] * 2) as pool:
        run = pool.run(jobs(clip, 400))
        got: list[Result | None] = []
        while sum(r is not None for r in got) < 5:
            got.append(next(run))
        (pid,) = found("vqafast-model", 1)
        end(pid)
        got += list(run)
        assert pool.started == 4
    assert scores(got) == [vqafast.score(clip, threads=1)] * 400


def test_the_end_of_the_model_process_is_no_attempt_of_a_file(clip: Path) -> None:
    def given(index: int) -> None:
        if index == 10:
            (model,) = found("vqafast-model", 1)
            end(model)

    with Pool(OPTIONS, ["cpu"] * 2, attempts=1) as pool:
        got = list(pool.run(jobs(clip, 30, given)))
        assert pool.started == 4
    assert scores(got) == [vqafast.score(clip, threads=1)] * 30
    assert {r.attempts for r in got if r is not None} == {1}


def test_a_file_whose_model_process_ends_every_time_is_given_up(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where memory ends, and the system chooses that process."""
    monkeypatch.setenv("PYTHONPATH", misbehaving.environment(tmp_path)["PYTHONPATH"])
    hang = tmp_path / "hang.mp4"
    hang.write_bytes(clip.read_bytes())
    with Pool(OPTIONS, ["cpu"] * 2) as pool:
        got = []
        for result in pool.run(jobs(hang, 1)):
            if result is None and pool.ready == 2:
                (model,) = found("vqafast-model", 1)
                end(model)
            got += [] if result is None else [result]
        assert [type(r.outcome.error) for r in got] == [vqafast.errors.WorkerDied]
        assert got[0].attempts == 2
        assert scores(pool.run(jobs(clip, 4))) == [vqafast.score(clip, threads=1)] * 4


def test_a_killed_worker_is_replaced_without_loading_again(clip: Path) -> None:
    with Pool(OPTIONS, ["cpu"] * 2) as pool:
        run = pool.run(jobs(clip, 40))
        got: list[Result | None] = []
        while sum(r is not None for r in got) < 5:
            got.append(next(run))
        before = found("vqafast-model", 1)
        os.kill(found("vqafast-worker", 2)[0], signal.SIGKILL)
        got += list(run)
        assert found("vqafast-model", 1) == before
        assert pool.started == 3
        # It was waited for: nothing is left as a zombie.
        found("vqafast-worker", 2)
    assert scores(got) == [vqafast.score(clip, threads=1)] * 40


def test_where_a_child_cannot_score_each_worker_loads_the_model(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, vqafast.scoring.scorer as s\n"
        "parent, whole = os.getpid(), s.Scorer.assess\n"
        "def assess(self, *a, **k):\n"
        "    if os.getpid() != parent: raise RuntimeError('not here')\n"
        "    return whole(self, *a, **k)\n"
        "s.Scorer.assess = assess\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with caplog.at_level(logging.WARNING), Pool(OPTIONS, ["cpu"] * 2) as pool:
        assert scores(pool.run(jobs(clip, 4))) == [vqafast.score(clip, threads=1)] * 4
        assert named("vqafast-model") == []
    assert "workers cannot be forked on this machine" in caplog.text


def test_a_child_that_hangs_in_its_trial_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs:
        def assess(self, file: Any) -> Any:
            time.sleep(3600)

    monkeypatch.setattr(nursery, "_TRIAL", 0.3)
    assert not nursery._survives(Hangs())  # type: ignore[arg-type]


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    with Pool({**OPTIONS, "model": tmp_path}, ["cpu"] * 2) as pool, pytest.raises(vqafast.errors.ModelError):
        list(pool.run(iter(())))
    assert named("vqafast-model") == []


def test_a_model_process_that_dies_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys\nif 'nurse(' in ' '.join(sys.orig_argv): os._exit(3)\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    refused = pytest.raises(vqafast.errors.EngineUnavailable, match="status 3 while it loaded")
    with Pool(OPTIONS, ["cpu"] * 2) as pool, refused:
        list(pool.run(iter(())))
