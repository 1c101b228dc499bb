"""Intervals against SciPy, and by how often they cover the truth."""

import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import stats

from vqafast.errors import InvalidArgument
from vqafast.training import metrics
from vqafast.training.metrics import bootstrap_interval, fisher_interval, wilson_interval


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_fisher_for_pearson_is_scipys(confidence):
    generator = np.random.default_rng(0)
    x = generator.normal(size=40)
    y = x + generator.normal(size=40)
    expected = stats.pearsonr(x, y).confidence_interval(confidence)
    assert fisher_interval(metrics.plcc(x, y), 40, confidence=confidence) == pytest.approx(tuple(expected))


def test_variances_of_the_rank_correlations():
    for kind, variance in (("srcc", (1 + 0.8**2 / 2) / 27), ("krcc", 0.437 / 26)):
        low, high = fisher_interval(0.8, 30, kind)
        half = stats.norm.ppf(0.975) * math.sqrt(variance)
        assert math.atanh(high) - math.atanh(low) == pytest.approx(2 * half)
        assert (math.atanh(high) + math.atanh(low)) / 2 == pytest.approx(math.atanh(0.8))


@pytest.mark.parametrize("kind", ["plcc", "srcc", "krcc"])
def test_fisher_covers(kind):
    generator = np.random.default_rng(1)
    rho, n, runs = 0.7, 50, 1000
    truth = {
        "plcc": rho,
        "srcc": 6 / math.pi * math.asin(rho / 2),
        "krcc": 2 / math.pi * math.asin(rho),
    }[kind]
    measure = getattr(metrics, kind)
    inside = 0
    for _ in range(runs):
        x, noise = generator.normal(size=(2, n))
        low, high = fisher_interval(measure(x, rho * x + math.sqrt(1 - rho**2) * noise), n, kind)
        inside += low <= truth <= high
    # Five standard errors of a proportion of 0.95; the rank formulas are approximations.
    assert inside / runs == pytest.approx(0.95, abs=5 * math.sqrt(0.95 * 0.05 / runs))


def test_fisher_at_the_ends():
    assert fisher_interval(1.0, 20) == (1.0, 1.0)
    assert fisher_interval(-1.0, 20, "srcc") == (-1.0, -1.0)
    assert fisher_interval(0.9, 3) == (-1.0, 1.0)
    assert fisher_interval(0.9, 4, "krcc") == (-1.0, 1.0)
    assert np.isnan(fisher_interval(float("nan"), 20)).all()
    with pytest.raises(InvalidArgument, match=r"r must be within -1 and 1, got 1\.5"):
        fisher_interval(1.5, 20)
    with pytest.raises(InvalidArgument, match="kind must be one of plcc, srcc, krcc, got 'tau'"):
        fisher_interval(0.5, 20, "tau")


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (76, 100), (1, 1)])
def test_wilson_is_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilson_checks():
    with pytest.raises(InvalidArgument, match="0 <= successes <= n and n >= 1, got 3, 2"):
        wilson_interval(3, 2)


def test_bootstrap_is_scipys_percentile():
    generator = np.random.default_rng(2)
    x = generator.normal(size=80)
    y = x + generator.normal(size=80)
    low, high = bootstrap_interval(metrics.plcc, x, y, resamples=2000, seed=1)
    expected = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b).statistic, paired=True, vectorized=False,
        n_resamples=2000, method="percentile", rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    # Two draws of 2000: the ends of an interval of this width differ by a few per cent of it.
    assert (low, high) == pytest.approx(tuple(expected), abs=0.1 * (expected.high - expected.low))


def test_bootstrap_is_seeded_and_takes_several_statistics():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 30))

    def both(p, t):
        return [p.mean(), metrics.srcc(p, t)]

    first = bootstrap_interval(both, x, y, resamples=50, seed=9)
    assert first.shape == (2, 2)
    assert np.array_equal(first, bootstrap_interval(both, x, y, resamples=50, seed=9))
    assert not np.array_equal(first, bootstrap_interval(both, x, y, resamples=50, seed=10))


def test_bootstrap_over_contents_is_wider():
    generator = np.random.default_rng(4)
    content = np.repeat(np.arange(10), 12)
    x = generator.normal(size=10)[content] + 0.1 * generator.normal(size=120)
    y = x + generator.normal(size=10)[content] + 0.1 * generator.normal(size=120)
    videos = bootstrap_interval(metrics.plcc, x, y, resamples=300)
    contents = bootstrap_interval(metrics.plcc, x, y, resamples=300, groups=[str(c) for c in content])
    assert np.ptp(contents) > 1.5 * np.ptp(videos)


def test_bootstrap_leaves_out_undefined_resamples():
    ends = bootstrap_interval(metrics.srcc, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], resamples=200)
    assert ends.tolist() == pytest.approx([1.0, 1.0])
    assert np.isnan(bootstrap_interval(metrics.srcc, [1.0, 1.0], [1.0, 2.0], resamples=20)).all()


def test_bootstrap_checks():
    with pytest.raises(InvalidArgument, match="resamples must be >= 1, got 0"):
        bootstrap_interval(metrics.srcc, [1.0, 2.0], [1.0, 2.0], resamples=0)
    with pytest.raises(InvalidArgument, match=r"groups must be \(2,\), got \(1,\)"):
        bootstrap_interval(metrics.srcc, [1.0, 2.0], [1.0, 2.0], groups=["a"])
