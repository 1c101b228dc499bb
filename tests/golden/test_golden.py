"""Scores of the embedded model on generated clips stay what they were published as."""

import json

import pytest
from tests.golden.make_golden import CLIPS, GOLDEN

import vqafast

#: Of 100. Encoders and engines differ in the last bits between machines; a changed model,
#: colour conversion or sampling moves scores by far more.
TOLERANCE = 0.1


@pytest.fixture(scope="module")
def scorer():
    return vqafast.Scorer(threads=2)


@pytest.fixture(scope="module")
def golden(scorer):
    data = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert data["weights_sha256"] == scorer.spec.weights_sha256, "new weights need a new golden.json"
    return data["scores"]


@pytest.mark.parametrize("name", CLIPS)
def test_scores(scorer, golden, make_clip, name):
    result = scorer.assess(make_clip(f"golden_{name}", CLIPS[name]))
    assert result.score == pytest.approx(golden[name]["score"], abs=TOLERANCE)
    assert [f.score for f in result.frames] == pytest.approx(golden[name]["frames"], abs=TOLERANCE)


def test_more_compression_scores_lower(golden):
    ladder = [golden[f"crf{crf}.mp4"]["score"] for crf in (18, 32, 46)]
    assert ladder == sorted(ladder, reverse=True)
    assert ladder[0] - ladder[-1] > 15
