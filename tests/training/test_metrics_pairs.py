"""Pairwise accuracy against loops."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from vqafast.errors import InvalidArgument
from vqafast.training import metrics, metrics_pairs
from vqafast.training.metrics import pairwise_accuracy, ranked_pair_accuracy


def test_ranked_pairs_by_kind():
    better = [3.0, 1.0, 5.0, 2.0, 2.0]
    worse = [1.0, 2.0, 4.0, 2.0, 1.0]
    kinds = ["non-homogeneous", "homogeneous", "homogeneous", "homogeneous", "non-homogeneous"]
    got = ranked_pair_accuracy(better, worse, kinds)
    assert list(got) == ["homogeneous", "non-homogeneous", "all"]
    assert (got["homogeneous"].n, got["homogeneous"].correct, got["homogeneous"].tied) == (3, 1, 1)
    assert got["homogeneous"].accuracy == 0.5
    assert got["non-homogeneous"].accuracy == 1.0
    assert got["all"].accuracy == pytest.approx(3.5 / 5)
    assert got["all"].interval == metrics.wilson_interval(3.5, 5)
    assert list(ranked_pair_accuracy(better, worse)) == ["all"]


def test_ranked_pairs_are_checked():
    with pytest.raises(InvalidArgument, match=r"kinds must be \(2,\), got \(1,\)"):
        ranked_pair_accuracy([1.0, 2.0], [2.0, 1.0], ["a"])
    with pytest.raises(InvalidArgument, match="no kind may be called 'all'"):
        ranked_pair_accuracy([1.0], [2.0], ["all"])
    with pytest.raises(InvalidArgument, match="must be finite"):
        ranked_pair_accuracy([np.nan], [2.0])
    with pytest.raises(InvalidArgument, match="n >= 1"):
        ranked_pair_accuracy([], [])


@pytest.mark.parametrize("min_gap", [0.0, 1.0])
@pytest.mark.parametrize("with_ci", [False, True])
@pytest.mark.parametrize("block", [1, 7, 256])
def test_all_pairs_equal_the_loop(min_gap, with_ci, block, monkeypatch):
    monkeypatch.setattr(metrics_pairs, "BLOCK", block)
    generator = np.random.default_rng(0)
    t = np.round(generator.uniform(1, 5, 40) * 2) / 2
    p = np.round(t + generator.normal(size=40))
    ci = generator.uniform(0, 1, 40)
    n = correct = tied = 0
    for i in range(40):
        for j in range(40):
            told_apart = not with_ci or t[i] - t[j] > np.sqrt(ci[i] ** 2 + ci[j] ** 2)
            if t[i] > t[j] and t[i] - t[j] > min_gap and told_apart:
                n, correct, tied = n + 1, correct + (p[i] > p[j]), tied + (p[i] == p[j])
    got = pairwise_accuracy(p, t, min_gap=min_gap, ci95=ci if with_ci else None)
    assert (got.n, got.correct, got.tied) == (n, correct, tied)
    assert n > tied > 0
    assert got.accuracy == pytest.approx((correct + tied / 2) / n)
    assert got.interval is None


def test_without_ties_it_is_kendalls_tau_in_disguise():
    p, t = np.random.default_rng(1).normal(size=(2, 30))
    assert 2 * pairwise_accuracy(p, t).accuracy - 1 == pytest.approx(metrics.krcc(p, t))


def test_no_pairs_and_bad_arguments():
    assert np.isnan(pairwise_accuracy([1.0, 2.0], [3.0, 3.0]).accuracy)
    with pytest.raises(InvalidArgument, match="min_gap must be >= 0, got -1"):
        pairwise_accuracy([1.0, 2.0], [3.0, 3.0], min_gap=-1)
    with pytest.raises(InvalidArgument, match=r"ci95 must be \(2,\), finite and >= 0"):
        pairwise_accuracy([1.0, 2.0], [3.0, 3.0], ci95=[0.1, np.nan])
