"""Segments by GOP and by shot: parts of one pass, that change nothing of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips
from tests.video.test_shots import FPS, film

import vqafast
from vqafast.errors import Unsupported
from vqafast.scoring.assessment import Scale
from vqafast.scoring.report import pooler_of
from vqafast.scoring.segments import cmcd_of, parts_of
from vqafast.video.source import Marks

if TYPE_CHECKING:
    from pathlib import Path

SHOTS = [30, 25, 40, 20]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    film(path, SHOTS, g="18", sc_threshold="0", bf="2")
    return path


@pytest.fixture(scope="module")
def scorer() -> vqafast.Scorer:
    return vqafast.Scorer(threads=1)


def keys_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0) if frame.key_frame]


def test_gops_begin_at_key_frames(movie: Path, scorer: vqafast.Scorer) -> None:
    got = scorer.assess(movie, window="gop")
    keys = keys_of(movie)
    assert len(keys) == 7
    assert [s.start for s in got.segments] == pytest.approx(keys, abs=1e-6)
    assert [s.end for s in got.segments] == pytest.approx([*keys[1:], sum(SHOTS) / FPS], abs=1e-6)


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "libsvtav1", "mpeg2video", "mjpeg"])
def test_gops_of_other_codecs(codec: str, scorer: vqafast.Scorer, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    options = {
        "libx265": {"x265-params": "keyint=20:min-keyint=20:scenecut=0:log-level=none:open-gop=1"},
        "libsvtav1": {"svtav1-params": "lp=1:keyint=20", "preset": "12"},
        "mjpeg": {},
    }.get(codec, {"g": "20"})
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    clips.encode(path, clips.Clip(codec=codec, frames=60, options=options, pix_fmt=pix_fmt))
    got = scorer.assess(path, window="gop")
    keys = keys_of(path)
    assert len(keys) >= 3
    starts = [s.start for s in got.segments]
    # Those that hold a sampled frame; of mjpeg every frame is a GOP.
    held = [i for i, k in enumerate(keys) if any(k <= f.pts < ([*keys, 1e9][i + 1]) for f in got.frames)]
    assert starts == pytest.approx([keys[i] for i in held], abs=1e-3)
    empty = [w.message for w in got.warnings if w.code == "empty_windows"]
    missing = len(keys) - len(held)
    assert empty == (
        [f"{missing} of {len(keys)} gops hold no sampled frame and are left out"] * (missing > 0)
    )


def test_shots_begin_at_cuts(movie: Path, scorer: vqafast.Scorer) -> None:
    got = scorer.assess(movie, window="shot")
    edges = np.cumsum([0, *SHOTS]) / FPS
    # Known as well as pictures are decoded: this one's key frames lie elsewhere.
    assert [s.start for s in got.segments] == pytest.approx(edges[:-1], abs=0.5)
    assert [s.end for s in got.segments] == pytest.approx(edges[1:], abs=0.5)


def test_a_cut_is_at_the_key_frame_that_was_put_there(tmp_path: Path, scorer: vqafast.Scorer) -> None:
    cuts = film(tmp_path / "film.mkv", SHOTS, g="250")
    assert keys_of(tmp_path / "film.mkv")[1:] == pytest.approx(cuts, abs=2e-3)
    got = scorer.assess(tmp_path / "film.mkv", window="shot")
    assert [s.start for s in got.segments[1:]] == pytest.approx(cuts, abs=2e-3)


@pytest.mark.parametrize("window", [0.7, "gop", "shot"])
@pytest.mark.parametrize("pooling", ["hysteresis", "mean", "min"])
def test_segmenting_changes_nothing(movie: Path, scorer: vqafast.Scorer, window: Any, pooling: str) -> None:
    whole = scorer.assess(movie, pooling=pooling)
    got = scorer.assess(movie, window=window, pooling=pooling)
    assert (got.score, got.frames, got.uncertainty) == (whole.score, whole.frames, whole.uncertainty)
    assert got.counts == whole.counts
    # The parts are the whole: every frame lies in one, and a part is pooled as a video of its own is.
    pooler = pooler_of(scorer.spec)
    c = pooler.calibration
    inside = 0
    for segment in got.segments:
        frames = [f.score for f in got.frames if segment.start <= f.pts < segment.end]
        assert len(frames) == segment.frames
        inside += len(frames)
        if pooling != "hysteresis":
            expected = np.mean(frames) if pooling == "mean" else min(frames)
            assert segment.score == pytest.approx(expected, abs=1e-4)
        assert segment.cmcd == round(segment.score)
    assert inside == len(got.frames)
    assert c.min == 0


def test_one_segment_is_the_whole(tmp_path: Path, scorer: vqafast.Scorer) -> None:
    clips.encode(tmp_path / "one.mp4", clips.Clip(frames=48, options={"g": "250", "sc_threshold": "0"}))
    for window in (60.0, "gop", "shot"):
        got = scorer.assess(tmp_path / "one.mp4", window=window)
        assert [(s.start, s.score) for s in got.segments] == [(0.0, got.score)]


def test_pushed_frames_and_pipes_have_shots_and_no_gops(movie: Path, scorer: vqafast.Scorer) -> None:
    rows: list[Any] = []
    with av.open(str(movie)) as container:
        rows = [f.to_ndarray(format="yuv420p") for f in container.decode(video=0)]
    high, wide = 96, 160
    with pytest.raises(Unsupported, match="only coded video has GOPs"):
        scorer.stream(wide, high, "yuv420p", window="gop")
    with scorer.stream(wide, high, "yuv420p", time_base=1 / FPS, window="shot") as stream:
        for i, row in enumerate(rows):
            flat = row.reshape(-1)
            y, u, v = np.split(flat, [wide * high, wide * high * 5 // 4])
            half = (high // 2, wide // 2)
            stream.push((y.reshape(high, wide), u.reshape(half), v.reshape(half)), i)
        pushed = stream.finish()
    header = f"YUV4MPEG2 W{wide} H{high} F{FPS}:1 Ip A1:1 C420jpeg\n".encode()
    piped = scorer.assess(
        io.BytesIO(header + b"".join(b"FRAME\n" + row.tobytes() for row in rows)), window="shot"
    )
    edges = list(np.cumsum([0, *SHOTS]) / FPS)
    for got in (pushed, piped):
        # Every picture is there, so the cuts are exact.
        assert [s.start for s in got.segments] == pytest.approx(edges[:-1], abs=1e-6)
    assert piped.segments[-1].end == pytest.approx(edges[-1])
    with pytest.raises(Unsupported, match="only coded video has GOPs"):
        scorer.assess(io.BytesIO(header + b"FRAME\n" + rows[0].tobytes()), window="gop")


def test_parts_of_damaged_and_odd_times() -> None:
    pts = np.array([0.4, 0.9, 1.4, 9.0])
    marks = Marks(keys=[0.2, 1.0, 1.2, 5.0, 20.0], end=21.0)
    parts, total = parts_of("gop", marks, pts, None)
    # What comes before the first key frame belongs to a segment too.
    assert [(p.start, p.end, p.frames.start, p.frames.stop) for p in parts] == [
        (0.2, 1.0, 0, 2), (1.2, 5.0, 2, 3), (5.0, 20.0, 3, 4),
    ]  # fmt: skip
    assert total == 6


def test_cmcd_is_a_whole_number_from_worst_to_best() -> None:
    up = Scale("s", 1.0, 5.0, "higher_is_better", "")
    down = Scale("s", 0.0, 1.0, "lower_is_better", "")
    assert [cmcd_of(s, up) for s in (0.0, 1.0, 3.0, 5.0, 6.0)] == [0, 0, 50, 100, 100]
    assert [cmcd_of(s, down) for s in (0.0, 0.25, 1.0)] == [100, 75, 0]
