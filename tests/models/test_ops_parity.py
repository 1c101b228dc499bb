"""`functional`'s fused functions and their plain torch definitions are the same, and so are their gradients.

`tests/ops` compares the ops with float64; here the two torch sides meet, through the modules' signatures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vqafast import ops  # noqa: E402
from vqafast.models.a2inet import functional as fn  # noqa: E402
from vqafast.models.a2inet.config import HeadConfig  # noqa: E402
from vqafast.models.a2inet.modules import A2INetHead  # noqa: E402

LENGTHS = torch.tensor([9, 1, 4])


def rand(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def valid(out: Any) -> Any:
    """What stands at real steps."""
    return out * (torch.arange(out.shape[1]) < LENGTHS[:, None])[:, :, None]


def compare(fused: Any, plain: Any, leaves: list[Any]) -> None:
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
    weights = rand(*fused.shape, seed=99).detach()
    found = torch.autograd.grad((fused * weights).sum(), leaves, retain_graph=True)
    expected = torch.autograd.grad((plain * weights).sum(), leaves, retain_graph=True)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("direction", ["both", "q_to_s", "s_to_q"])
@pytest.mark.parametrize("mode", ["cgin", "fgin", "adain"])
def test_cgin(mode: str, direction: str) -> None:
    leaves = [rand(3, 9, 17, seed=i) for i in range(2 if mode == "adain" else 6)]
    parts = [*leaves, *[None] * (6 - len(leaves))]
    given = {"lengths": LENGTHS, "mode": mode, "direction": direction}
    used = leaves
    if mode != "adain" and direction != "both":
        # The undeformed feature's own modulation is not read.
        used = leaves[:2] + (leaves[4:] if direction == "s_to_q" else leaves[2:4])
    compare(valid(fn.cgin(*parts, **given)), valid(fn.cgin_reference(*parts, **given)), used)


def test_hysteresis_pool() -> None:
    q, lengths = rand(3, 20), torch.tensor([20, 1, 9])
    for fused, plain in zip(
        fn.hysteresis_pool(q, lengths), fn.hysteresis_pool_reference(q, lengths), strict=True
    ):
        compare(fused, plain, [q])


def test_moment_pool() -> None:
    maps = [rand(2, 3, 5, 7), rand(2, 4, 3, 2)]
    compare(fn.moment_pool(maps), fn.moment_pool_reference(maps), maps)


def node(tensor: Any) -> str:
    return type(tensor.grad_fn).__name__


def test_the_fused_ops_run_where_they_can() -> None:
    q, maps, x = rand(2, 9), rand(1, 2, 3, 4), rand(2, 4, 3)
    assert "vqafast_hysteresis_pool" in node(fn.hysteresis_pool(q)[0])
    assert "vqafast_hysteresis_pool" in node(fn.hysteresis_pool(q.double())[0])
    assert "vqafast_cgin" in node(fn.cgin(x, x, x, x, x, x))
    # Pure half precision keeps its dtype and its plain expression; eps = 0 is no argument of the op.
    assert fn.hysteresis_pool(q.bfloat16())[0].dtype == torch.bfloat16
    assert "vqafast_cgin" not in node(fn.cgin(x, x, x, x, x, x, eps=0.0))
    half = fn.moment_pool([maps.bfloat16()])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), fn.moment_pool([maps.bfloat16().float()]), rtol=2**-8, atol=0)
    with torch.autocast("cpu"):
        assert fn.hysteresis_pool(q.bfloat16())[0].dtype == torch.float32
        assert fn.moment_pool([maps.bfloat16()]).dtype == torch.float32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traced_graphs_hold_torchs_own_operators() -> None:
    traced = torch.jit.trace(lambda x: fn.moment_pool([x]), rand(1, 2, 3, 4).detach())
    kinds = {n.kind() for n in traced.inlined_graph.nodes()}
    assert "aten::mean" in kinds
    assert not any("vqafast" in kind for kind in kinds)
    exported = torch.export.export(Pool(), (rand(2, 9).detach(),))
    targets = {str(n.target) for n in exported.graph.nodes}
    assert not any("vqafast" in target for target in targets)


class Pool(torch.nn.Module):
    def forward(self, q: Any) -> Any:
        return fn.hysteresis_pool(q)[0]


def test_a_head_trains_alike_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    config = HeadConfig(quality_dim=6, semantic_dim=5, dim=8)
    torch.manual_seed(0)
    head = A2INetHead(config)
    features = rand(3, 9, 6).detach(), rand(3, 9, 5, seed=1).detach()

    def gradients() -> list[Any]:
        score, _ = head(*features, LENGTHS)
        return [score, *torch.autograd.grad(score.sum(), list(head.parameters()))]

    fused = gradients()
    monkeypatch.setattr(fn, "_fusable", lambda *_, **__: False)
    for a, b in zip(fused, gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", ["cgin", "adain"])
def test_arrays_and_tensors_give_the_same_numbers(mode: str) -> None:
    parts = [rand(3, 9, 17, seed=i).detach() for i in range(6)]
    if mode == "adain":
        parts[2:] = [None] * 4
    out = fn.cgin(*parts, lengths=LENGTHS, mode=mode)
    arrays = [None if p is None else p.numpy() for p in parts]
    np.testing.assert_array_equal(out.numpy(), ops.cgin(*arrays, lengths=LENGTHS.numpy(), mode=mode))
