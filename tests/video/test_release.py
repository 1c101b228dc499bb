"""What closing a source gives back at once: a decoder on a GPU holds tens of megabytes of its memory."""

from __future__ import annotations

import gc
import sys
import weakref
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests import clips

from vqafast.errors import Unsupported
from vqafast.video import open as opening
from vqafast.video.decoder import Decoder
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    clips.encode(tmp_path / "x.mp4", clips.Clip(frames=24))
    return str(tmp_path / "x.mp4")


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def references(thing: Any) -> int:
    return sys.getrefcount(thing)


@pytest.mark.usefixtures("no_collector")
def test_a_sample_is_let_go_before_the_next_one_is_decoded(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of a model that looks at clips is 32 pictures."""
    given: list[weakref.ref[Any]] = []
    alive: list[int] = []
    send = Decoder.decode

    def decode(self: Decoder, packet: Any) -> Any:
        alive.append(sum(ref() is not None for ref in given))
        return send(self, packet)

    monkeypatch.setattr(Decoder, "decode", decode)
    with PyAVSource(path, threads=1) as source:
        for sampled in source.frames(TimeGrid(4, burst=3)):
            given += [weakref.ref(frame.planes[0]) for frame in sampled.frames]
            del sampled
    assert len(given) == 12
    assert max(alive) == 0


def test_calling_off_ends_a_read(tmp_path: Path) -> None:
    clips.encode(tmp_path / "x.mp4", clips.Clip(frames=120))
    with PyAVSource(tmp_path / "x.mp4", threads=2) as source:
        samples = source.frames(EveryFrame(burst=1))
        next(samples)
        source.cancel()
        # The packet at hand may still give something.
        assert len(list(samples)) < 10
        assert source.warnings == []


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("read", [0, 1, 24])
def test_close_ends_the_decoder(read: int, path: str) -> None:
    alone = object()
    source = PyAVSource(path)
    samples = source.frames(EveryFrame(burst=1))
    kept = list(islice(samples, read))
    samples.close()  # type: ignore[attr-defined]
    context = source._decoder.context
    assert context.is_open
    assert references(context) > references(alone)
    source.close()
    # The pictures stay, and do not hold it.
    assert references(context) == references(alone)
    for sample in kept:
        assert np.asarray(sample.frames[0].planes[0]).size == 160 * 96
    source.close()


@pytest.mark.usefixtures("no_collector")
def test_a_source_needs_no_collector(path: str) -> None:
    source = PyAVSource(path)
    with source:
        list(source.frames(UniformCount(5)))
    alive = weakref.ref(source)
    del source
    assert alive() is None


def test_reading_on_after_close_is_refused(path: str) -> None:
    source = PyAVSource(path)
    samples = source.frames(EveryFrame(burst=1))
    next(samples)
    source.close()
    with pytest.raises(Unsupported, match="nothing can be read after close"):
        list(samples)


def test_a_file_is_opened_no_more_often_than_it_is_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the first picture, then once for each pass: records count the frames on their way."""
    opened: list[int] = []
    real = opening._open_container
    monkeypatch.setattr(opening, "_open_container", lambda *given: opened.append(1) or real(*given))
    with PyAVSource(path) as source:
        records = source.packet_records()
        got = [sample.frames[0].index for sample in source.frames(UniformCount(5))]
    assert len(opened) == 3
    with PyAVSource(path) as source:
        assert got == [sample.frames[0].index for sample in source.frames(UniformCount(5))]
    assert len(records.size) == 24
