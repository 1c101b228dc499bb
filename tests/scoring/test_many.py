"""Several videos at once: one outcome each, bounded, and the scores of one at a time."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from tests import clips
from tests.processes import descendants

import vqafast
from vqafast.engines.cuda_driver import DriverProbe, Gpu
from vqafast.errors import EngineUnavailable, InvalidArgument, MissingFile, NotAVideo, VqafastError
from vqafast.scoring import api
from vqafast.scoring.crew.pool import Pool
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


class Held:
    """In place of a decoder and its pictures."""


@pytest.mark.parametrize("kind", [NotAVideo, ZeroDivisionError])
@pytest.mark.parametrize("chained", ["cause", "context", "neither"])
def test_an_outcome_holds_nothing_of_the_run(kind: type[Exception], chained: str) -> None:
    """Outcomes are kept in lists, as long as there are videos."""
    alive: list[weakref.ref[Held]] = []

    def decode() -> None:
        surface = Held()
        alive.append(weakref.ref(surface))
        raise kind("it broke here")

    def assess(path: str) -> Assessment:
        source = Held()
        alive.append(weakref.ref(source))
        if chained == "neither":
            decode()
        try:
            decode()
        except kind as error:
            if chained == "cause":
                raise kind("and then") from error
            raise kind("and then")  # noqa: B904 - the context is what is tested
        raise AssertionError

    gc.collect()
    gc.disable()
    try:
        outcome = outcome_of(0, "x.mp4", assess)
        assert [ref() for ref in alive] == [None, None]
    finally:
        gc.enable()
    assert outcome.error is not None
    text = "".join(traceback.format_exception(outcome.error))
    assert "in decode" in text
    assert 'raise kind("it broke here")' in text


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


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """`assess_many` as where there are two GPUs, with processes that use the CPU in their place."""
    cards = DriverProbe((Gpu(0, "A", (9, 0), 1), Gpu(1, "B", (9, 0), 1)), (13, 0), None)
    monkeypatch.setattr(api, "probe", lambda: cards)
    monkeypatch.setattr(api, "cuda_obstacle", lambda: None)

    class OnCpu(Pool):
        def __init__(self, options: Any, devices: Any, **others: Any) -> None:
            assert devices == ["cuda:0", "cuda:1"]
            super().__init__({**options, "threads": 2}, ["cpu", "cpu"], **others)

    monkeypatch.setattr(api, "Pool", OnCpu)


@pytest.mark.usefixtures("gpus")
def test_two_processes_give_the_scores_of_one(model: Path, folder: list[str]) -> None:
    run = vqafast.assess_many(folder, device="auto", model=str(model), videos=1, pooling="mean")
    scorer = Scorer(model, threads=2)
    assert scores(by_index(run)) == [
        scorer.score(p, pooling="mean") if i not in (2, 3) else ("not_a_video", "missing_file")[i - 2]
        for i, p in enumerate(folder)
    ]


@pytest.mark.usefixtures("gpus")
def test_a_process_that_dies_is_replaced(model: Path, folder: list[str]) -> None:
    run = vqafast.assess_many([folder[0], folder[1]] * 10, device="cuda", model=str(model), videos=1)
    others = set(descendants(os.getpid()))
    outcomes = [next(run)]
    before = set(descendants(os.getpid())) - others
    assert len(before) == 2
    killed = before.pop()
    os.kill(killed, signal.SIGKILL)
    outcomes += [next(run) for _ in range(18)]
    after = set(descendants(os.getpid())) - others
    assert before <= after
    assert killed not in after
    outcomes += run
    assert scores(by_index(iter(outcomes))) == expected(Scorer(model, threads=2), folder[:2]) * 10
    assert set(descendants(os.getpid())) <= others


@pytest.mark.usefixtures("gpus")
def test_arguments_for_processes_are_checked_at_once(folder: list[str]) -> None:
    for bad in ({"videos": 0}, {"videos": 1000}, {"pooling": "median"}, {"window": -1}):
        with pytest.raises(InvalidArgument):
            vqafast.assess_many(folder, device="cuda", **bad)


@pytest.mark.usefixtures("gpus")
def test_a_model_that_cannot_be_loaded_is_raised(tmp_path: Path) -> None:
    with pytest.raises(VqafastError, match="model must be one of"):
        next(vqafast.assess_many(["x"], device="cuda", model=str(tmp_path / "none")))


@pytest.mark.usefixtures("gpus")
def test_a_process_that_dies_while_loading_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineUnavailable, match="ended with status 1 while it loaded the model"):
        next(vqafast.assess_many(["x"], device="cuda"))


def test_the_package_offers_it(model: Path, folder: list[str]) -> None:
    got = by_index(vqafast.assess_many(folder[:2], model=str(model), threads=1))
    assert [type(o) for o in got] == [vqafast.Outcome] * 2
    assert got[0].assessment is not None
    assert got[0].assessment.score == vqafast.score(folder[0], model=str(model), threads=1)
