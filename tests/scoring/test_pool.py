"""Worker processes: whose fault it is when one ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.farm import misbehaving
from tests.processes import descendants

import vqafast
from vqafast.scoring.crew.base import Job
from vqafast.scoring.crew.pool import Pool
from vqafast.scoring.crew.worker import Task

from .jobs import jobs, scores, short_clip

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS: Any = {"threads": 2}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_clip(tmp_path_factory.mktemp("pool"))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


# One that is stopped is noticed by the time that its file takes. Nothing is said of the others' time.
@pytest.mark.parametrize(
    ("sent", "then", "timeout"), [(signal.SIGKILL, "Z", None), (signal.SIGSTOP, "T", 10.0)]
)
def test_a_worker_that_was_gone_before_it_got_a_file_is_no_attempt(
    clip: Path, sent: signal.Signals, then: str, timeout: float | None
) -> None:
    others = set(descendants(os.getpid()))

    def end(index: int) -> None:
        if index == 5:
            (worker,) = set(descendants(os.getpid())) - others
            os.kill(worker, sent)
            while state(worker) != then:
                time.sleep(0.01)

    with Pool(OPTIONS, ["cpu"], attempts=1, timeout=timeout) as pool:
        got = list(pool.run(jobs(clip, 10, end)))
        assert pool.started == 2
    assert scores(got) == [vqafast.score(clip, threads=2)] * 10
    assert {r.attempts for r in got if r is not None} == {1}


def test_files_that_wait_in_a_worker_are_not_blamed_for_its_end(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", misbehaving.environment(tmp_path)["PYTHONPATH"])
    crash = tmp_path / "crash.mp4"
    crash.write_bytes(clip.read_bytes())
    files = [crash, clip, clip, crash, clip]
    taken: list[int] = []

    def listed() -> Iterator[Job]:
        for i, file in enumerate(files):
            taken.append(i)
            yield Job(Task(i, str(file)))

    with Pool(OPTIONS, ["cpu"], ahead=4, attempts=1) as pool:
        run = pool.run(listed())
        first = next(result for result in run if result is not None)
        assert taken == [0, 1, 2, 3, 4]
        got = [first, *run]
    score = vqafast.score(clip, threads=2)
    assert scores(got) == ["worker_died", score, score, "worker_died", score]
    assert {r.attempts for r in got if r is not None} == {1}
