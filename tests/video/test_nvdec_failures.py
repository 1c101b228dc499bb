"""A card that fails: at the first picture the CPU takes over, later it is named, and no file is blamed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
import pytest
from tests import clips

from vqafast.errors import CorruptVideo, CudaError, NotAVideo
from vqafast.video import nvdec, pyav
from vqafast.video.decoder import Decoder
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import TimeGrid, UniformCount

if TYPE_CHECKING:
    from pathlib import Path

SELECTOR = TimeGrid(4, burst=1)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU decodes in the card's place."""
    monkeypatch.setattr(nvdec, "nvdec_obstacle", lambda gpu: None)
    monkeypatch.setattr(nvdec, "_hwaccel", lambda gpu: None)
    monkeypatch.setattr(Decoder, "hardware", property(lambda self: self.opened.hwaccel is not None))
    monkeypatch.setattr(pyav, "picture_obstacle", lambda context, picture: None)
    monkeypatch.setattr("vqafast.video.decoder.on_device", lambda picture: True)


@pytest.fixture
def path(tmp_path: Path) -> str:
    clips.encode(tmp_path / "x.mp4", clips.Clip(frames=24))
    return str(tmp_path / "x.mp4")


def lumas(source: PyAVSource) -> list[Any]:
    with source:
        return [sample.frames[0].planes[0] for sample in source.frames(SELECTOR)]


@pytest.mark.usefixtures("card")
def test_the_stand_in_decodes(path: str) -> None:
    source = PyAVSource(path, gpu=0)
    assert source._decoder.hardware
    assert len(lumas(source)) > 3
    assert source.warnings == []


@pytest.mark.usefixtures("card")
def test_what_the_first_picture_shows_sends_a_file_to_the_cpu(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyav, "picture_obstacle", lambda context, picture: "no such pictures")
    source = PyAVSource(path, gpu=0)
    assert not source._decoder.hardware
    assert [w.message for w in source.warnings] == ["decoded on the CPU: no such pictures"]
    np.testing.assert_array_equal(lumas(source), lumas(PyAVSource(path)))


def fail(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the card raises `error`, or refuses every packet."""
    send = Decoder._send

    def refuse(packet: Any) -> list[Any]:
        raise error or av.error.ExternalError(1, "it failed")

    def failing(self: Decoder, packet: Any) -> list[Any]:
        if not self.hardware:
            return send(self, packet)
        # The real `_send`, with a context that fails.
        context = SimpleNamespace(decode=refuse, name=self.context.name)
        with monkeypatch.context() as patch:
            patch.setattr(Decoder, "context", context)
            return send(self, packet)

    monkeypatch.setattr(Decoder, "_send", failing)


OUT_OF_MEMORY = av.error.MemoryError(12, "Cannot allocate memory")


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("error", "words"),
    [(OUT_OF_MEMORY, "out of memory on the GPU"), (None, "it gave no frame from 24 packets")],
)
def test_a_card_that_fails_at_the_first_picture(
    error: Exception | None, words: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(error, monkeypatch)
    source = PyAVSource(path, gpu=0)
    assert words in source.warnings[0].message
    assert source.warnings[0].code == "decoder_fallback"
    np.testing.assert_array_equal(lumas(source), lumas(PyAVSource(path)))


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OUT_OF_MEMORY, "out of memory on the GPU; score fewer videos at once"),
        (None, "NVDEC failed, it gave no frame from 24 packets of h264; score the file with decoder cpu"),
    ],
)
def test_a_card_that_fails_later_is_not_damage(
    error: Exception | None, words: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PyAVSource(path, gpu=0) as source:
        fail(error, monkeypatch)
        with pytest.raises(CudaError, match=words) as caught:
            list(source.frames(UniformCount(5)))
    assert caught.value.path == path


@pytest.mark.usefixtures("card")
def test_a_card_that_cannot_be_opened_again(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotAVideo("this is no video")

    with PyAVSource(path, gpu=0) as source:
        monkeypatch.setattr("vqafast.video.open._open_container", refuse)
        with pytest.raises(CudaError, match=r"cannot be opened with NVDEC any more \(this is no video\)"):
            source.packet_records()


@pytest.mark.usefixtures("card")
def test_a_broken_file_is_still_the_file_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=4))
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in packets:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    for gpu in (None, 0):
        with pytest.raises(CorruptVideo, match="got none from 4 packets"):
            PyAVSource(str(path), gpu=gpu)


@pytest.mark.parametrize("place", ["cuda", "yuv420p"])
def test_pictures_that_ffmpeg_decodes_without_the_card_are_named(place: str) -> None:
    pictures = [SimpleNamespace(format=SimpleNamespace(name=name)) for name in ("cuda", place)]
    context = SimpleNamespace(is_hwaccel=True, decode=lambda packet: pictures)
    said: list[str] = []
    opened = SimpleNamespace(stream=SimpleNamespace(codec_context=context), path="x", container=None)
    decoder = Decoder(opened, 1, lambda code, message: said.append(code))  # type: ignore[arg-type]
    assert len(decoder.decode(None)) == 2
    assert said == ([] if place == "cuda" else ["decoder_fallback"])
