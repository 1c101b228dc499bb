import json
import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import stats

from vqafast.errors import InvalidArgument
from vqafast.training import metrics


def scored(n=60, seed=0, noise=0.4, *, ties=False):
    generator = np.random.default_rng(seed)
    predicted = generator.normal(size=n) * 2 + 7
    target = 50 + 20 * np.tanh((predicted - 7) / 2) + noise * 20 * generator.normal(size=n)
    return (np.round(predicted), np.round(target, -1)) if ties else (predicted, target)


def test_srcc_by_the_rank_formula():
    predicted, target = [3.0, 1.0, 2.0, 5.0], [10.0, 20.0, 30.0, 40.0]
    d = np.array([3, 1, 2, 4]) - np.array([1, 2, 3, 4])
    assert metrics.srcc(predicted, target) == pytest.approx(1 - 6 * (d**2).sum() / (4 * 15))


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_by_their_definitions(ties):
    p, t = scored(40, ties=ties)
    ranks = stats.rankdata(p), stats.rankdata(t)
    assert metrics.srcc(p, t) == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)
    assert metrics.plcc(p, t) == pytest.approx(np.corrcoef(p, t)[0, 1], abs=1e-12)
    concordant = discordant = p_tied = t_tied = 0
    for i in range(len(p)):
        for j in range(i):
            sign = np.sign(p[i] - p[j]) * np.sign(t[i] - t[j])
            concordant, discordant = concordant + (sign > 0), discordant + (sign < 0)
            p_tied, t_tied = p_tied + (p[i] == p[j]), t_tied + (t[i] == t[j])
    pairs = len(p) * (len(p) - 1) / 2
    tau_b = (concordant - discordant) / math.sqrt((pairs - p_tied) * (pairs - t_tied))
    assert bool(p_tied and t_tied) == ties
    assert metrics.krcc(p, t) == pytest.approx(tau_b, abs=1e-12)
    assert metrics.rmse(p, t) == pytest.approx(math.sqrt(sum((p - t) ** 2) / len(p)))
    assert metrics.mae(p, t) == pytest.approx(sum(abs(p - t)) / len(p))


def test_groups_leave_out_what_has_no_rank():
    scores = [1.0, 2.0, 3.0, 1.0, 2.0, 5.0, 5.0, 5.0]
    labels = [3.0, 2.0, 1.0, 1.0, 2.0, 7.0, 7.0, 7.0]
    groups = ["a", "a", "a", "b", "b", "c", "c", "c"]
    assert metrics.grouped_srcc(scores, labels, groups) == {"a": pytest.approx(-1.0)}


def test_shapes_are_checked():
    with pytest.raises(InvalidArgument, match=r"must be \(n,\)"):
        metrics.mae([1.0], [1.0])
    with pytest.raises(InvalidArgument, match="got"):
        metrics.plcc([1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_constant_side_has_no_correlation():
    for correlation in (metrics.srcc, metrics.plcc, metrics.krcc):
        assert np.isnan(correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
        assert np.isnan(correlation([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]))


@pytest.mark.parametrize("ties", [False, True])
def test_evaluate_against_scipy(ties):
    p, t = scored(ties=ties)
    got = metrics.evaluate(p, t)
    mapped = metrics.fit_logistic4(p, t)(p)
    assert got.n == 60
    assert got.srcc == pytest.approx(stats.spearmanr(p, t).statistic, abs=1e-6)
    assert got.krcc == pytest.approx(stats.kendalltau(p, t).statistic, abs=1e-6)
    assert got.plcc == pytest.approx(stats.pearsonr(mapped, t).statistic, abs=1e-6)
    assert got.rmse == pytest.approx(np.sqrt(((mapped - t) ** 2).mean()), abs=1e-6)
    assert got.mae == pytest.approx(np.abs(p - t).mean())
    assert (got.mapping, got.converged, got.srcc_ci) == ("logistic4", True, None)
    # The residuals of a least-squares fit are orthogonal to it, which ties RMSE to PLCC.
    assert got.rmse == pytest.approx(t.std() * math.sqrt(1 - got.plcc**2), rel=1e-6)


def test_evaluate_does_not_depend_on_the_scale_of_predictions():
    p, t = scored(seed=2)
    one, other = metrics.evaluate(p, t), metrics.evaluate(1000 - 0.01 * p, t)
    assert other.plcc == pytest.approx(one.plcc, abs=1e-9)
    assert other.rmse == pytest.approx(one.rmse, rel=1e-9)
    assert other.srcc == pytest.approx(-one.srcc)


def test_evaluate_with_fisher_intervals():
    p, t = scored()
    got = metrics.evaluate(p, t, confidence=0.9)
    assert (got.confidence, got.method, got.rmse_ci) == (0.9, "fisher", None)
    for kind in ("srcc", "plcc", "krcc"):
        expected = metrics.fisher_interval(getattr(got, kind), 60, kind, confidence=0.9)
        assert getattr(got, f"{kind}_ci") == expected


def test_evaluate_with_bootstrap_intervals():
    p, noise = np.random.default_rng(5).normal(size=(2, 100))
    t = p + noise
    got = metrics.evaluate(p, t, confidence=0.95, bootstrap=200, seed=3)
    assert got == metrics.evaluate(p, t, confidence=0.95, bootstrap=200, seed=3)
    assert got.srcc_ci != metrics.evaluate(p, t, confidence=0.95, bootstrap=200, seed=4).srcc_ci
    assert got.method == "bootstrap"
    for kind in ("srcc", "plcc", "krcc", "rmse"):
        low, high = getattr(got, f"{kind}_ci")
        assert low < getattr(got, kind) < high
    alone = metrics.bootstrap_interval(metrics.srcc, p, t, resamples=200, seed=3)
    assert got.srcc_ci == tuple(alone)
    # Two kinds of interval for the same thing.
    fisher = metrics.evaluate(p, t, confidence=0.95)
    assert np.ptp(got.srcc_ci) == pytest.approx(np.ptp(fisher.srcc_ci), rel=0.35)


def test_evaluate_below_four_videos_maps_with_a_line():
    got = metrics.evaluate([1.0, 2.0, 4.0], [30.0, 10.0, 5.0])
    assert got.mapping == "linear"
    slope, shift = np.polyfit([1.0, 2.0, 4.0], [30.0, 10.0, 5.0], 1)
    mapped = slope * np.array([1.0, 2.0, 4.0]) + shift
    assert got.plcc == pytest.approx(metrics.plcc(mapped, [30.0, 10.0, 5.0]))
    assert got.rmse == pytest.approx(metrics.rmse(mapped, [30.0, 10.0, 5.0]))
    assert metrics.evaluate([1.0, 2.0], [1.0, 2.0], confidence=0.95).srcc_ci == (-1.0, 1.0)


def test_evaluate_of_constant_predictions_says_so():
    t = [1.0, 2.0, 3.0, 4.0, 5.0]
    got = metrics.evaluate([7.0] * 5, t, confidence=0.95)
    assert np.isnan([got.srcc, got.plcc, got.krcc]).all()
    assert got.mapping == "none"
    assert got.rmse == pytest.approx(np.std(t))
    assert got.to_dict()["srcc"] is None
    assert np.isnan(metrics.evaluate(t, [7.0] * 5).plcc)


def test_to_dict_is_json():
    p, t = scored()
    record = json.loads(json.dumps(metrics.evaluate(p, t, confidence=0.95).to_dict(), allow_nan=False))
    assert record["srcc_ci"][0] < record["srcc"] < record["srcc_ci"][1]
    assert "rmse_ci" not in record
    bare = json.loads(
        json.dumps(metrics.evaluate([1.0] * 4, t[:4], confidence=0.95).to_dict(), allow_nan=False)
    )
    assert bare["plcc"] is None
    assert bare["plcc_ci"] == [None, None]


def test_evaluate_checks_its_arguments():
    p, t = scored(10)
    with pytest.raises(InvalidArgument, match="must be finite, got 1 predictions and 0 labels of 10"):
        metrics.evaluate([np.nan, *p[1:]], t)
    with pytest.raises(InvalidArgument, match="must come with a confidence"):
        metrics.evaluate(p, t, bootstrap=10)
    with pytest.raises(InvalidArgument, match="groups must come with a number of bootstrap resamples"):
        metrics.evaluate(p, t, confidence=0.95, groups=["a"] * 10)
    with pytest.raises(InvalidArgument, match="must be between 0 and 1, got 95"):
        metrics.evaluate(p, t, confidence=95)
    with pytest.raises(InvalidArgument, match=r"\(n,\) with n >= 2, got \(1,\)"):
        metrics.evaluate([1.0], [1.0])
