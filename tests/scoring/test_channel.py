"""The queue between decoding and the model."""

import threading
import time

import pytest

from vqafast.scoring._channel import Channel, ChannelClosedError


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
    deadline = time.monotonic() + 10
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
    thread.join(5)
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
