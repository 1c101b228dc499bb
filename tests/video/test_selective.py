"""Leaving frames undecoded is invisible: same samples, same pixels, same times."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests.clips import Clip

from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import Clips, EveryFrame, TimeGrid, UniformCount

if TYPE_CHECKING:
    from pathlib import Path

X265 = "log-level=none:"
REALTIME = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "16", "auto-alt-ref": "1"}
# name -> clip, and whether leaving out must save work at one sample per second
CASES: dict[str, tuple[Clip, bool]] = {
    "x264_pyramid.mp4": (
        Clip(frames=96, options={"g": "40", "x264-params": "b-pyramid=normal:bframes=5:scenecut=0"}),
        True,
    ),
    "x264_open.mp4": (
        Clip(
            frames=96,
            options={"g": "20", "x264-params": "open-gop=1:b-pyramid=strict:bframes=4:scenecut=0"},
        ),
        True,
    ),
    "x264_intra.mp4": (Clip(frames=96, options={"g": "1"}), True),
    "x264.ts": (Clip(frames=96, options={"g": "30", "bf": "3"}), True),
    "x264.flv": (Clip(frames=96, options={"g": "30", "bf": "3"}), True),
    "x264.mkv": (Clip(frames=96, options={"g": "250", "bf": "3"}), True),
    "x264_tff.mp4": (Clip(frames=48, options={"x264-params": "tff=1"}), False),
    "x265_open.mp4": (
        Clip("libx265", frames=96, options={"x265-params": X265 + "keyint=40:bframes=4:open-gop=1"}),
        True,
    ),
    "x265_closed.mkv": (
        Clip("libx265", frames=96, options={"x265-params": X265 + "keyint=30:bframes=4:open-gop=0"}),
        True,
    ),
    "x265_layers.mp4": (
        Clip("libx265", frames=96, options={"x265-params": X265 + "keyint=30:bframes=7:temporal-layers=3"}),
        True,
    ),
    "vp9_altref.webm": (Clip("libvpx-vp9", frames=96, options={"g": "40", **REALTIME}), True),
    "vp8_altref.webm": (Clip("libvpx", frames=96, options={"g": "40", **REALTIME}), False),
    "av1.mp4": (Clip("libsvtav1", frames=96, options={"g": "33"}), True),
    "av1.mkv": (Clip("libsvtav1", frames=96, options={"g": "40"}), True),
    "mpeg2.ts": (Clip("mpeg2video", frames=96, options={"g": "15", "bf": "2"}), True),
    "mpeg4.mp4": (Clip("mpeg4", frames=96, options={"g": "25", "bf": "2"}), True),
    "mpeg4.avi": (Clip("mpeg4", frames=96, options={"g": "25", "bf": "2"}), False),
    "mjpeg.avi": (Clip("mjpeg", frames=48, pix_fmt="yuvj420p"), True),
    "prores.mov": (Clip("prores_ks", frames=48, pix_fmt="yuv422p10le"), True),
    "ffv1.mkv": (Clip("ffv1", frames=48, options={"g": "12"}), False),
}
SELECTORS = (
    TimeGrid(1, 2), TimeGrid(Fraction(7, 2)), UniformCount(5, 2), EveryFrame(),
    # apart, overlapping, and longer than any of the clips
    Clips(4, 3, 3), Clips(8, 2, 4), Clips(200, 2, 4),
)  # fmt: skip


def decode_everything(path: Path) -> list[tuple[float, list[np.ndarray[Any, Any]]]]:
    """The oracle: plain PyAV, every frame."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for picture in container.decode(stream):
            depth = 1 if picture.format.components[0].bits == 8 else 2
            planes = [
                np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width * depth].copy()
                for p in picture.planes
            ]
            assert picture.pts is not None
            frames.append((float(picture.pts * stream.time_base), planes))
    return frames


@pytest.mark.parametrize("name", CASES)
def test_samples_equal_those_of_decoding_everything(make_clip: Any, name: str) -> None:
    clip, saves = CASES[name]
    path = make_clip(name, clip)
    oracle = decode_everything(path)
    assert len(oracle) == clip.frames
    for selector in SELECTORS:
        with PyAVSource(path, threads=2) as source:
            samples = list(source.frames(selector))
        picker = selector.begin(length=len(oracle))
        starts = [(k, i) for i, (t, _) in enumerate(oracle)
                  if (k := picker.start(i, t - oracle[0][0])) is not None]  # fmt: skip
        assert [(s.k, s.frames[0].index) for s in samples] == starts
        for sample, (_, start) in zip(samples, starts, strict=True):
            assert len(sample.frames) == min(selector.burst, -(-(len(oracle) - start) // selector.stride))
            for position, frame in enumerate(sample.frames):
                at = start + position * selector.stride
                time, planes = oracle[at]
                assert frame.index == at
                assert frame.pts == pytest.approx(time - oracle[0][0], abs=1e-6)
                for got, expected in zip(frame.planes, planes, strict=True):
                    rows = np.ascontiguousarray(got).view(np.uint8).reshape(got.shape[0], -1)
                    np.testing.assert_array_equal(rows, expected)
        assert source.counts.decoded + source.counts.skipped == len(oracle)
        assert source.counts.lost == source.counts.corrupt == source.counts.dropped_samples == 0
        assert [w.code for w in source.warnings] == (["interlaced"] if "tff" in name else [])
        if selector == TimeGrid(1, 2):
            assert (source.counts.skipped > len(oracle) // 8) == saves


def test_the_tail_of_a_closed_gop_is_left_out(h264_mp4: Path) -> None:
    with PyAVSource(h264_mp4, threads=1) as source:
        samples = list(source.frames(TimeGrid(1)))
    # 48 frames at 24 fps with a key frame every 12: both samples are key frames. The search for
    # the first frame decodes as many frames as the decoder's delay asks for.
    assert [s.frames[0].index for s in samples] == [0, 24]
    assert source.counts.decoded <= 2 + 4
    assert source.counts.decoded + source.counts.skipped == 48


@pytest.mark.parametrize("selective", [False, True])
def test_program_stream_with_slipping_timestamps(make_clip: Any, selective: bool) -> None:
    path = make_clip("mpeg2.mpg", Clip("mpeg2video", frames=96, options={"g": "15", "bf": "2"}))
    with PyAVSource(path, selective=selective) as source:
        samples = list(source.frames(TimeGrid(4)))
    assert [s.k for s in samples] == list(range(16))
    assert [s.frames[0].index for s in samples] == list(range(0, 96, 6))


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize("name", ["x264_pyramid.mp4", "x265_closed.mkv", "vp9_altref.webm", "av1.mp4"])
def test_threads_do_not_change_the_samples(make_clip: Any, name: str, threads: int) -> None:
    path = make_clip(name, CASES[name][0])
    oracle = decode_everything(path)
    with PyAVSource(path, threads=threads) as source:
        frames = [f for s in source.frames(TimeGrid(2, 2)) for f in s.frames]
    assert [f.index for f in frames] == [i for k in range(8) for i in (12 * k, 12 * k + 1)]
    for frame in frames:
        np.testing.assert_array_equal(frame.planes[0], oracle[frame.index][1][0])


def test_frames_outlive_the_source(h264_mp4: Path) -> None:
    with PyAVSource(h264_mp4) as source:
        kept = list(source.frames(EveryFrame()))
    oracle = decode_everything(h264_mp4)
    for sample, (_, planes) in zip(kept, oracle, strict=True):
        np.testing.assert_array_equal(sample.frames[0].planes[0], planes[0])


def test_planes_are_not_copied(h264_mp4: Path) -> None:
    with PyAVSource(h264_mp4) as source:
        frame = next(iter(source.frames(EveryFrame()))).frames[0]
    address = frame.planes[0].__array_interface__["data"][0]
    assert address == frame._owner.planes[0].buffer_ptr


def test_stopping_early_is_clean(h264_mp4: Path) -> None:
    for _ in range(20):
        with PyAVSource(h264_mp4, threads=2) as source:
            iterator = source.frames(TimeGrid(8))
            next(iterator)
            iterator.close()
