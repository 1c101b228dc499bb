"""Pushed frames: the same scores as a file, a rolling score, and an end that leaves nothing."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from tests import clips

from vqafast.errors import InvalidArgument, NoFrames, Unsupported
from vqafast.scoring.scorer import Scorer

from .fakes import decode_threads
from .test_assessment import validate

FRAMES, WIDTH, HEIGHT, FPS = 100, 96, 64, 10


def planes_of(index: int) -> list[np.ndarray]:
    rgb = clips.content(index, WIDTH, HEIGHT)
    return [rgb[..., 0].copy(), rgb[::2, ::2, 1].copy(), rgb[::2, ::2, 2].copy()]


@pytest.fixture(scope="module")
def frames() -> list[list[np.ndarray]]:
    return [planes_of(i) for i in range(FRAMES)]


@pytest.fixture(scope="module")
def y4m(frames) -> bytes:
    header = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg"
    return clips.y4m([[p.tobytes() for p in planes] for planes in frames], header)


@pytest.fixture(scope="module")
def as_file(scorer, y4m):
    return scorer.assess(io.BytesIO(y4m), window=2)


def open_stream(scorer, **kwargs):
    return scorer.stream(WIDTH, HEIGHT, "yuv420p", Fraction(1, FPS), **kwargs)


def test_pushed_frames_score_as_the_file(scorer, frames, as_file):
    with open_stream(scorer, window=2) as stream:
        for planes in frames:
            stream.push(planes)
        got = stream.finish()
    assert got.score == as_file.score
    assert [f.score for f in got.frames] == [f.score for f in as_file.frames]
    assert [f.index for f in got.frames] == [f.index for f in as_file.frames]
    assert [f.pts for f in got.frames] == pytest.approx([f.pts for f in as_file.frames])
    assert [s.score for s in got.segments] == [s.score for s in as_file.segments]
    assert got.counts.scored == 20
    assert got.path == "<pushed frames>"
    validate(got.to_dict())


def test_decoded_file_pushed_frame_by_frame(scorer, clip):
    """The planes that PyAV decodes, pushed with their own times, score as the file does."""
    expected = scorer.assess(clip)
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        stream = scorer.stream(video.width, video.height, "yuv420p", video.time_base)
        for frame in container.decode(video):
            planes = [
                np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width]
                for p in frame.planes
            ]
            stream.push(planes, frame.pts)
    got = stream.finish()
    assert got.score == pytest.approx(expected.score, abs=1e-6)
    assert [f.index for f in got.frames] == [f.index for f in expected.frames]
    np.testing.assert_allclose([f.score for f in got.frames], [f.score for f in expected.frames], atol=1e-6)


def test_rolling_score_follows_the_windows(scorer, frames, as_file):
    """Windows of 8 samples at 2 a second: a new value each time the last sample is complete."""
    stream = open_stream(scorer, pooling="mean")
    assert stream.rolling is None
    seen = [(i, stream.rolling) for i, planes in enumerate(frames) if stream.push(planes)]
    # Sample 7 starts at 3.5 s, and its pair is complete one frame later.
    assert [i for i, _ in seen] == [36, 76]
    values = np.array([f.score for f in as_file.frames])
    assert seen[0][1] == pytest.approx(values[:8].mean())
    assert seen[1][1] == pytest.approx(values[8:16].mean())
    stream.finish()
    assert stream.rolling == pytest.approx(values[16:].mean())


def test_rolling_over_several_windows(scorer, frames, as_file):
    stream = open_stream(scorer, pooling="mean", rolling_windows=2)
    for planes in frames:
        stream.push(planes)
    values = np.array([f.score for f in as_file.frames])
    assert stream.rolling == pytest.approx(values[:16].mean())
    stream.finish()
    assert stream.rolling == pytest.approx(values[8:].mean())


def test_buffers_may_be_reused_by_the_caller(scorer, frames, as_file):
    buffers = planes_of(0)
    stream = open_stream(scorer)
    for planes in frames:
        for buffer, plane in zip(buffers, planes, strict=True):
            buffer[...] = plane
        stream.push(buffers)
    assert stream.finish().score == as_file.score


def test_anything_with_dlpack(scorer, frames, as_file):
    class Tensor:
        def __init__(self, array: np.ndarray) -> None:
            self._array = array

        def __dlpack__(self, **kwargs):
            return self._array.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self._array.__dlpack_device__()

    stream = open_stream(scorer)
    for planes in frames:
        stream.push([Tensor(p) for p in planes])
    assert stream.finish().score == as_file.score


def test_variable_frame_times(scorer, frames):
    """Slow frames are sampled once each and never repeated."""
    stream = open_stream(scorer)
    for i, planes in enumerate(frames[:10]):
        stream.push(planes, 20 * i)
    got = stream.finish()
    # The last frame has no successor: its sample would show no motion, and is left out.
    assert [f.pts for f in got.frames] == pytest.approx([2.0 * i for i in range(9)])


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 36])
def test_ends_between_the_frames_of_a_sample(scorer, frames, count):
    """A stream and a file agree wherever the video ends; samples begin at every fifth frame."""
    header = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg"
    data = clips.y4m([[p.tobytes() for p in planes] for planes in frames[:count]], header)
    expected = scorer.assess(io.BytesIO(data))
    stream = open_stream(scorer)
    for planes in frames[:count]:
        stream.push(planes)
    got = stream.finish()
    assert [f.index for f in got.frames] == [0, *range(5, count - 1, 5)]
    assert [(f.index, f.score) for f in got.frames] == [(f.index, f.score) for f in expected.frames]
    assert got.score == expected.score
    assert [w.code for w in got.warnings] == [w.code for w in expected.warnings]
    codes = {1: ["no_motion", "one_sample"], 2: ["one_sample"], 5: ["one_sample"], 6: ["one_sample"]}
    assert [w.code for w in got.warnings] == codes.get(count, [])
    assert got.counts.scored == expected.counts.scored == len(got.frames)
    assert stream.rolling is not None


def test_streams_share_a_scorer(scorer, frames, as_file):
    streams = [open_stream(scorer) for _ in range(2)]
    for planes in frames:
        for stream in streams:
            stream.push(planes)
    assert [s.finish().score for s in streams] == [as_file.score] * 2


def test_draws(model, frames, as_file):
    stream = open_stream(Scorer(model, threads=2, samples=2))
    for planes in frames:
        stream.push(planes)
    got = stream.finish()
    assert got.spread is not None
    assert got.spread.scores[0] == as_file.score


def test_finish_is_final(scorer, frames):
    stream = open_stream(scorer)
    for planes in frames[:20]:
        stream.push(planes)
    first = stream.finish()
    assert stream.finish() is first
    with pytest.raises(InvalidArgument, match="finished or closed"):
        stream.push(frames[0])


def test_nothing_pushed(scorer):
    with pytest.raises(NoFrames, match="at least one frame"):
        open_stream(scorer).finish()


def test_closed_early(scorer, frames):
    with open_stream(scorer) as stream:
        stream.push(frames[0])
    with pytest.raises(InvalidArgument, match="closed"):
        stream.push(frames[1])
    with pytest.raises(InvalidArgument, match="closed"):
        stream.finish()
    assert decode_threads() == []


def test_wrong_frames_are_refused_and_the_stream_goes_on(scorer, frames):
    stream = open_stream(scorer)
    stream.push(frames[0])
    with pytest.raises(InvalidArgument, match="3 planes, got 1"):
        stream.push(frames[1][:1])
    with pytest.raises(InvalidArgument, match="shape"):
        stream.push([p[:-1] for p in frames[1]])
    with pytest.raises(InvalidArgument, match="uint8"):
        stream.push([p.astype(np.uint16) for p in frames[1]])
    with pytest.raises(InvalidArgument, match="increase"):
        stream.push(frames[1], 0)
    stream.push(frames[1])
    assert stream.finish().counts.decoded == 2


def test_wrong_streams_are_refused(scorer):
    with pytest.raises(Unsupported, match="pix_fmt"):
        scorer.stream(96, 64, "rgb24")
    with pytest.raises(InvalidArgument, match="positive"):
        scorer.stream(96, 64, "yuv420p", 0)
    with pytest.raises(InvalidArgument, match="pooling"):
        scorer.stream(96, 64, "yuv420p", pooling="median")
    with pytest.raises(InvalidArgument, match="rolling_windows"):
        scorer.stream(96, 64, "yuv420p", rolling_windows=0)
