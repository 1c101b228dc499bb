"""One model for several threads: turns, joined calls, and whose error is whose."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from tests.scoring.fakes import FakeRuntime

from vqafast.scoring.sharing import SharedRuntime


class Gate(FakeRuntime):
    """A runtime whose first call waits until it is let go, and that sees two callers at once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.entered, self.go = threading.Event(), threading.Event()
        self.calls: list[list[float]] = []
        self._inside = threading.Lock()

    def quality_features(self, views: Any) -> np.ndarray:
        assert self._inside.acquire(blocking=False), "two calls at once"
        try:
            first = not self.calls
            self.calls.append([float(v[0]) for v in views])
            if first:
                self.entered.set()
                assert self.go.wait(60)
            if any(v[0] < 0 for v in views):
                raise ValueError(f"negative among {len(views)}")
            return super().quality_features(views)
        finally:
            self._inside.release()

    def semantic_features(self, views: Any) -> np.ndarray:
        assert self._inside.acquire(blocking=False), "two calls at once"
        try:
            time.sleep(0.001)
            return super().semantic_features(views)
        finally:
            self._inside.release()


def view(*values: float) -> list[np.ndarray]:
    return [np.array([v], dtype=np.float32) for v in values]


def together(shared: SharedRuntime, gate: Gate, calls: list[list[float]]) -> list[Any]:
    """Results of calls from threads that all wait behind a first one, in the order of `calls`."""
    results: list[Any] = [None] * len(calls)

    def call(i: int) -> None:
        try:
            results[i] = shared.quality_features(view(*calls[i]))[:, 0].tolist()
        except ValueError as error:
            results[i] = str(error)

    first = threading.Thread(target=lambda: shared.quality_features(view(0)))
    first.start()
    assert gate.entered.wait(60)
    threads = []
    for i in range(len(calls)):
        threads.append(threading.Thread(target=call, args=(i,)))
        threads[-1].start()
        while len(shared._waiting) <= i:
            time.sleep(0.001)
    gate.go.set()
    for thread in [first, *threads]:
        thread.join(60)
        assert not thread.is_alive()
    return results


def test_calls_that_wait_together_are_computed_together() -> None:
    gate = Gate()
    results = together(SharedRuntime(gate, batch=4), gate, [[1, 2], [3], [4, 5], [6]])
    assert results == [[1, 2], [3], [4, 5], [6]]
    # [1, 2] takes [3] and, past [4, 5] which does not fit any more, [6].
    assert gate.calls == [[0], [1, 2, 3, 6], [4, 5]]


def test_a_call_larger_than_the_batch_goes_alone() -> None:
    gate = Gate()
    results = together(SharedRuntime(gate, batch=2), gate, [[1, 2, 3], [4]])
    assert results == [[1, 2, 3], [4]]
    assert gate.calls == [[0], [1, 2, 3], [4]]


def test_without_a_batch_every_call_is_made_as_it_came() -> None:
    gate = Gate()
    assert together(SharedRuntime(gate), gate, [[1], [2], [3, 4]]) == [[1], [2], [3, 4]]
    assert gate.calls == [[0], [1], [2], [3, 4]]


def test_one_callers_error_does_not_reach_the_others() -> None:
    gate = Gate()
    results = together(SharedRuntime(gate, batch=8), gate, [[1], [-2], [3]])
    assert results == [[1], "negative among 1", [3]]
    assert gate.calls == [[0], [1, -2, 3], [1], [-2], [3]]


def test_a_failed_group_is_let_go_before_its_calls_are_made_one_by_one() -> None:
    """On a GPU it may have failed for want of the memory that it holds."""
    made: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []

    class Full(Gate):
        def quality_features(self, views: Any) -> np.ndarray:
            alive.append(sum(ref() is not None for ref in made))
            if len(views) > 1:
                batch = np.zeros(100)
                made.append(weakref.ref(batch))
                raise MemoryError
            return super().quality_features(views)

    gate = Full()
    assert together(SharedRuntime(gate, batch=8), gate, [[1], [2]]) == [[1], [2]]
    assert len(made) == 1
    assert alive == [0, 0, 0, 0]


@pytest.mark.parametrize("batch", [None, 8])
def test_an_interrupt_reaches_the_thread_that_got_it_and_nobody_else(batch: int | None) -> None:
    """Ctrl-C comes to the main thread, which may be computing what other threads wait for."""

    class Interrupted(Gate):
        def quality_features(self, views: Any) -> np.ndarray:
            # Whoever comes next, with whatever it has at hand.
            if self.go.is_set() and not struck:
                struck.append(threading.current_thread())
                raise KeyboardInterrupt
            return super().quality_features(views)

    struck: list[threading.Thread] = []
    got: dict[int, Any] = {}

    def call(value: int) -> None:
        try:
            got[value] = shared.quality_features(view(value))[:, 0].tolist()
        except KeyboardInterrupt:
            got[value] = "interrupted"

    gate = Interrupted()
    shared = SharedRuntime(gate, batch=batch)
    threads = [threading.Thread(target=call, args=(value,)) for value in range(5)]
    threads[0].start()
    assert gate.entered.wait(60)
    for i, thread in enumerate(threads[1:], 1):
        thread.start()
        while len(shared._waiting) < i:
            time.sleep(0.001)
    gate.go.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert got == {i: "interrupted" if t is struck[0] else [i] for i, t in enumerate(threads)}
    assert not shared._waiting
    assert shared._turn is None


def test_views_of_models_that_look_along_time_are_never_joined() -> None:
    gate = Gate(whole_windows=True)
    assert together(SharedRuntime(gate, batch=8), gate, [[1], [2]]) == [[1], [2]]
    assert gate.calls == [[0], [1], [2]]


def test_backbones_that_look_along_time_are_never_joined() -> None:
    fake = FakeRuntime(whole_windows=True)
    shared = SharedRuntime(fake, batch=8)
    gate = threading.Barrier(4)

    def call() -> None:
        gate.wait(60)
        shared.semantic_features(view(1, 2))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert fake.batches == [2] * 4


@pytest.mark.parametrize("batch", [None, 3])
def test_many_threads_get_what_they_asked_for(batch: int | None) -> None:
    gate = Gate()
    gate.calls.append([])  # so that no call waits
    shared = SharedRuntime(gate, batch=batch)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            values = rng.integers(1, 999, size=rng.integers(1, 4)).astype(float).tolist()
            quality = shared.quality_features(view(*values))
            semantic = shared.semantic_features(view(*values))
            scores = shared.member_scores(quality, semantic)
            mean = float(np.float32(np.mean(np.float32(values))))
            expected = [v - mean + len(values) for v in values]
            if not np.allclose(scores[0], expected, atol=1e-2):
                wrong.append((values, scores))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []
    assert not shared._waiting
