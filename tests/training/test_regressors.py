"""Ridge and support vector regression against independent solvers; what may be looked at when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from vqafast.errors import InvalidArgument
from vqafast.training import regressors, vsfa_head
from vqafast.training.regressors import REGRESSORS, regressor, ridge_solve, svr_fit
from vqafast.training.splits import random_splits

RNG = np.random.default_rng(3)


def data(n: int = 90, d: int = 200, noise: float = 0.3) -> tuple[Any, Any]:
    latent = RNG.normal(size=(n, 4))
    features = latent @ RNG.normal(size=(4, d)) + noise * RNG.normal(size=(n, d))
    return features, 3 + latent @ np.array([1.0, -0.7, 0.4, 0.2]) + 0.05 * RNG.normal(size=n)


@pytest.mark.parametrize(("n", "d"), [(20, 5), (8, 30)])
@pytest.mark.parametrize("strength", [1e-3, 1.0, 50.0])
def test_ridge_is_the_minimum_of_its_objective(n: int, d: int, strength: float) -> None:
    x, y, wanted = RNG.normal(size=(n, d)), RNG.normal(2, 1, n), RNG.normal(size=(6, d))
    x -= x.mean(0)
    # Ridge as ordinary least squares with d rows more.
    stacked = np.vstack([x, np.sqrt(strength) * np.eye(d)])
    weights = np.linalg.lstsq(stacked, np.concatenate([y - y.mean(), np.zeros(d)]), rcond=None)[0]
    np.testing.assert_allclose(ridge_solve(x, y, wanted, strength), wanted @ weights + y.mean(), rtol=1e-8)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
def test_svr_reaches_the_minimum_of_its_dual(penalty: float) -> None:
    x, y = RNG.normal(size=(15, 3)), RNG.normal(size=15)
    kernel = np.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(-1)) + 1
    tube = 0.1
    beta = svr_fit(kernel, y, penalty, tube, sweeps=5000, tolerance=1e-10)

    def dual(parts: Any) -> float:
        b = parts[:15] - parts[15:]
        return float(b @ kernel @ b / 2 - y @ b + tube * parts.sum())

    def slope(parts: Any) -> Any:
        g = kernel @ (parts[:15] - parts[15:]) - y
        return np.concatenate([g + tube, tube - g])

    found = optimize.minimize(dual, np.zeros(30), jac=slope, bounds=[(0, penalty)] * 30, method="L-BFGS-B",
                              options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000})  # fmt: skip
    mine = dual(np.concatenate([np.maximum(beta, 0), np.maximum(-beta, 0)]))
    assert np.abs(beta).max() <= penalty
    assert mine <= found.fun + 1e-6 * abs(found.fun)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vsfa_head, "EPOCHS", 12)
    monkeypatch.setattr(vsfa_head, "MEMBERS", 1)
    monkeypatch.setattr(regressors, "SVR_GAMMAS", (0.25, 1.0))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", list(REGRESSORS))
def test_what_can_be_learnt_is_learnt_and_repeats(name: str) -> None:
    features, mos = data()
    (split,) = random_splits([str(i) for i in range(90)], 1, 0)
    first = regressor(name, features, mos)
    scores = first(split.train, split.val, split.test, 7)
    assert stats.spearmanr(scores, mos[split.test]).statistic > 0.9
    assert abs(scores.mean() - mos[split.test].mean()) < 0.5
    again = regressor(name, features, mos)(split.train, split.val, split.test, 7)
    np.testing.assert_array_equal(scores, again)
    assert len(first.chosen) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", list(REGRESSORS))
@pytest.mark.parametrize("refit", [True, False])
def test_labels_of_the_test_part_change_nothing(name: str, refit: bool) -> None:
    features, mos = data()
    (split,) = random_splits([str(i) for i in range(90)], 1, 0)
    other = mos.copy()
    other[split.test] = RNG.permutation(other[split.test]) + 100
    one = regressor(name, features, mos, refit=refit)(split.train, split.val, split.test, 0)
    two = regressor(name, features, other, refit=refit)(split.train, split.val, split.test, 0)
    np.testing.assert_array_equal(one, two)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", list(REGRESSORS))
def test_shuffled_labels_do_not_generalise(name: str) -> None:
    features, mos = data(n=150)
    shuffled = RNG.permutation(mos)
    (split,) = random_splits([str(i) for i in range(150)], 1, 0, (0.5, 0.2, 0.3))
    scores = regressor(name, features, shuffled)(split.train, split.val, split.test, 0)
    assert abs(stats.spearmanr(scores, shuffled[split.test]).statistic) < 0.45


def test_refitting_uses_the_validation_labels_and_only_then() -> None:
    features, mos = data()
    (split,) = random_splits([str(i) for i in range(90)], 1, 0)
    # Order is kept, so the same strength is chosen.
    other = mos.copy()
    other[split.val] = mos[split.val] * 1.5
    for refit in (True, False):
        one = regressor("ridge", features, mos, refit=refit)(split.train, split.val, split.test, 0)
        two = regressor("ridge", features, other, refit=refit)(split.train, split.val, split.test, 0)
        assert np.array_equal(one, two) is not refit


def test_without_a_validation_part_a_quarter_of_training_chooses() -> None:
    features, mos = data()
    (split,) = random_splits([str(i) for i in range(90)], 1, 0, (0.8, 0.2))
    scores = regressor("ridge", features, mos)(split.train, split.val, split.test, 0)
    assert stats.spearmanr(scores, mos[split.test]).statistic > 0.9


def test_a_feature_that_never_moves_in_training_is_not_used() -> None:
    features, mos = data()
    (split,) = random_splits([str(i) for i in range(90)], 1, 0)
    wild = np.column_stack([features, np.full(90, 5.0)])
    plain = regressor("ridge", wild, mos)(split.train, split.val, split.test, 0)
    wild[split.test, -1] = 1e9
    np.testing.assert_array_equal(plain, regressor("ridge", wild, mos)(split.train, split.val, split.test, 0))


def test_bad_arguments() -> None:
    features, mos = data()
    with pytest.raises(InvalidArgument, match="must be one of ridge, svr, vsfa, got 'lasso'"):
        regressor("lasso", features, mos)
    with pytest.raises(
        InvalidArgument, match=r"\(N, D\) features and \(N,\) MOS, got \(90, 200\) and \(89,\)"
    ):
        regressor("ridge", features, mos[:-1])
    features[3, 4] = np.nan
    with pytest.raises(InvalidArgument, match="features must be finite"):
        regressor("ridge", features, mos)
