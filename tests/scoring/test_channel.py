"""The queue between decoding and the model."""

import gc
import threading
import time
import weakref

import pytest
from tests.scoring.fakes import FakeRuntime, FakeSource, window_scorer

from vqafast.scoring import pipeline
from vqafast.scoring._channel import Channel, ChannelClosedError
from vqafast.scoring.windows import StageClock


def test_items_arrive_in_order_and_the_end_ends():
    channel: Channel[int] = Channel(10, 100)
    for i in range(5):
        channel.put(i, 1)
    channel.finish()
    assert list(channel) == [0, 1, 2, 3, 4]


def fill(channel: Channel[int], size: int) -> tuple[threading.Thread, list[int]]:
    put: list[int] = []

    def work() -> None:
        try:
            for i in range(20):
                channel.put(i, size)
                put.append(i)
        except ChannelClosedError:
            put.append(-1)
        else:
            channel.finish()

    thread = threading.Thread(target=work)
    thread.start()
    return thread, put


@pytest.mark.parametrize(("items", "size", "room"), [(3, 1, 3), (100, 40, 2), (100, 1000, 1)])
def test_writer_waits_for_room(items, size, room):
    channel: Channel[int] = Channel(items, 100)
    thread, put = fill(channel, size)
    deadline = time.monotonic() + 60
    while len(put) < room and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(put) == room
    assert list(channel) == list(range(20))
    thread.join()
    assert channel.peak_items <= room


def test_close_releases_a_waiting_writer():
    channel: Channel[int] = Channel(1, 100)
    thread, put = fill(channel, 1)
    channel.close()
    thread.join(60)
    assert not thread.is_alive()
    assert put[-1] == -1


def test_error_comes_after_the_items_before_it():
    channel: Channel[int] = Channel(10, 100)
    channel.put(1)
    channel.finish(KeyError("x"))
    items = iter(channel)
    assert next(items) == 1
    with pytest.raises(KeyError, match="x"):
        next(items)


class FailingRuntime(FakeRuntime):
    """Refuses the third sample, as a GPU without memory would."""

    def ingest_semantic(self, sampled):
        if self.pictures == 2:
            raise MemoryError("full")
        return super().ingest_semantic(sampled)


def fail(source: FakeSource) -> str:
    try:
        pipeline.run(source, FailingRuntime(), window_scorer(FakeRuntime()), draws=1, clock=StageClock())
    except MemoryError as error:
        return str(error)
    return "nothing was raised"


def test_an_error_holds_nothing_once_it_was_handled():
    """The decoder of a video that failed goes with the last name of its source, not when Python collects."""
    gc.collect()
    gc.disable()
    try:
        source = FakeSource(10)
        alive = weakref.ref(source)
        assert fail(source) == "full"
        del source
        assert alive() is None
    finally:
        gc.enable()
