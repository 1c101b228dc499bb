"""The logistic mapping against SciPy's fit of the same function, and against what must hold."""

import warnings

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import optimize

from vqafast.errors import InvalidArgument
from vqafast.training import metrics, metrics_logistic
from vqafast.training.metrics import LogisticFitWarning, fit_logistic4, logistic4, plcc_logistic


def plain(x, b1, b2, b3, b4):
    return (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4))) + b2


def generated(kind, seed, n=150):
    """Predictions and labels related in a certain way, on odd scales."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=n)
    noise = generator.normal(size=n)
    x = z * 10.0 ** generator.uniform(-2, 2) + generator.normal() * 10
    curve = {
        "sigmoid": np.tanh(1.5 * z) + 0.2 * noise,
        "falling": -np.tanh(1.5 * z + 0.5) + 0.3 * noise,
        "saturating": 1 / (1 + np.exp(-2 * (z + 1))) + 0.1 * noise,
        "discrete": np.round(2 * np.tanh(z) + 0.3 * noise) / 2,
        "heavy tails": np.tanh(z) + 0.1 * generator.standard_t(3, size=n),
    }[kind]
    return x, 30 + 12 * curve


KINDS = ("sigmoid", "falling", "saturating", "discrete", "heavy tails")


def scipy_fit(x, y):
    """VQEG's start, turned where the labels fall."""
    ends = (y.max(), y.min()) if np.corrcoef(x, y)[0, 1] > 0 else (y.min(), y.max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optimize.OptimizeWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found, _ = optimize.curve_fit(plain, x, y, p0=[*ends, x.mean(), x.std() / 4], maxfev=20000)
    return found


def test_logistic4_is_the_equation():
    x = np.linspace(-30, 30, 61).reshape(1, 61)
    for b in ((5.0, 1.0, 2.0, 3.0), (1.0, 5.0, -2.0, -0.5), (-4.0, 0.0, 0.0, 1.0), (0.0, -9.0, 1.0, 2.0)):
        np.testing.assert_allclose(logistic4(x, *b), plain(x, *b), rtol=1e-12, atol=1e-12)
    assert logistic4([-1e300, 1e300], 5, 1, 0, 1).tolist() == [1, 5]
    with pytest.raises(InvalidArgument, match="b4 must not be 0"):
        logistic4([1.0], 1, 2, 3, 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_plcc_agrees_with_scipy(kind, seed):
    x, y = generated(kind, seed)
    expected = metrics.plcc(plain(x, *scipy_fit(x, y)), y)
    assert plcc_logistic(x, y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("b", [(80.0, 20.0, 3.0, 0.5), (1.0, 5.0, -200.0, 30.0), (4.5, 1.2, 0.1, 0.02)])
def test_known_parameters_are_recovered(b):
    x = np.linspace(b[2] - 5 * b[3], b[2] + 6 * b[3], 80)
    fit = fit_logistic4(x, plain(x, *b))
    assert fit.converged
    assert fit.increasing == (b[0] > b[1])
    np.testing.assert_allclose([fit.b1, fit.b2, fit.b3, fit.b4], b, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_mapping_is_monotone(kind):
    x, y = generated(kind, 7)
    fit = fit_logistic4(x, y)
    steps = np.diff(fit(np.linspace(x.min() - 5 * x.std(), x.max() + 5 * x.std(), 1001)))
    assert fit.increasing == (kind != "falling")
    assert (steps >= 0).all() if fit.increasing else (steps <= 0).all()
    assert np.sign(metrics.srcc(fit(x), y)) == 1


def test_falling_scores_are_the_rising_ones_turned():
    x, y = generated("sigmoid", 3)
    rising, falling = fit_logistic4(x, y), fit_logistic4(-x, y)
    np.testing.assert_allclose(falling(-x), rising(x), atol=1e-7)
    assert rising.increasing
    assert not falling.increasing


@pytest.mark.parametrize("kind", ["linear", "bent up", "bent down", "step", "noise", "cubic"])
@pytest.mark.parametrize("n", [4, 5, 12, 300])
@pytest.mark.parametrize("sign", [1, -1])
def test_never_worse_than_a_line(kind, n, sign):
    for seed in range(5):
        generator = np.random.default_rng([seed, n])
        z = generator.normal(size=n)
        curve = {
            "linear": z, "bent up": np.exp(z), "bent down": -np.exp(-z), "step": np.sign(z),
            "noise": generator.normal(size=n), "cubic": z**3,
        }[kind]  # fmt: skip
        y = sign * curve + 0.05 * generator.normal(size=n)
        fit = fit_logistic4(3 * z + 100, y)
        assert fit.converged
        assert np.isfinite(fit(3 * z + 100)).all()
        assert plcc_logistic(3 * z + 100, y) >= abs(metrics.plcc(z, y)) - 1e-9
        line = np.polyval(np.polyfit(z, y, 1), z)
        assert metrics.rmse(fit(3 * z + 100), y) <= metrics.rmse(line, y) * (1 + 1e-9)


def test_a_line_and_an_exponential_are_limits():
    x = np.linspace(0, 10, 50)
    assert plcc_logistic(x, 4 - 3 * x) == pytest.approx(1, abs=1e-9)
    assert plcc_logistic(x, np.exp(x)) == pytest.approx(1, abs=1e-9)
    assert plcc_logistic(x, -np.exp(-x)) == pytest.approx(1, abs=1e-9)


def test_jacobian_is_the_derivative():
    x, y = generated("sigmoid", 0)
    problem = metrics_logistic._Separable((x - x.mean()) / x.std(), (y - y.mean()) / y.std())
    for at in ([0.1, -0.5], [2.0, 0.3], [-2.0, 1.0]):
        numeric = optimize.approx_fprime(np.array(at), problem.residual, 1e-7)
        np.testing.assert_allclose(problem.jacobian(np.array(at)), numeric, atol=1e-5)


def test_an_early_stop_is_not_silent(monkeypatch):
    x, y = generated("saturating", 1)
    monkeypatch.setattr(metrics_logistic, "LIMITS", (2, 2))
    with pytest.warns(LogisticFitWarning, match="no convergence in 4 evaluations"):
        fit = fit_logistic4(x, y)
    assert not fit.converged
    assert metrics.plcc(fit(x), y) >= abs(metrics.plcc(x, y)) - 1e-9
    with pytest.warns(LogisticFitWarning):
        assert metrics.evaluate(x, y).to_dict()["converged"] is False


def test_constant_labels_give_the_constant():
    fit = fit_logistic4([1.0, 2.0, 3.0, 4.0], [5.0] * 4)
    assert fit([-9.0, 0.0, 9.0]).tolist() == [5.0] * 3
    assert np.isnan(plcc_logistic([1.0, 2.0, 3.0, 4.0], [5.0] * 4))


def test_arguments_are_checked():
    with pytest.raises(InvalidArgument, match=r"predictions must not all be equal, got 5 times 2\.0"):
        fit_logistic4([2.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.raises(InvalidArgument, match="with n >= 4"):
        fit_logistic4([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    with pytest.raises(InvalidArgument, match="got 0 predictions and 1 labels of 4 that are not"):
        fit_logistic4([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, np.inf])
