"""The contrastive distortion loss against the loop of its docstring."""

import math

import pytest

torch = pytest.importorskip("torch")

from vqafast.errors import InvalidArgument  # noqa: E402
from vqafast.training.losses import contrastive_distortion_loss  # noqa: E402


def looped(z, patterns, temperature):
    def s(i, j):
        dot = sum(a * b for a, b in zip(z[i], z[j], strict=True))
        return dot / math.hypot(*z[i]) / math.hypot(*z[j]) / temperature

    each = []
    for i, own in enumerate(patterns):
        positives = [j for j, other in enumerate(patterns) if other == own and j != i]
        if positives:
            below = sum(math.exp(s(i, k)) for k in range(len(z)) if k != i)
            each.append(-sum(math.log(math.exp(s(i, j)) / below) for j in positives) / len(positives))
    return sum(each) / len(each)


def embeddings(size=9, dim=5, seed=0):
    return torch.randn(size, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("patterns", [[0, 0, 1, 1, 2, 2, 2, 3, 0], [7] * 9, [0, 1, 2, 3, 4, 5, 6, 7, 0]])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_the_loop(patterns, temperature):
    z = embeddings()
    got = contrastive_distortion_loss(z, torch.tensor(patterns), temperature)
    assert float(got) == pytest.approx(looped(z.tolist(), patterns, temperature), rel=1e-10)


def test_gradient():
    z, patterns = embeddings().requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda x: contrastive_distortion_loss(x, patterns), (z,))


def test_falls_when_patterns_gather():
    patterns = torch.tensor([0, 0, 0, 1, 1, 1])
    together = torch.eye(2)[patterns] + 0.01 * embeddings(6, 2).float()
    mixed = torch.eye(2)[torch.tensor([0, 1, 0, 1, 0, 1])] + 0.01 * embeddings(6, 2).float()
    low, high = (contrastive_distortion_loss(z, patterns) for z in (together, mixed))
    assert float(low) < math.log(2) + 0.01 < float(high)


@pytest.mark.parametrize(
    ("size", "patterns"), [(1, [0]), (4, [0, 1, 2, 3])], ids=["one item", "no positives"]
)
def test_without_positives_it_is_zero(size, patterns):
    z = embeddings(size).requires_grad_()
    loss = contrastive_distortion_loss(z, torch.tensor(patterns))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not z.grad.any()


def test_a_zero_embedding_has_no_gradient():
    z = embeddings(4).float()
    z[1] = 0
    z.requires_grad_()
    loss = contrastive_distortion_loss(z, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()
    assert not z.grad[1].any()


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_length_does_not_matter(scale):
    z, patterns = embeddings().float(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 3, 0])
    expected = contrastive_distortion_loss(z, patterns)
    assert float(contrastive_distortion_loss(z * scale, patterns)) == pytest.approx(float(expected), rel=1e-4)


def test_bfloat16_and_autocast_are_computed_in_float32():
    z, patterns = embeddings(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 3, 0])
    narrow = z.bfloat16()
    expected = contrastive_distortion_loss(narrow.double(), patterns)
    assert float(contrastive_distortion_loss(narrow, patterns)) == pytest.approx(float(expected), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = contrastive_distortion_loss(narrow.float(), patterns)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


def test_arguments_are_checked():
    z = embeddings()
    for bad, patterns in ((z, torch.zeros(3)), (z[:, 0], torch.zeros(9)), (z[:0], torch.zeros(0))):
        with pytest.raises(InvalidArgument, match=r"must be \(B, D\) embeddings and \(B,\) patterns"):
            contrastive_distortion_loss(bad, patterns)
    with pytest.raises(InvalidArgument, match="temperature must be above 0, got 0"):
        contrastive_distortion_loss(z, torch.zeros(9), 0)
