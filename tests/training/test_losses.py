"""A2INet's losses against loops written from eqs. 6 to 9."""

import pytest

torch = pytest.importorskip("torch")

from vqafast.training.losses import a2inet_loss, mae_loss, rank_loss  # noqa: E402


def looped_rank(predicted, target):
    total = 0.0
    for qi, mi in zip(predicted, target, strict=True):
        for qj, mj in zip(predicted, target, strict=True):
            phi = 1.0 if mi >= mj else -1.0
            total += max(0.0, abs(mi - mj) - phi * (qi - qj))
    return total / len(predicted) ** 2


def test_rank_loss_equals_the_double_loop():
    predicted = [0.1, 2.5, 1.0, 1.0, -3.0]
    target = [0.0, 2.0, 1.5, 1.5, 4.0]
    got = rank_loss(torch.tensor(predicted), torch.tensor(target))
    assert float(got) == pytest.approx(looped_rank(predicted, target), rel=1e-6)


def test_rank_loss_is_zero_only_when_order_and_distance_hold():
    target = torch.tensor([1.0, 2.0, 4.0])
    assert float(rank_loss(2 * target, target)) == 0.0
    assert float(rank_loss(0.5 * target, target)) > 0.0
    assert float(rank_loss(-target, target)) > float(rank_loss(0.5 * target, target))


def test_total_is_mae_plus_weighted_rank():
    predicted, target = torch.tensor([1.0, 5.0]), torch.tensor([2.0, 3.0])
    expected = 1.5 + 0.25 * looped_rank([1.0, 5.0], [2.0, 3.0])
    assert float(a2inet_loss(predicted, target, eta=0.25)) == pytest.approx(expected)
    assert float(mae_loss(predicted, target)) == pytest.approx(1.5)
