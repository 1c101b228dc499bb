"""Losses on scores against loops written from the papers' equations, in float64."""

import math

import pytest

torch = pytest.importorskip("torch")

from vqafast.errors import InvalidArgument  # noqa: E402
from vqafast.training import losses  # noqa: E402
from vqafast.training.losses import (  # noqa: E402
    LOSSES,
    a2inet_loss,
    clif_vqa_loss,
    linearity_loss,
    mae_loss,
    monotonicity_loss,
    plcc_loss,
    rank_loss,
    weighted_loss,
)

SCORES = {name: loss.function for name, loss in LOSSES.items() if loss.inputs == "scores"}
UNDEFINED_RHO = {"linearity": 0.5, "plcc": 0.375}


def looped_rank(predicted, target):
    total = 0.0
    for qi, mi in zip(predicted, target, strict=True):
        for qj, mj in zip(predicted, target, strict=True):
            phi = 1.0 if mi >= mj else -1.0
            total += max(0.0, abs(mi - mj) - phi * (qi - qj))
    return total / len(predicted) ** 2


def looped_mae(predicted, target):
    return sum(abs(q - m) for q, m in zip(predicted, target, strict=True)) / len(predicted)


def looped_rho(predicted, target):
    a, b = sum(predicted) / len(predicted), sum(target) / len(target)
    above = sum((p - a) * (t - b) for p, t in zip(predicted, target, strict=True))
    squares = sum((p - a) ** 2 for p in predicted) * sum((t - b) ** 2 for t in target)
    return above / math.sqrt(squares)


def released_plcc(predicted, target):
    """The two squared errors of standardised scores, before they are put in closed form."""
    m, rho = len(predicted), looped_rho(predicted, target)

    def standard(x):
        mean = sum(x) / m
        std = math.sqrt(sum((v - mean) ** 2 for v in x) / m)
        return [(v - mean) / std for v in x]

    p, t = standard(predicted), standard(target)
    first = sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / m / 4
    second = sum((rho * a - b) ** 2 for a, b in zip(p, t, strict=True)) / m / 4
    return (first + second) / 2


TRUTH = {
    "mae": looped_mae,
    "rank": looped_rank,
    "monotonicity": looped_rank,
    "linearity": lambda p, t: (1 - looped_rho(p, t)) / 2,
    "plcc": released_plcc,
}


def batch(size, seed=0, *, ties=False):
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(size, generator=generator, dtype=torch.float64) * 3 + 40
    t = torch.randn(size, generator=generator, dtype=torch.float64) * 10 + 50
    if ties:
        t[size // 2 :] = t[0]
        p[1] = p[0]
    return p, t


def test_every_loss_on_scores_has_a_truth():
    assert set(TRUTH) == set(SCORES)


@pytest.mark.parametrize(("size", "ties"), [(2, False), (3, False), (33, False), (8, True), (33, True)])
@pytest.mark.parametrize("name", SCORES)
def test_equals_the_loop(name, size, ties):
    p, t = batch(size, seed=size, ties=ties)
    assert float(SCORES[name](p, t)) == pytest.approx(TRUTH[name](p.tolist(), t.tolist()), rel=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_gradient(name):
    p, t = batch(7, seed=3)
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: SCORES[name](x, t), (p,))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_are_as_good_as_float32(name, dtype):
    p, t = (x.to(dtype) for x in batch(16, seed=5))
    wide = SCORES[name](p.double(), t.double())
    p.requires_grad_()
    loss = SCORES[name](p, t)
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(wide), rel=1e-5)
    assert p.grad.dtype == dtype
    assert torch.isfinite(p.grad).all()


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("predicted", "target"),
    [
        ([3.0], [4.0]),
        ([3.0, 1.0, 2.0], [4.0, 4.0, 4.0]),
        ([0.1] * 1000, list(range(1000))),
        ([2.0, 2.0], [2.0, 2.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
    ids=["one item", "constant labels", "constant predictions", "all equal", "zeros"],
)
def test_degenerate_batches_are_finite(name, predicted, target):
    p = torch.tensor(predicted, requires_grad=True)
    loss = SCORES[name](p, torch.tensor(target))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(p.grad).all()
    if name in UNDEFINED_RHO:
        assert float(loss.detach()) == UNDEFINED_RHO[name]
        assert not p.grad.any()
    elif len(predicted) <= 3:
        assert float(loss.detach()) == pytest.approx(TRUTH[name](predicted, target))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_correlation_losses_do_not_depend_on_the_scale(scale):
    p, t = (x.float() for x in batch(9, seed=1))
    expected = linearity_loss(p, t)
    scaled = (p * scale).requires_grad_()
    got = linearity_loss(scaled, t)
    got.backward()
    assert float(got.detach()) == pytest.approx(float(expected), rel=1e-4)
    assert torch.isfinite(scaled.grad).all()


def test_rank_loss_is_zero_only_when_order_and_distance_hold():
    target = torch.tensor([1.0, 2.0, 4.0])
    assert float(rank_loss(2 * target, target)) == 0.0
    assert float(rank_loss(0.5 * target, target)) > 0.0
    assert float(rank_loss(-target, target)) > float(rank_loss(0.5 * target, target))


def test_range_of_the_correlation_losses():
    _, t = batch(6)
    for loss, worst in ((linearity_loss, 1.0), (plcc_loss, 0.5)):
        assert float(loss(2 * t + 1, t)) == pytest.approx(0.0, abs=1e-12)
        assert float(loss(-t, t)) == pytest.approx(worst)


def test_totals_of_the_papers():
    p, t = batch(5, seed=2)
    pl, tl = p.tolist(), t.tolist()
    eta = looped_mae(pl, tl) + 0.25 * looped_rank(pl, tl)
    assert float(a2inet_loss(p, t, eta=0.25)) == pytest.approx(eta, rel=1e-12)
    both = 0.5 * looped_rank(pl, tl) + 3 * (1 - looped_rho(pl, tl)) / 2
    assert float(clif_vqa_loss(p, t, alpha=0.5, beta=3)) == pytest.approx(both, rel=1e-12)
    assert torch.equal(monotonicity_loss(p, t), rank_loss(p, t))


def test_weighted_sum_by_name():
    p, t = batch(6, seed=4)
    total = weighted_loss({"mae": 1, "rank": 0.5, "plcc": 0, "linearity": 2})
    expected = mae_loss(p, t) + 0.5 * rank_loss(p, t) + 2 * linearity_loss(p, t)
    assert float(total(p, t)) == pytest.approx(float(expected), rel=1e-12)
    assert torch.equal(weighted_loss({"mae": 1.0, "rank": 1.0})(p, t), a2inet_loss(p, t))


def test_a_loss_of_weight_zero_is_not_computed(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setitem(LOSSES, "rank", losses.Loss(never, "scores", "", ""))
    p, t = batch(4)
    assert torch.equal(weighted_loss({"mae": 1, "rank": 0})(p, t), mae_loss(p, t))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"mse": 1.0}, r"must be of mae, rank, .*, got 'mse'"),
        ({"contrastive": 1.0}, "'contrastive' compares embeddings"),
        ({"mae": -1.0}, "weight of 'mae' must be finite and >= 0, got -1.0"),
        ({"mae": float("nan")}, "must be finite and >= 0, got nan"),
        ({"mae": 0.0}, "one weight at least must be above 0, got {'mae': 0.0}"),
        ({}, "one weight at least must be above 0"),
    ],
)
def test_weights_are_checked(weights, message):
    with pytest.raises(InvalidArgument, match=message):
        weighted_loss(weights)


@pytest.mark.parametrize("name", SCORES)
def test_shapes_are_checked(name):
    for p, t in (((4, 1), (4,)), ((4,), (5,)), ((0,), (0,)), ((), ())):
        with pytest.raises(InvalidArgument, match=r"both sides must be \(B,\) with B >= 1, got \("):
            SCORES[name](torch.zeros(p), torch.zeros(t))
