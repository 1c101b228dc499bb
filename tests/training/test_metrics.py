import numpy as np
import pytest

pytest.importorskip("scipy")

from vqafast.errors import InvalidArgument
from vqafast.training import metrics


def test_srcc_by_the_rank_formula():
    predicted, target = [3.0, 1.0, 2.0, 5.0], [10.0, 20.0, 30.0, 40.0]
    d = np.array([3, 1, 2, 4]) - np.array([1, 2, 3, 4])
    assert metrics.srcc(predicted, target) == pytest.approx(1 - 6 * (d**2).sum() / (4 * 15))


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
    assert np.isnan(metrics.srcc([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    assert np.isnan(metrics.plcc([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]))
