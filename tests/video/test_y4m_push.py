"""YUV4MPEG2 from files and pipes, and frames pushed by the caller."""

from __future__ import annotations

import io
import os
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips

from vqafast import errors
from vqafast.video import open_source
from vqafast.video.push import PushSource
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount
from vqafast.video.y4m import Y4MSource

if TYPE_CHECKING:
    from pathlib import Path


def planes(index: int) -> list[bytes]:
    sizes = (64 * 48, 32 * 24, 32 * 24)
    return [bytes([16 + index * 3 + p]) * size for p, size in enumerate(sizes)]


TEN = clips.y4m([planes(i) for i in range(10)])


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "gray", "yuv420p10le", "yuv422p12le", "yuv444p16le",
     "gray10le", "gray16le", "yuvj420p"],
)  # fmt: skip
def test_ffmpegs_own_headers(tmp_path: Path, pix_fmt: str) -> None:
    path = tmp_path / "clip.y4m"
    pictures = []
    with av.open(str(path), "w", options={"strict": "-1"}) as out:
        stream: Any = out.add_stream("wrapped_avframe", rate=25)
        stream.width, stream.height, stream.pix_fmt = 67, 51, pix_fmt
        for index in range(3):
            rgb = av.VideoFrame.from_ndarray(clips.content(index, 67, 51), "rgb24")
            pictures.append(rgb.reformat(format=pix_fmt))
            pictures[-1].pts = index
            out.mux(stream.encode(pictures[-1]))
        out.mux(stream.encode(None))
    with open_source(path) as source:
        assert isinstance(source, Y4MSource)
        frames = [s.frames[0] for s in source.frames(EveryFrame())]
    assert source.warnings == []
    assert source.info.layout.name == pix_fmt.replace("yuvj", "yuv")
    assert source.info.color.full_range == (pix_fmt == "yuvj420p")
    assert [f.pts for f in frames] == pytest.approx([0, 0.04, 0.08])
    for frame, picture in zip(frames, pictures, strict=True):
        for got, plane in zip(frame.planes, picture.planes, strict=True):
            depth = got.itemsize
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            np.testing.assert_array_equal(
                np.ascontiguousarray(got).view(np.uint8), rows[:, : plane.width * depth]
            )


@pytest.mark.parametrize(
    ("words", "layout"),
    [
        ("W64 H48 F30000:1001 Ip A1:1 C420mpeg2", "yuv420p"),
        ("W64 H48 F25:1 Ip A0:0 C420paldv XYSCSS=420PALDV", "yuv420p"),
        ("W64 H48 F25:1 C420p10 XYSCSS=420P10", "yuv420p10le"),
        ("W64 H48", "yuv420p"),
        ("W64  H48 F25:1 Cmono", "gray"),
        ("W64 H48 F25:1 Cmono12", "gray12le"),
        ("W64 H48 F25:1 C444alpha", "yuv444p"),
        ("W64 H48 F25:1 C440", "yuv440p"),
    ],
)
def test_headers(words: str, layout: str) -> None:
    source = Y4MSource(io.BytesIO(f"YUV4MPEG2 {words}\n".encode()))
    assert source.info.layout.name == layout


def test_header_fields() -> None:
    line = b"YUV4MPEG2 W64 H48 F30000:1001 It A4:3 C420jpeg XCOLORRANGE=FULL XOTHER\n"
    source = Y4MSource(io.BytesIO(line + b"FRAME It\n" + b"".join(planes(0))))
    assert source.info.frame_rate == Fraction(30000, 1001)
    assert source.info.sample_aspect_ratio == Fraction(4, 3)
    assert source.info.display_width == 85
    assert source.info.color.full_range
    assert [w.code for w in source.warnings] == ["interlaced"]
    assert next(iter(source.frames(EveryFrame()))).frames[0].interlaced


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_a_video"),
        (b"garbage", "not_a_video"),
        (b"YUV4MPEG2X W64 H48\n", "not_a_video"),
        (b"YUV4MPEG2 W64\n", "not_a_video"),
        (b"YUV4MPEG2 W-64 H48\n", "not_a_video"),
        (b"YUV4MPEG2 W0 H48\n", "not_a_video"),
        (b"YUV4MPEG2 W64 H48 F25\n", "not_a_video"),
        (b"YUV4MPEG2 W64 H48 " + b"X" * 5000, "not_a_video"),
        (b"YUV4MPEG2 W64 H48 C420p11\n", "unsupported_pixel_format"),
        (b"YUV4MPEG2 W64 H48 Cweird\n", "unsupported_pixel_format"),
        (b"YUV4MPEG2 W999999999 H999999999\nFRAME\n", "too_large"),
        (b"YUV4MPEG2 W16000 H16000\nFRAME\n", "too_large"),
        (b"YUV4MPEG2 W16 H48\n", "too_small"),
        (b"YUV4MPEG2 W64 H48\n", "no_frames"),
        (b"YUV4MPEG2 W64 H48\nFRAME\n1234", "no_frames"),
    ],
)
def test_bad_headers(data: bytes, code: str) -> None:
    with pytest.raises(errors.VqafastError) as caught:
        list(Y4MSource(io.BytesIO(data)).frames(EveryFrame()))
    assert caught.value.code == code


def test_truncated_and_damaged_streams() -> None:
    source = Y4MSource(io.BytesIO(TEN[:-10]))
    assert len(list(source.frames(EveryFrame()))) == 9
    assert [w.code for w in source.warnings] == ["truncated"]
    assert (source.counts.decoded, source.counts.lost) == (9, 1)
    source = Y4MSource(io.BytesIO(TEN + b"GARBAGE" * 1000))
    assert len(list(source.frames(EveryFrame()))) == 10
    assert [w.code for w in source.warnings] == ["container_damaged"]


def test_bursts_and_uniform_count() -> None:
    samples = list(Y4MSource(io.BytesIO(TEN)).frames(TimeGrid(5, burst=3)))
    assert [[f.index for f in s.frames] for s in samples] == [[0, 1, 2], [5, 6, 7]]
    assert samples[1].frames[2].planes[0][0, 0] == 16 + 7 * 3
    samples = list(Y4MSource(io.BytesIO(TEN)).frames(UniformCount(2)))
    assert [s.frames[0].index for s in samples] == [2, 7]


class Meter(io.RawIOBase):
    """A pipe that knows how much was taken from it."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Short reads, as a pipe gives them.
        return self._data.readinto(memoryview(buffer)[:1000])

    def taken(self) -> int:
        return self._data.tell()


def test_a_pipe_is_never_read_ahead() -> None:
    meter = Meter(TEN)
    source: Any = open_source(meter)  # type: ignore[arg-type]
    header = TEN.index(b"\n") + 1
    assert meter.taken() == header
    frame = 6 + 64 * 48 * 3 // 2
    for number, _ in enumerate(source.frames(EveryFrame()), start=1):
        assert meter.taken() == header + number * frame
    with pytest.raises(errors.InvalidArgument, match="pipe"):
        list(open_source(Meter(TEN)).frames(UniformCount(3)))  # type: ignore[arg-type]


def test_a_real_pipe() -> None:
    receiver, sender = os.pipe()

    def feed() -> None:
        with os.fdopen(sender, "wb") as out:
            out.write(TEN * 1)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(receiver, "rb") as pipe, open_source(pipe) as source:
        assert len(list(source.frames(EveryFrame()))) == 10
    thread.join()


def arrays(value: int) -> list[Any]:
    return [np.full(shape, value, np.uint8) for shape in ((48, 64), (24, 32), (24, 32))]


def test_push() -> None:
    source = PushSource(64, 48, "yuv420p", TimeGrid(2, burst=2), time_base=Fraction(1, 1000))
    got: list[Any] = []
    shared = arrays(0)
    for index in range(8):
        for plane in shared:
            plane[:] = index
        got += list(source.push(shared, 5000 + index * 250))
    got += list(source.finish())
    assert [[f.index for f in s.frames] for s in got] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [s.frames[0].pts for s in got] == [0.0, 0.5, 1.0, 1.5]
    assert [f.planes[0][0, 0] for s in got for f in s.frames] == list(range(8))
    assert source.counts.decoded == 8


def test_push_takes_dlpack_and_semi_planar() -> None:
    class Foreign:
        def __init__(self, array: Any) -> None:
            self._array = array

        def __dlpack__(self, **arguments: Any) -> Any:
            return self._array.__dlpack__(**arguments)

        def __dlpack_device__(self) -> Any:
            return self._array.__dlpack_device__()

    source = PushSource(64, 48, "p010le", EveryFrame())
    luma, chroma = np.zeros((48, 64), np.uint16), np.zeros((24, 64), np.uint16)
    (sample,) = source.push([Foreign(luma), Foreign(chroma)], 0.0)
    assert [p.shape for p in sample.frames[0].planes] == [(48, 64), (24, 32, 2)]


def test_push_checks_at_the_door() -> None:
    source = PushSource(64, 48, "yuv420p", EveryFrame())
    list(source.push(arrays(0), 1.0))
    for planes_, pts in (
        (arrays(0), 1.0),
        (arrays(0), float("nan")),
        (arrays(0)[:2], 2.0),
        ([a.astype(np.uint16) for a in arrays(0)], 2.0),
        ([a[1:] for a in arrays(0)], 2.0),
    ):
        with pytest.raises(errors.InvalidArgument):
            source.push(planes_, pts)
    source.close()
    with pytest.raises(errors.InvalidArgument):
        source.push(arrays(0), 3.0)
    with pytest.raises(errors.Unsupported):
        PushSource(64, 48, "rgb24", EveryFrame())
    with pytest.raises(errors.InvalidArgument):
        PushSource(64, 48, "yuv420p", UniformCount(3))
    with pytest.raises(errors.InvalidArgument, match="between 1:16 and 16:1, got 1000"):
        PushSource(64, 48, "yuv420p", EveryFrame(), sample_aspect_ratio=Fraction(1000))
    with pytest.raises(errors.TooSmall):
        PushSource(16, 48, "yuv420p", EveryFrame())
