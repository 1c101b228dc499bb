"""Ensembles in the engine: the score of the mean head, and how far off it may be."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vqafast.models.spec import Uncertainty
from vqafast.scoring.assessment import Assessment
from vqafast.scoring.report import pooler_of
from vqafast.scoring.scorer import Scorer
from vqafast.video import open_source
from vqafast.video.sampling import EveryFrame

from .random_model import export
from .test_assessment import validate

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.scoring.stream import ScoreStream

KNOWN = Uncertainty(0.5, 2.0, ((20.0, 3.0), (80.0, 0.5)), 0.9, "against nothing: random weights")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "ensemble"
    export(directory, heads=3, uncertainty=KNOWN)
    return directory


@pytest.fixture(scope="module")
def scorer(ensemble) -> Scorer:
    return Scorer(ensemble, threads=2)


@pytest.fixture(scope="module")
def whole(scorer, clip) -> Assessment:
    return scorer.assess(clip, window=4.0)


def raw_members(scorer: Scorer, clip: Path) -> np.ndarray:
    """Outputs ``(K, T)`` by the runtime alone."""
    runtime = scorer._model
    with open_source(clip) as source:
        samples = list(source.frames(runtime.selector()))
    quality = runtime.quality_features([runtime.ingest_quality(s) for s in samples])
    semantic = runtime.semantic_features([runtime.ingest_semantic(s) for s in samples])
    parts = [
        runtime.member_scores(quality[i : i + 8], semantic[i : i + 8]) for i in range(0, len(samples), 8)
    ]
    return np.concatenate(parts, axis=1)


def test_score_and_half_width_from_the_heads(scorer, clip, whole):
    raw = raw_members(scorer, clip)
    pooler = pooler_of(scorer.spec)
    free = dataclasses.replace(pooler, calibration=dataclasses.replace(pooler.calibration, clip=False))
    mean = raw.astype(np.float64).mean(axis=0).astype(np.float32)
    assert whole.score == pytest.approx(pooler.pool(mean, "hysteresis"), abs=1e-3)
    np.testing.assert_allclose([f.score for f in whole.frames], pooler.calibration.apply(mean), atol=1e-3)
    spread = np.std([free.pool(row, "hysteresis") for row in raw])
    assert spread > 1
    got = whole.uncertainty
    assert got.spread == pytest.approx(spread, rel=1e-3)
    factor = np.interp(whole.score, [20, 80], [3, 0.5])
    assert got.half_width == pytest.approx(math.hypot(0.5, 2 * spread) * factor, rel=1e-3)
    assert got.low == max(0, whole.score - got.half_width)
    assert got.high == min(100, whole.score + got.half_width)
    assert (got.members, got.coverage, got.meaning) == (3, 0.9, KNOWN.meaning)


def test_segments_have_one_each(scorer, clip, whole):
    raw = raw_members(scorer, clip)
    pooler = pooler_of(scorer.spec)
    free = dataclasses.replace(pooler, calibration=dataclasses.replace(pooler.calibration, clip=False))
    assert [s.frames for s in whole.segments] == [8, 8, 4]
    for i, segment in enumerate(whole.segments):
        spread = np.std([free.pool(row[8 * i : 8 * i + 8], "hysteresis") for row in raw])
        assert segment.uncertainty == pytest.approx(KNOWN.half_width(segment.score, spread), rel=1e-3)


def test_it_goes_to_json_and_back(whole):
    data = json.loads(whole.to_json())
    validate(data)
    assert data["uncertainty"]["members"] == 3
    assert Assessment.from_json(whole.to_json()) == whole


@pytest.mark.parametrize("pooling", ["mean", "min", "p5", "harmonic"])
def test_other_poolings_have_none(scorer, clip, whole, pooling):
    got = scorer.assess(clip, pooling=pooling, window=4.0)
    assert got.uncertainty is None
    assert [s.uncertainty for s in got.segments] == [None] * 3
    assert got.frames == whole.frames


def test_a_model_with_one_head_has_none(model, clip):
    got = Scorer(model, threads=2).assess(clip, window=4.0)
    assert got.uncertainty is None
    assert [s.uncertainty for s in got.segments] == [None] * 3


def test_batch_and_threads_and_draws(ensemble, clip, whole):
    for options in ({"batch": 1}, {"threads": 1}):
        got = Scorer(ensemble, **options).assess(clip)
        assert got.score == pytest.approx(whole.score, abs=1e-3)
        assert got.uncertainty.half_width == pytest.approx(whole.uncertainty.half_width, abs=1e-2)
    drawn = Scorer(ensemble, samples=3, threads=2).assess(clip)
    assert drawn.spread.samples == 3
    assert drawn.uncertainty.half_width == pytest.approx(whole.uncertainty.half_width, rel=0.3)


def pushed(stream: ScoreStream, clip: Path) -> Assessment:
    with open_source(clip) as source, stream:
        for sampled in source.frames(EveryFrame()):
            (frame,) = sampled.frames
            stream.push(frame.planes, frame.pts)
        return stream.finish()


def test_a_stream_has_it_too(scorer, clip, whole):
    got = pushed(scorer.stream(160, 96, "yuv420p", window=4.0), clip)
    assert got.score == pytest.approx(whole.score, abs=1e-3)
    assert got.uncertainty.half_width == pytest.approx(whole.uncertainty.half_width, abs=1e-2)
    assert [s.uncertainty for s in got.segments] == pytest.approx(
        [s.uncertainty for s in whole.segments], abs=1e-2
    )
