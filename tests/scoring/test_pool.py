"""Worker processes: whose fault it is when one ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import clips
from tests.farm import misbehaving
from tests.processes import descendants

import vqafast
from vqafast.scoring.crew.base import Job, Result
from vqafast.scoring.crew.pool import Pool
from vqafast.scoring.crew.worker import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPTIONS: Any = {"threads": 2}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "clip.mp4"
    clips.encode(path, clips.Clip(frames=48))
    return path


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def jobs(path: Path, count: int, meanwhile: Callable[[int], None] = lambda _: None) -> Iterator[Job]:
    for i in range(count):
        meanwhile(i)
        yield Job(Task(i, str(path)))


def outcomes(results: list[Result | None]) -> list[Any]:
    found = sorted((r for r in results if r is not None), key=lambda r: r.index)
    return [
        r.outcome.assessment.score if r.outcome.assessment else r.outcome.error and r.outcome.error.code
        for r in found
    ]


@pytest.mark.parametrize(("sent", "then"), [(signal.SIGKILL, "Z"), (signal.SIGSTOP, "T")])
def test_a_worker_that_was_gone_before_it_got_a_file_is_no_attempt(
    clip: Path, sent: signal.Signals, then: str
) -> None:
    others = set(descendants(os.getpid()))

    def end(index: int) -> None:
        if index == 5:
            (worker,) = set(descendants(os.getpid())) - others
            os.kill(worker, sent)
            while state(worker) != then:
                time.sleep(0.01)

    with Pool(OPTIONS, ["cpu"], attempts=1, timeout=5.0) as pool:
        got = list(pool.run(jobs(clip, 10, end)))
        assert pool.started == 2
    assert outcomes(got) == [vqafast.score(clip, threads=2)] * 10
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
    assert outcomes(got) == ["worker_died", score, score, "worker_died", score]
    assert {r.attempts for r in got if r is not None} == {1}
