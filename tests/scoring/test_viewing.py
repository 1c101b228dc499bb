"""Scoring on a display: equal to scoring what FFmpeg's scale filter makes, and to itself."""

from __future__ import annotations

import io
import json
import subprocess
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests import clips

import vqafast
from vqafast.errors import InvalidArgument, TooSmall
from vqafast.scoring.assessment import Assessment, DisplayInfo
from vqafast.scoring.scorer import Scorer
from vqafast.video import open_source
from vqafast.video.sampling import EveryFrame

from .test_assessment import validate

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def shown(scorer, clip) -> Assessment:
    return scorer.assess(clip, display=(400, 300), window=2.0)


def same(a: Assessment, b: Assessment) -> None:
    np.testing.assert_allclose([f.score for f in a.frames], [f.score for f in b.frames], atol=TOLERANCE)
    assert a.score == pytest.approx(b.score, abs=TOLERANCE)


def scale(path: Path, width: int, height: int) -> bytes:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    chain = f"scale={width}:{height}:flags=bicubic"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf", chain]
    return subprocess.run([*command, "-f", "yuv4mpegpipe", "-"], capture_output=True, check=True).stdout


def test_it_is_what_a_scaled_file_scores(scorer, clip, shown):
    """160x96 fits 400x300 as 400x240."""
    same(scorer.assess(io.BytesIO(scale(clip, 400, 240))), shown)
    assert shown.score != pytest.approx(scorer.score(clip), abs=0.01)
    assert shown.display == DisplayInfo(400, 300, 400, 240)
    assert (shown.video.width, shown.video.height) == (160, 96)


def test_it_is_recorded(shown):
    data = json.loads(shown.to_json())
    validate(data)
    assert data["display"] == {"width": 400, "height": 300, "shown_width": 400, "shown_height": 240}
    assert Assessment.from_json(shown.to_json()) == shown


def test_without_a_display_nothing_is_recorded(scorer, clip):
    assert scorer.assess(clip).display is None


def test_its_own_size_changes_nothing(scorer, clip):
    plain, own = scorer.assess(clip), scorer.assess(clip, display=(160, 96))
    assert plain.frames == own.frames
    assert own.display == DisplayInfo(160, 96, 160, 96)


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 3}, {"threads": 1}, {"threads": 3}], ids=str)
def test_batch_and_threads(model, clip, shown, options):
    same(Scorer(model, **{"threads": 2, **options}, display="400x300").assess(clip), shown)


def test_twice_the_same_and_windows(scorer, clip, shown):
    again = scorer.assess(clip, display=(400, 300))
    assert again.frames == shown.frames
    assert again.score == shown.score
    assert sum(s.frames for s in shown.segments) == 20


def test_selective_decoding_stays(scorer, clip, shown):
    assert shown.counts == scorer.assess(clip).counts
    assert shown.counts.skipped > 0


def test_a_y4m_and_a_stream_equal_the_file(scorer, clip, shown):
    same(scorer.assess(io.BytesIO(scale(clip, 160, 96)), display=(400, 300)), shown)
    with open_source(clip) as source, scorer.stream(160, 96, "yuv420p", display="400x300") as stream:
        for sampled in source.frames(EveryFrame()):
            stream.push(sampled.frames[0].planes, sampled.frames[0].pts)
        got = stream.finish()
    same(got, shown)
    assert got.display == shown.display


def test_bit_equal_frames_give_bit_equal_scores(scorer, clip, shown):
    """A file and the stream of its frames go through the same batches."""
    with open_source(clip) as source, scorer.stream(160, 96, "yuv420p", display=(400, 300)) as stream:
        for sampled in source.frames(EveryFrame()):
            stream.push(sampled.frames[0].planes, sampled.frames[0].pts)
        assert [f.score for f in stream.finish().frames] == [f.score for f in shown.frames]


def test_rungs_of_a_ladder_meet_at_the_display(scorer, make_clip):
    sizes = [(160, 96), (320, 192), (480, 288)]
    rungs = [make_clip(f"rung{w}.mkv", clips.Clip("ffv1", frames=13, width=w, height=h)) for w, h in sizes]
    shown = [scorer.assess(r, display=(480, 300)).display for r in rungs]
    assert shown == [DisplayInfo(480, 300, 480, 288)] * 3


def test_a_turned_picture_is_fitted_as_seen(scorer, make_clip):
    path = make_clip("display_turned.mp4", clips.Clip(frames=13, width=320, height=192, rotation=90))
    got = scorer.assess(path, display=(400, 300))
    assert got.display == DisplayInfo(400, 300, 180, 300)


def test_the_module_functions_take_it(model, clip, shown):
    from vqafast.scoring import api

    before = len(api._scorers)
    assert vqafast.score(clip, model=model, threads=2, display=(400, 300)) == shown.score
    assert vqafast.assess(clip, model=model, threads=2, display="400x300").display == shown.display
    vqafast.score(clip, model=model, threads=2)
    assert len(api._scorers) <= before + 1


def test_hostile_sizes(scorer, clip, make_clip):
    for value in ((10**9, 10**9), "99999x99999", (0, 100), (8192, 8192)):
        with pytest.raises(InvalidArgument, match="display: "):
            scorer.assess(clip, display=value)
        with pytest.raises(InvalidArgument, match="display: "):
            scorer.stream(160, 96, "yuv420p", display=value)
    strip = make_clip("strip.mkv", clips.Clip("ffv1", frames=2, width=640, height=32))
    with pytest.raises(TooSmall, match=r"strip\.mkv: on the display the picture .* got 320x16") as caught:
        scorer.assess(strip, display=(320, 240))
    assert caught.value.path == str(strip)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_aspect_ratio_that_leaves_a_strip(make_clip, threads):
    narrow = make_clip("narrow.mp4", clips.Clip(frames=24, width=160, height=96, aspect=Fraction(1, 8)))
    whole = make_clip("whole.mp4", clips.Clip(frames=24, width=160, height=96))
    scorer = vqafast.Scorer(threads=threads)
    score = scorer.score(whole)
    with pytest.raises(TooSmall, match=r"narrow\.mp4: on the display the picture .* got 20x96"):
        scorer.score(narrow)
    # What is found only while it runs costs no other video its score.
    assert scorer.score(whole) == score
