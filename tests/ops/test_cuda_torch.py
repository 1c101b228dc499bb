"""`torch.ops.vqafast` on a GPU: gradients, registrations, streams, graphs, autocast."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ops import cuda
from tests.ops.samples import CASES, OpCase, Sample
from tests.ops.samples_backward import BACKWARD_CASES

torch = pytest.importorskip("torch")

from tests.ops.test_torch_ops import options_of, picked, torch_op  # noqa: E402

from vqafast import errors  # noqa: E402
from vqafast.models.a2inet import functional  # noqa: E402

pytestmark = pytest.mark.cuda
OPS = torch.ops.vqafast


def tensors(sample: Sample, dtype: Any, *, grad: bool) -> dict[str, Any]:
    return {
        name: None if a is None else torch.from_numpy(a).to("cuda", dtype).requires_grad_(grad)
        for name, a in sample.arrays.items()
    }


def options(sample: Sample) -> dict[str, Any]:
    return {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options_of(sample).items()}


@pytest.mark.parametrize(("case", "sample"), picked(CASES))
def test_gradcheck(case: OpCase, sample: Sample) -> None:
    cuda.require()
    arrays = tensors(sample, torch.float64, grad=True)
    given = {name: a for name, a in arrays.items() if a is not None}
    absent = {name: None for name, a in arrays.items() if a is None}
    more = options(sample)

    def run(*parts: Any) -> Any:
        return torch_op(case)(**dict(zip(given, parts, strict=True)), **absent, **more)

    assert torch.autograd.gradcheck(run, tuple(given.values()))


@pytest.mark.parametrize("case", [*CASES, *BACKWARD_CASES], ids=lambda case: case.name)
def test_opcheck(case: OpCase) -> None:
    cuda.require()
    for sample in case.samples[1:4]:
        grad = not case.name.endswith("_backward")
        arrays = tensors(sample, torch.float32, grad=grad)
        result = torch.library.opcheck(torch_op(case), (), arrays | options(sample))
        assert set(result.values()) == {"SUCCESS"}


def head(maps: Any, gamma: Any) -> Any:
    features = functional.moment_pool([maps])[None]
    fused = functional.cgin(features, features * 2, gamma, gamma, gamma, gamma)
    return functional.hysteresis_pool(fused.mean(dim=2))[0].sum()


def inputs(steps: int = 9) -> tuple[Any, Any]:
    made = torch.Generator().manual_seed(steps)
    maps = torch.randn(steps, 4, 30, 50, generator=made)
    gamma = torch.randn(1, steps, 8, generator=made)
    return maps.cuda().requires_grad_(), gamma.cuda().requires_grad_()


def test_functional_takes_the_fused_ops_and_agrees_with_the_cpu() -> None:
    cuda.require()
    given = inputs()
    assert functional._fusable(*given)
    found = head(*given)
    host = [t.detach().cpu().requires_grad_() for t in given]
    expected = head(*host)
    torch.testing.assert_close(found.cpu(), expected)
    for a, b in zip(torch.autograd.grad(found, given), torch.autograd.grad(expected, host), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-6)


def test_compile_in_one_graph() -> None:
    cuda.require()
    given = inputs()
    compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), head(*given))


def test_a_cuda_graph_replays_on_new_inputs() -> None:
    cuda.require()
    maps, gamma = (t.detach() for t in inputs())

    def step() -> Any:
        features = OPS.moment_pool(maps)[None]
        fused = OPS.cgin(features, features * 2, gamma, gamma, gamma, gamma)
        return OPS.hysteresis_pool(fused.mean(dim=2))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pooled, series = step()
    for seed in range(3):
        maps.copy_(torch.randn(maps.shape, generator=torch.Generator().manual_seed(seed)))
        graph.replay()
        torch.cuda.synchronize()
        for captured, direct in zip((pooled, series), step(), strict=True):
            assert torch.equal(captured, direct)


def test_runs_on_the_current_stream() -> None:
    """Behind a long kernel of another stream, results of that stream's data must be seen."""
    cuda.require()
    q = torch.zeros(4, 64, device="cuda")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        q.fill_(7.0)
        pooled, _ = OPS.hysteresis_pool(q)
    stream.synchronize()
    assert torch.equal(pooled, torch.full((4,), 7.0, device="cuda"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_runs_in_float32(dtype: str) -> None:
    cuda.require()
    half = getattr(torch, dtype)
    parts = [torch.randn(2, 6, 5, device="cuda").to(half).requires_grad_() for _ in range(6)]
    with torch.autocast("cuda", dtype=half):
        result = OPS.cgin(*parts)
    assert result.dtype == torch.float32
    assert torch.equal(result, OPS.cgin(*(p.float() for p in parts)))


def test_errors() -> None:
    cuda.require()
    x = torch.zeros(2, 5, 3, device="cuda")
    with pytest.raises(
        errors.InvalidArgument, match=r"cgin: y must be on the device of x \(cuda:0\), got cpu"
    ):
        OPS.cgin(x, x.cpu(), x, x, x, x)
    with pytest.raises(
        errors.InvalidArgument, match=r"lengths must be on the device of x \(cuda:0\), got cpu"
    ):
        OPS.cgin(x, x, x, x, x, x, torch.tensor([5, 1]))
