"""The head against loops over the equations, gradients, padding and windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.models import reference as ref  # noqa: E402

from vqafast.errors import InvalidArgument  # noqa: E402
from vqafast.models.a2inet import functional as fn  # noqa: E402
from vqafast.models.a2inet.config import HeadConfig, a2inet_sm, a2inet_ss, concat_config  # noqa: E402
from vqafast.models.a2inet.modules import CATM, A2INetHead, GlobalSelfAttention, TemporalHead  # noqa: E402

SMALL = HeadConfig(quality_dim=10, semantic_dim=14, dim=6, reduced_dim=5, gru_dim=4, gate_reduction=2)
TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def rand(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(config: HeadConfig, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return A2INetHead(config).double().eval()


def state(module: Any) -> dict[str, Any]:
    return {k: ref.numpy_of(v) for k, v in module.state_dict().items()}


@pytest.mark.parametrize("mode", ["cgin", "fgin", "adain"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_cgin_equals_the_equations(mode: str, steps: int) -> None:
    parts = [rand(2, steps, 5, seed=i) for i in range(6)]
    affine = [None] * 4 if mode == "adain" else parts[2:]
    got = ref.numpy_of(fn.cgin(parts[0], parts[1], *affine, mode=mode))
    for b in range(2):
        rows = [ref.numpy_of(p[b]) for p in parts]
        np.testing.assert_allclose(got[b], ref.cgin(rows[0], rows[1], rows[2:], mode, 1e-5), **TIGHT)


def test_one_way_deformation_keeps_the_other_feature() -> None:
    parts = [rand(1, 4, 3, seed=i) for i in range(6)]
    both = fn.cgin(*parts)
    s_to_q = fn.cgin(*parts, direction="s_to_q")
    q_to_s = fn.cgin(*parts, direction="q_to_s")
    assert torch.equal(s_to_q, torch.cat([parts[0], both[:, :, 3:]], dim=2))
    assert torch.equal(q_to_s, torch.cat([both[:, :, :3], parts[1]], dim=2))


def test_attention_equals_eq_5() -> None:
    module = GlobalSelfAttention(6).double()
    x = rand(2, 5, 6)
    w = state(module)
    for b in range(2):
        expected = ref.attention(ref.numpy_of(x[b]), w["query.weight"], w["key.weight"], w["value.weight"])
        np.testing.assert_allclose(ref.numpy_of(module(x))[b], expected, **TIGHT)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_catm_and_temporal_head_equal_loops(steps: int) -> None:
    module, head = CATM(SMALL).double(), TemporalHead(12, SMALL).double()
    x = rand(2, steps, 6)
    z = module(x)
    q = ref.numpy_of(head(z))
    for b in range(2):
        expected = ref.catm(ref.numpy_of(x[b]), state(module))
        np.testing.assert_allclose(ref.numpy_of(z)[b], expected, **TIGHT)
        np.testing.assert_allclose(q[b], ref.temporal_head(expected, state(head)), **TIGHT)


@pytest.mark.parametrize("steps", [1, 2, 6, 7, 8, 30])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 6), (0.2, 1), (1.0, 3), (0.0, 40)])
def test_hysteresis_equals_loops(steps: int, alpha: float, beta: int) -> None:
    q = 3 * rand(3, steps)
    score, series = fn.hysteresis_pool(q, alpha=alpha, beta=beta)
    for b in range(3):
        s, expected = ref.hysteresis([float(v) for v in q[b]], alpha, beta)
        np.testing.assert_allclose(ref.numpy_of(series)[b], expected, **TIGHT)
        np.testing.assert_allclose(float(score[b]), s, **TIGHT)


def test_hysteresis_subgradient_goes_to_the_first_minimum() -> None:
    q = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    fn.hysteresis_pool(q, alpha=1.0, beta=3)[0].sum().backward()
    # m_1 = q_1 and the windows of m_2..m_4 all begin with q_1.
    assert q.grad is not None
    assert q.grad.tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_hysteresis_survives_large_scores() -> None:
    q = torch.tensor([[1e4, 1e4 + 1, -1e4]], dtype=torch.float64)
    assert torch.isfinite(fn.hysteresis_pool(q)[1]).all()


@pytest.mark.parametrize("masked", [False, True])
def test_gradients(masked: bool) -> None:
    lengths = torch.tensor([5, 3]) if masked else None
    parts = [rand(2, 5, 2, seed=i).requires_grad_() for i in range(6)]
    for mode in ("cgin", "fgin"):
        assert torch.autograd.gradcheck(
            lambda *p, mode=mode: fn.cgin(*p, lengths=lengths, mode=mode)[:, :3], parts
        )
    assert torch.autograd.gradcheck(
        lambda x, y: fn.cgin(x, y, None, None, None, None, lengths=lengths, mode="adain"), parts[:2]
    )
    q = rand(2, 5, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: fn.hysteresis_pool(q, lengths, beta=2), [q])
    maps = [rand(2, 3, 2, 4).requires_grad_()]
    assert torch.autograd.gradcheck(lambda m: fn.moment_pool([m]), maps)
    catm = CATM(replace(SMALL, dim=2)).double()
    assert torch.autograd.gradcheck(lambda x: catm(x, lengths), parts[:1])
    attention = GlobalSelfAttention(2).double()
    assert torch.autograd.gradcheck(lambda x: attention(x, lengths), parts[:1])


def test_constant_maps_have_zero_gradient_of_the_deviation() -> None:
    x = torch.full((1, 2, 3, 3), 0.7, requires_grad=True)
    fn.moment_pool([x])[:, 2:].sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros_like(x))


CONFIGS = {
    "cagi": SMALL,
    "fgin": replace(SMALL, mode="fgin", direction="s_to_q"),
    "adain": replace(SMALL, mode="adain", direction="q_to_s"),
    "concat": replace(SMALL, interaction="concat", catm=False),
    "concat_mlp": replace(SMALL, interaction="concat_mlp", catm=False, dropout=0.3),
    "no_catm": replace(SMALL, catm=False),
    "choices": replace(
        SMALL,
        gru_bidirectional=True, gru_layers=2, gate_shared=True, conv_shared=False, conv_kernel=5,
        conv_groups=2, std_correction=1, attention_bias=True, fc_activation="relu",
        guide_shared=True, standardise=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("window", [None, 3])
def test_padded_batch_equals_single_videos(name: str, window: int | None) -> None:
    head = make(CONFIGS[name])
    lengths = torch.tensor([7, 1, 4])
    quality, semantic = rand(3, 7, 10), rand(3, 7, 14, seed=1)
    for b, n in enumerate(lengths):
        quality[b, n:] = float("nan")
        semantic[b, n:] = float("inf")
    score, q = head(quality, semantic, lengths, window)
    for b, n in enumerate(lengths.tolist()):
        one, alone = head(quality[b : b + 1, :n], semantic[b : b + 1, :n], None, window)
        torch.testing.assert_close(score[b : b + 1], one, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(q[b, :n], alone[0], rtol=1e-10, atol=1e-12)
        assert (q[b, n:] == 0).all()
    (score.sum() + q.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_windows_are_independent_and_pooled_together() -> None:
    head = make(SMALL)
    quality, semantic = rand(1, 8, 10), rand(1, 8, 14, seed=1)
    score, q = head(quality, semantic, None, 3)
    parts = [head.frame_scores(quality[:, i : i + 3], semantic[:, i : i + 3]) for i in (0, 3, 6)]
    torch.testing.assert_close(q, torch.cat(parts, dim=1), rtol=0, atol=0)
    torch.testing.assert_close(score, fn.hysteresis_pool(q)[0], rtol=0, atol=0)


def skewed(rows: int, dim: int, seed: int = 0) -> Any:
    """Features whose magnitudes spread over five orders, of both signs."""
    spread = 10.0 ** torch.linspace(-2, 3, dim, dtype=torch.float64)
    return rand(rows, dim, seed=seed) ** 3 * spread


@pytest.mark.parametrize("compress", [False, True])
def test_fitted_constants_standardise_the_features(compress: bool) -> None:
    head = make(replace(SMALL, standardise=True, compress=compress))
    quality, semantic = skewed(400, 10), skewed(400, 14, seed=1)
    head.fit_constants(quality, semantic)
    for features, name in ((quality, "quality"), (semantic, "semantic")):
        x = ref.numpy_of(features)
        if compress:
            scale = np.percentile(np.abs(x), 5, axis=0) + 1e-4
            np.testing.assert_allclose(ref.numpy_of(head.get_buffer(f"{name}_scale")), scale, rtol=1e-6)
            x = np.arcsinh(x / scale)
        expected = (x - x.mean(axis=0)) / (x.std(axis=0, ddof=1) + 1e-3)
        got = ref.numpy_of(head.standardise(quality, semantic)[name == "semantic"])
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    # Compression is what keeps the few large values of such features from deciding alone.
    largest = float(np.abs(got).max())
    assert largest < 4 if compress else largest > 6


def test_constants_are_what_the_head_applies() -> None:
    """A head with fitted constants answers as a plain one does to features prepared by hand."""
    head = make(replace(SMALL, standardise=True, compress=True))
    quality, semantic = skewed(50, 10), skewed(50, 14, seed=1)
    head.fit_constants(quality, semantic)
    plain = make(SMALL)
    plain.load_state_dict({k: v for k, v in head.state_dict().items() if k in plain.state_dict()})
    prepared = head.standardise(quality[None, :6], semantic[None, :6])
    got, expected = head(quality[None, :6], semantic[None, :6]), plain(*prepared)
    torch.testing.assert_close(got, expected, **TIGHT)


def test_compression_is_odd_monotone_and_linear_near_zero() -> None:
    head = make(replace(SMALL, compress=True))
    with torch.no_grad():
        head.quality_scale.fill_(2.0)
    x = torch.tensor([-1e4, -2.0, -1e-6, 0.0, 1e-6, 2.0, 1e4], dtype=torch.float64)
    row = head.standardise(x[:, None].expand(-1, 10)[None], rand(1, 7, 14))[0][0, :, 0]
    np.testing.assert_allclose(ref.numpy_of(row), np.arcsinh(ref.numpy_of(x) / 2), rtol=1e-9)
    assert torch.equal(row, -row.flip(0))


def test_constants_exist_only_where_the_config_asks() -> None:
    names = {k for k in make(SMALL).state_dict() if k.startswith(("quality_", "semantic_"))}
    assert names == set()
    both = make(replace(SMALL, standardise=True, compress=True)).state_dict()
    assert {"quality_scale", "quality_mean", "quality_std", "semantic_scale"} <= set(both)
    make(SMALL).fit_constants(skewed(5, 10), skewed(5, 14))  # nothing to set


def test_deterministic() -> None:
    runs = [make(SMALL)(rand(2, 6, 10), rand(2, 6, 14))[0] for _ in range(2)]
    assert torch.equal(*runs)


def count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_sizes() -> None:
    c = a2inet_ss()
    assert (c.dim, c.quality_dim, c.semantic_dim, c.reduced_dim, c.gru_dim) == (1024, 1920, 7680, 128, 32)
    assert (c.alpha, c.beta, a2inet_sm().semantic_dim) == (0.5, 6, 512)
    with torch.device("meta"):
        head = A2INetHead(c)
        concat = A2INetHead(concat_config())
    d = 1024
    align = (1920 + 1) * d + (7680 + 1) * d + 4 * (d + 1) * d
    attention = 3 * (2 * d) ** 2
    gate = (d + 1) * 64 + (64 + 1) * d
    catm = (2 * d + 1) * d + 2 * gate + (3 * d + 1) * d
    temporal = (2 * d + 1) * 128 + 3 * 32 * (128 + 32 + 2) + 33
    assert count(head) == align + attention + catm + temporal
    assert count(concat) == (9600 + 1) * 128 + 3 * 32 * (128 + 32 + 2) + 33


def test_arguments_are_checked() -> None:
    for bad in (
        {"dim": 0}, {"mode": "in"}, {"direction": "up"}, {"conv_kernel": 2}, {"dropout": 1.0},
        {"interaction": "sum"}, {"std_correction": 2}, {"beta": 0},
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=next(iter(bad))):
            replace(SMALL, **bad)
    with pytest.raises(InvalidArgument, match="unknown fields"):
        HeadConfig.from_dict({"width": 3})
    assert HeadConfig.from_dict(SMALL.to_dict()) == SMALL
    head = make(SMALL)
    with pytest.raises(InvalidArgument, match="same B and T"):
        head(rand(1, 3, 10), rand(1, 4, 14))
    with pytest.raises(InvalidArgument, match="lengths"):
        head(rand(1, 3, 10), rand(1, 3, 14), torch.tensor([4]))
