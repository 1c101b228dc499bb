"""Scoring of generated clips with a random model: what must not change a score, and what is told."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import threading

import numpy as np
import pytest
from tests import clips

import vqafast
from vqafast.errors import (
    InvalidArgument,
    MissingFile,
    ModelError,
    NotAVideo,
)
from vqafast.scoring.assessment import Assessment
from vqafast.scoring.pooling import POOLINGS
from vqafast.scoring.scorer import Scorer

from .fakes import decode_threads
from .test_assessment import validate

# Float32 rounding of convolutions differs with the batch's shape; scores have two digits.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def whole(scorer, clip) -> Assessment:
    return scorer.assess(clip, window=2.0)


def scores(result: Assessment) -> np.ndarray:
    return np.array([f.score for f in result.frames])


def test_the_assessment_is_complete(whole, clip, model):
    assert whole.path == str(clip)
    assert [f.pts for f in whole.frames] == pytest.approx([k / 2 for k in range(20)])
    assert [f.index for f in whole.frames] == [12 * k for k in range(20)]
    assert whole.counts.scored == 20
    assert whole.counts.decoded + whole.counts.skipped == 240
    assert len({f.score for f in whole.frames}) > 10
    assert whole.scale.min <= whole.score <= whole.scale.max
    assert whole.model.weights_sha256 == json.loads((model / "model.json").read_text())["weights_sha256"]
    assert whole.video.codec == "h264"
    assert (whole.video.width, whole.video.height) == (160, 96)
    assert whole.device == "cpu"
    assert whole.threads == 2
    assert whole.warnings == ()
    assert whole.spread is None
    assert whole.library_version == vqafast.__version__
    times = dataclasses.asdict(whole.timings)
    assert all(v > 0 for v in times.values())
    assert times["total"] >= max(v for k, v in times.items() if k != "total")


def test_real_output_fits_the_published_schema(whole, scorer, clip):
    validate(json.loads(whole.to_json()))
    assert Assessment.from_json(whole.to_json()) == whole


def test_twice_the_same(scorer, clip, whole):
    again = scorer.assess(clip, window=2.0)
    assert again.frames == whole.frames
    assert again.score == whole.score
    assert again.segments == whole.segments


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 3}, {"threads": 1}])
def test_batch_and_threads_do_not_change_the_score(model, clip, whole, options):
    got = Scorer(model, **{"threads": 2, **options}).assess(clip)
    np.testing.assert_allclose(scores(got), scores(whole), atol=TOLERANCE)
    assert got.score == pytest.approx(whole.score, abs=TOLERANCE)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_come_from_the_same_frame_scores(scorer, clip, whole, pooling):
    got = scorer.assess(clip, pooling=pooling)
    assert got.pooling == pooling
    assert got.frames == whole.frames
    assert whole.scale.min <= got.score <= whole.scale.max
    expected = {"mean": np.mean, "min": np.min, "p5": lambda s: np.percentile(s, 5)}
    if pooling in expected:
        assert got.score == pytest.approx(expected[pooling](scores(whole)), rel=1e-6)


def test_windows_are_pooled_from_the_same_pass(scorer, clip, whole):
    assert [(s.start, s.end, s.frames) for s in whole.segments] == [
        (2.0 * i, 2.0 * i + 2, 4) for i in range(5)
    ]  # fmt: skip
    by_mean = scorer.assess(clip, window=2.0, pooling="mean")
    assert by_mean.frames == whole.frames
    for i, segment in enumerate(by_mean.segments):
        assert segment.score == pytest.approx(scores(whole)[4 * i : 4 * i + 4].mean())


def test_windows_shorter_than_the_sampling_are_told(scorer, clip):
    got = scorer.assess(clip, window=0.25)
    assert len(got.segments) == 20
    assert [w.code for w in got.warnings] == ["empty_windows"]


def test_draws_give_a_spread(model, clip, whole):
    got = Scorer(model, threads=2, samples=3).assess(clip)
    assert got.spread is not None
    assert got.spread.samples == 3
    assert got.score == pytest.approx(np.mean(got.spread.scores))
    assert got.spread.std == pytest.approx(np.std(got.spread.scores, ddof=1))
    assert got.spread.low < got.score < got.spread.high
    # The first draw is the fixed grid of a single one, and decoding happened once.
    assert got.spread.scores[0] == pytest.approx(whole.score, abs=TOLERANCE)
    assert got.counts == whole.counts
    assert Scorer(model, threads=2, samples=3).score(clip) == got.score


def test_file_objects(scorer, clip, whole):
    with clip.open("rb") as file:
        assert scorer.score(file) == whole.score
        assert not file.closed
    assert scorer.score(io.BytesIO(clip.read_bytes())) == whole.score
    with pytest.raises(InvalidArgument, match="path: must be a path or a binary file"):
        scorer.score(42)


def test_shared_by_threads(scorer, clip, whole):
    got: list[float] = []
    threads = [threading.Thread(target=lambda: got.append(scorer.score(clip))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [whole.score] * 3


def test_a_video_of_one_frame(scorer, tmp_path):
    clips.encode(tmp_path / "one.mp4", clips.Clip(frames=1))
    got = scorer.assess(tmp_path / "one.mp4", window=2)
    assert got.counts.scored == 1
    assert [w.code for w in got.warnings] == ["no_motion", "one_sample"]
    for pooling in POOLINGS:
        assert scorer.score(tmp_path / "one.mp4", pooling=pooling) == pytest.approx(got.score, abs=1e-4)


def test_a_video_of_one_pair_shows_motion(scorer, tmp_path):
    clips.encode(tmp_path / "two.mp4", clips.Clip(frames=2))
    assert [w.code for w in scorer.assess(tmp_path / "two.mp4").warnings] == ["one_sample"]


def test_a_sample_on_the_very_last_frame_is_left_out(scorer, make_clip):
    """Samples are at 0, 0.5 and 1 s of 24 frames a second: frame 24 is the third, without a pair."""
    with_last = scorer.assess(make_clip("25 frames.mp4", clips.Clip(frames=25)), window=0.5)
    complete = scorer.assess(make_clip("26 frames.mp4", clips.Clip(frames=26)), window=0.5)
    assert [f.index for f in with_last.frames] == [0, 12]
    assert [f.index for f in complete.frames] == [0, 12, 24]
    assert len(with_last.segments) == 2
    assert with_last.counts.scored == 2
    # Nothing was damaged, so nothing counts as dropped and there is nothing to warn of.
    assert with_last.counts.dropped == 0
    assert with_last.warnings == ()


def test_errors_keep_their_types_and_close_everything(scorer, tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"this is not a video" * 100)
    with pytest.raises(NotAVideo) as caught:
        scorer.score(tmp_path / "x.mp4")
    assert caught.value.path == str(tmp_path / "x.mp4")
    with pytest.raises(MissingFile):
        scorer.score(tmp_path / "absent.mp4")
    assert decode_threads() == []


def test_early_close(scorer, clip):
    def stop(progress):
        raise KeyboardInterrupt

    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        scorer.assess(clip, progress=stop)
    assert decode_threads() == []
    assert len(os.listdir("/proc/self/fd")) == files
    # The scorer is as good as new.
    assert scorer.score(clip) == scorer.score(clip)


def test_arguments_are_checked_before_the_file_is_opened(scorer):
    with pytest.raises(InvalidArgument, match="pooling"):
        scorer.assess("absent.mp4", pooling="median")
    with pytest.raises(InvalidArgument, match="window"):
        scorer.assess("absent.mp4", window=0)


def test_unknown_model_and_altered_model(model, tmp_path):
    with pytest.raises(ModelError, match="a2inet-lite"):
        Scorer("nonsense")
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "temporal.onnx").open("ab") as altered:
        altered.write(b"x")
    with pytest.raises(ModelError, match=r"temporal\.onnx"):
        Scorer(tmp_path)


def test_module_functions_keep_one_scorer(model, clip, whole):
    from vqafast.scoring import api

    before = len(api._scorers)
    assert vqafast.score(clip, model=model, threads=2) == whole.score
    assert vqafast.assess(clip, model=model, threads=2).frames == whole.frames
    assert len(api._scorers) == before + 1
