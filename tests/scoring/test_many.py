"""Several videos at once: one outcome each, bounded, and the scores of one at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests import clips

import vqafast
from vqafast.errors import EngineUnavailable, InvalidArgument, MissingFile, NotAVideo, VqafastError
from vqafast.scoring.fleet import assess_on
from vqafast.scoring.many import Outcome, outcome_of, run_all
from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vqafast.scoring.assessment import Assessment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five short clips of different content and size, a broken file and one that is not there."""
    root = tmp_path_factory.mktemp("many")
    for i in range(5):
        clip = clips.Clip(frames=48, width=128 + 32 * (i % 2), height=96, first=100 * i)
        clips.encode(root / f"{i}.mp4", clip)
    (root / "broken.mp4").write_bytes(b"no video at all" * 99)
    names = [f"{i}.mp4" for i in range(5)]
    names[2:2] = ["broken.mp4", "missing.mp4"]
    return [str(root / name) for name in names]


def by_index(outcomes: Iterator[Outcome]) -> list[Outcome]:
    found = sorted(outcomes, key=lambda o: o.index)
    assert [o.index for o in found] == list(range(len(found)))
    return found


def scores(outcomes: list[Outcome]) -> list[float | str]:
    return [o.assessment.score if o.assessment else o.error.code for o in outcomes if o.assessment or o.error]


def expected(scorer: Scorer, paths: list[str]) -> list[float | str]:
    found: list[float | str] = []
    for path in paths:
        try:
            found.append(scorer.score(path))
        except VqafastError as error:
            found.append(error.code)
    return found


@pytest.mark.parametrize("videos", [1, 3])
def test_outcomes_are_those_of_one_at_a_time(model: Path, folder: list[str], videos: int) -> None:
    scorer = Scorer(model, threads=1)
    outcomes = by_index(scorer.assess_many(folder, videos=videos))
    assert [o.path for o in outcomes] == folder
    assert scores(outcomes) == expected(scorer, folder)
    assert isinstance(outcomes[2].error, NotAVideo)
    assert isinstance(outcomes[3].error, MissingFile)


def test_arguments_are_checked_at_once(model: Path) -> None:
    scorer = Scorer(model, threads=1)
    for bad in ({"videos": 0}, {"videos": 1000}, {"pooling": "median"}, {"window": -1}):
        with pytest.raises(InvalidArgument):
            scorer.assess_many(["x"], **bad)


def test_an_unexpected_error_is_an_outcome() -> None:
    def broken(path: str) -> Assessment:
        raise ZeroDivisionError("oops")

    outcome = outcome_of(3, "x.mp4", broken)
    assert (outcome.index, outcome.path, outcome.assessment) == (3, "x.mp4", None)
    assert outcome.error is not None
    assert outcome.error.code == "internal"
    assert str(outcome.error) == "x.mp4: ZeroDivisionError: oops"


def test_inputs_are_read_only_as_they_are_needed() -> None:
    taken: list[int] = []

    def feed() -> Iterator[int]:
        for i in range(10_000):
            taken.append(i)
            yield i

    run = run_all(feed(), lambda i, item: Outcome(i, str(item)), workers=3)
    for _ in range(5):
        next(run)
    time.sleep(0.1)
    # Taken: 5 given out, 3 in the queue, 3 that wait to be put there.
    assert len(taken) <= 5 + 3 + 3
    run.close()  # type: ignore[attr-defined]
    assert len(taken) <= 5 + 3 + 3 + 3
    assert not [t for t in threading.enumerate() if t.name.startswith("vqafast-video")]


def test_an_error_of_the_inputs_comes_after_the_outcomes_before() -> None:
    def feed() -> Iterator[int]:
        yield from range(4)
        raise RuntimeError("the list ends here")

    seen = []
    with pytest.raises(RuntimeError, match="the list ends here"):
        seen.extend(run_all(feed(), lambda i, item: Outcome(i, str(item)), workers=2))
    del seen
    seen = []
    try:
        for outcome in run_all(feed(), lambda i, item: Outcome(i, str(item)), workers=2):
            seen.append(outcome.index)
    except RuntimeError:
        pass
    assert sorted(seen) == [0, 1, 2, 3]


OPTIONS: dict[str, Any] = {"threads": 1}


def test_two_processes_give_the_scores_of_one(model: Path, folder: list[str]) -> None:
    options = {**OPTIONS, "model": str(model)}
    outcomes = by_index(assess_on(folder, ["cpu", "cpu"], options, videos=1, pooling="mean"))
    scorer = Scorer(model, threads=1)
    assert scores(outcomes) == [
        scorer.score(p, pooling="mean") if i not in (2, 3) else ("not_a_video", "missing_file")[i - 2]
        for i, p in enumerate(folder)
    ]


def test_a_process_that_dies_costs_only_what_it_had(
    model: Path, folder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> Any:
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    paths = [folder[0], folder[1]] * 6
    run = assess_on(paths, ["cpu", "cpu"], {**OPTIONS, "model": str(model)}, videos=1)
    outcomes = [next(run)]
    os.kill(started[0].pid, signal.SIGKILL)
    outcomes += run
    found = sorted(outcomes, key=lambda o: o.index)
    assert [o.index for o in found] == list(range(12))
    lost = [o for o in found if o.error is not None]
    assert 0 < len(lost) <= 2
    assert "the process of cpu that had it ended with status -9" in str(lost[0].error)
    assert all(p.poll() is not None for p in started)


def test_when_all_processes_die_every_video_has_an_outcome(
    model: Path, folder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> Any:
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    run = assess_on([folder[0]] * 9, ["cpu"], {**OPTIONS, "model": str(model)}, videos=1)
    outcomes = [next(run)]
    os.kill(started[0].pid, signal.SIGKILL)
    outcomes += run
    assert sorted(o.index for o in outcomes) == list(range(9))
    assert "no process was left to score it" in str(max(outcomes, key=lambda o: o.index).error)


def test_a_model_that_cannot_be_loaded_is_raised(tmp_path: Path) -> None:
    with pytest.raises(VqafastError, match="model must be one of"):
        next(assess_on(["x"], ["cpu"], {"model": str(tmp_path / "none")}, videos=1))


def test_a_process_that_dies_while_loading_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineUnavailable, match="ended with status 1 while it loaded the model"):
        next(assess_on(["x"], ["cpu"], OPTIONS, videos=1))


def test_the_package_offers_it(model: Path, folder: list[str]) -> None:
    got = by_index(vqafast.assess_many(folder[:2], model=str(model), threads=1))
    assert [type(o) for o in got] == [vqafast.Outcome] * 2
    assert got[0].assessment is not None
    assert got[0].assessment.score == vqafast.score(folder[0], model=str(model), threads=1)
