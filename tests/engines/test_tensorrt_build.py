"""Builds: where they run, how a signal ends them, and the measured times that they leave."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

from tests.engines.tensorrt_graphs import PROFILES, check, model, pair

from vqafast.engines.tensorrt_engine import TensorRtEngine, build_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.fake_tensorrt import Cuda, Script

    from vqafast.engines.tensorrt_cache import PlanCache


def once(number: int) -> Callable[[], None]:
    """A step of a build in which the main thread gets a signal, the first time."""
    left = [number]

    def step() -> None:
        if left:
            signal.pthread_kill(threading.main_thread().ident or 0, left.pop())

    return step


def test_ctrl_c_ends_a_build(fake: Cuda, script: Script, cache: PlanCache) -> None:
    """It arrives where the build was asked for, once TensorRT has stopped; the next one builds."""
    script.steps, script.step = 1000, once(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    assert (script.cancelled, script.built) == (1, [])
    script.steps, script.step = 1, lambda: None
    engine = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    check(engine, pair())
    assert len(script.built) == 1


def test_another_exception_of_a_handler(fake: Cuda, script: Script, cache: PlanCache) -> None:
    """As of a service that ends on SIGTERM."""

    class Ended(BaseException):
        pass

    def handler(*_: object) -> None:
        raise Ended

    before = signal.signal(signal.SIGUSR1, handler)
    script.steps, script.step = 1000, once(signal.SIGUSR1)
    try:
        with pytest.raises(Ended):
            build_plan(model(), profiles=PROFILES, cache=cache)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert script.cancelled == 1


def test_any_thread_can_build(fake: Cuda, script: Script, cache: PlanCache) -> None:
    engines = []
    thread = threading.Thread(
        target=lambda: engines.append(TensorRtEngine(model(), profiles=PROFILES, cache=cache))
    )
    thread.start()
    thread.join(60)
    check(engines[0], pair())
    (built,) = script.built
    # The device is set there too: the stand-in says so.
    assert built.thread not in (thread, threading.main_thread())


def test_timing_cache(fake: Cuda, script: Script, cache: PlanCache) -> None:
    for factor in (1.0, 2.0):
        build_plan(model(factor), profiles=PROFILES, cache=cache)
    script.timing_mismatch = True
    build_plan(model(5.0), profiles=PROFILES, cache=cache)
    # The second build starts from the times of the first, the third from none.
    assert [b.timing for b in script.built] == [b"", b"+", b""]


def test_a_spoilt_timing_cache(fake: Cuda, script: Script, cache: PlanCache) -> None:
    """TensorRT gives none for a file that is none."""
    build_plan(model(), profiles=PROFILES, cache=cache)
    script.refuse = {"timing"}
    build_plan(model(2.0), profiles=PROFILES, cache=cache)
    assert [b.timing for b in script.built] == [b"", b""]


def test_no_timing_cache_after_the_build(fake: Cuda, script: Script, cache: PlanCache) -> None:
    script.refuse = {"no timing"}
    assert build_plan(model(), profiles=PROFILES, cache=cache).exists()
    assert not list(cache.directory.glob("timing-*"))
