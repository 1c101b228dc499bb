"""Pooling by its definitions, on numbers small enough to check by hand."""

import numpy as np
import pytest

from vqafast.errors import InvalidArgument
from vqafast.scoring.assessment import Scale
from vqafast.scoring.calibration import Calibration
from vqafast.scoring.pooling import POOLINGS, Pooler
from vqafast.scoring.segments import check_window, parts_of
from vqafast.video.source import Marks

IDENTITY = Calibration(scale=1.0, offset=0.0, min=0.0, max=100.0)
POOLER = Pooler(IDENTITY)


def series(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_mean_min_p5():
    raw = series(*range(0, 101, 10))
    assert POOLER.pool(raw, "mean") == pytest.approx(50)
    assert POOLER.pool(raw, "min") == 0
    # 5 % of the way through 10 gaps: half way between the first two values.
    assert POOLER.pool(raw, "p5") == pytest.approx(5)


def test_harmonic_survives_a_zero():
    # 2 / (1/1 + 1/101) - 1
    assert POOLER.pool(series(0, 100), "harmonic") == pytest.approx(2 / (1 + 1 / 101) - 1)
    assert POOLER.pool(series(0, 0), "harmonic") == pytest.approx(0)
    assert POOLER.pool(series(42, 42, 42), "harmonic") == pytest.approx(42)


def test_harmonic_is_shifted_with_the_scale():
    pooler = Pooler(Calibration(scale=1.0, offset=1.0, min=1.0, max=5.0))
    assert pooler.pool(series(0, 4), "harmonic") == pytest.approx(1 + 2 / (1 + 1 / 5) - 1)


def test_harmonic_without_clipping_takes_scores_below_the_scale_as_its_end():
    pooler = Pooler(Calibration(1.0, 0.0, 0.0, 100.0, clip=False))
    assert pooler.pool(series(-50, 100), "harmonic") == pooler.pool(series(0, 100), "harmonic")


def test_hysteresis_is_pooled_raw_and_calibrated_afterwards():
    from vqafast.ops import hysteresis_pool

    raw = series(0.2, 0.9, 0.4, 0.6, 0.1, 0.8, 0.7, 0.3)
    calibration = Calibration(scale=80.0, offset=5.0, min=0.0, max=100.0)
    pooled, _ = hysteresis_pool.reference(raw[None], alpha=0.3, beta=2)
    got = Pooler(calibration, alpha=0.3, beta=2).pool(raw, "hysteresis")
    assert got == pytest.approx(float(pooled[0]) * 80 + 5, rel=1e-5)


@pytest.mark.parametrize("method", POOLINGS)
def test_constant_series_pools_to_itself(method):
    assert POOLER.pool(series(*[37.5] * 9), method) == pytest.approx(37.5, rel=1e-6)
    assert POOLER.pool(series(37.5), method) == pytest.approx(37.5, rel=1e-6)


def test_calibration_clips_only_when_told():
    assert list(Calibration(10, -5, 0, 100).apply([0, 1, 20])) == [0, 5, 100]
    assert list(Calibration(10, -5, 0, 100, clip=False).apply([0, 1, 20])) == [-5, 5, 195]


def segments(raws, pts, window, method, duration=None):
    parts, _ = parts_of(window, Marks(), np.asarray(pts), duration)
    return POOLER.segments(raws, parts, method, Scale("", 0.0, 100.0, "higher_is_better", ""))


def test_segments_split_by_time_and_leave_gaps_out():
    pts = [0.0, 0.5, 1.0, 1.9999999, 5.0]
    got = segments([series(10, 20, 30, 40, 50)], pts, 1.0, "mean")
    assert [(s.start, s.end, s.frames) for s in got] == [(0, 1, 2), (1, 2, 1), (2, 3, 1), (5, 6, 1)]
    assert [s.score for s in got] == [15, 30, 40, 50]
    assert [s.cmcd for s in got] == [15, 30, 40, 50]


def test_last_segment_ends_with_the_video():
    got = segments([series(1, 2)], [0.0, 2.0], 2.0, "mean", duration=2.5)
    assert [(s.start, s.end) for s in got] == [(0.0, 2.0), (2.0, 2.5)]
    # A declared duration that the frames contradict is not believed.
    got = segments([series(1, 2)], [0.0, 2.0], 2.0, "mean", duration=0.1)
    assert got[-1].end == 4.0


def test_segment_score_is_the_mean_over_draws():
    (got,) = segments([series(10), series(20)], [0.0], 1.0, "min")
    assert got.score == 15


@pytest.mark.parametrize("window", [0, -1.0, float("nan"), float("inf"), "2", "gops", [1]])
def test_bad_window(window):
    with pytest.raises(InvalidArgument, match="window: must be a positive number"):
        check_window(window)


def test_bad_pooling_names_the_good_ones():
    with pytest.raises(InvalidArgument, match="raw_mean, mean, min, p5, harmonic, got 'median'"):
        POOLER.pool(series(1), "median")
    with pytest.raises(InvalidArgument, match="T at least 1"):
        POOLER.pool(series(), "mean")


def test_bad_calibration():
    with pytest.raises(InvalidArgument, match="finite"):
        Calibration(float("nan"), 0, 0, 100)
    with pytest.raises(InvalidArgument, match="min must be below max"):
        Calibration(1, 0, 100, 0)
