"""TensorRT's one logger: it outlives every engine, and keeps the messages of threads apart."""

from __future__ import annotations

import _thread
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

from tests.engines.fake_tensorrt import Script, fake_tensorrt, install
from tests.engines.tensorrt_graphs import PROFILES, check, model, pair

from vqafast.engines import tensorrt_library
from vqafast.engines.tensorrt_cache import PlanCache
from vqafast.engines.tensorrt_engine import TensorRtEngine
from vqafast.engines.tensorrt_library import collector
from vqafast.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)


def test_one_logger_that_is_never_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT tells everything to the first logger of the process, also when its engine is gone."""
    script = Script()
    install(monkeypatch, script)
    cache = PlanCache(tmp_path)
    first = TensorRtEngine(model(), profiles=PROFILES, cache=cache)
    check(first, pair())
    del first
    script.contexts.clear()
    gc.collect()
    script.build_error = "Error Code 10"
    with pytest.raises(EngineUnavailable, match="cannot build this graph for NVIDIA H100: Error Code 10"):
        TensorRtEngine(model(2.0), profiles=PROFILES, cache=cache)
    script.build_error = None
    check(TensorRtEngine(model(2.0), profiles=PROFILES, cache=cache), pair(), 2.0)


def test_a_logger_for_each_loaded_tensorrt() -> None:
    one, other = fake_tensorrt(Script()), fake_tensorrt(Script())
    made: list[Any] = []
    for _ in range(4):
        in_a_thread(lambda: made.append(collector(one)))
    assert len({id(logger) for logger in made}) == 1
    assert isinstance(made[0], one.ILogger)
    assert collector(other) is not made[0]


def test_the_end_of_python_does_not_free_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "_collectors", [])
    alive = weakref.ref(collector(fake_tensorrt(Script())))
    tensorrt_library._collectors.clear()
    gc.collect()
    assert alive() is not None


def test_threads_do_not_see_each_others_messages() -> None:
    logger = collector(fake_tensorrt(Script()))
    logger.log(logger.ERROR, "mine")

    def elsewhere() -> None:
        assert not logger.failed()
        assert logger.last() == "it did not say why"
        logger.log(logger.ERROR, "theirs")
        said.append(logger.failed())

    said: list[bool] = []
    in_a_thread(elsewhere)
    assert said == [True]
    assert logger.failed()
    assert logger.last() == "mine"
    assert not logger.failed()
    assert logger.last() == "it did not say why"


def test_messages_of_tensorrts_own_threads() -> None:
    """They come from threads that Python did not make, and are told to who asks first."""
    logger = collector(fake_tensorrt(Script()))
    done = threading.Event()

    def foreign() -> None:
        logger.log(logger.ERROR, "no kernel")
        done.set()

    _thread.start_new_thread(foreign, ())
    assert done.wait(60)
    # Which of the builds it belongs to is not known, so it is no failure of this thread's start.
    assert not logger.failed()
    logger.log(logger.ERROR, "no plan")
    assert logger.last() == "no kernel; no plan"
    assert logger.last() == "it did not say why"
