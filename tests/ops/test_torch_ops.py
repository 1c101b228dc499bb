"""`torch.ops.vqafast`: gradients, registrations, torch.compile, autocast."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.ops.samples import CASES, OpCase, Sample
from tests.ops.samples_backward import BACKWARD_CASES

torch = pytest.importorskip("torch")

import vqafast.ops._register  # noqa: E402
from vqafast import errors, ops  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

OPS = torch.ops.vqafast
SMALL = 80  # values of the largest array


def picked(cases: tuple[OpCase, ...]) -> list[Any]:
    return [
        pytest.param(case, sample, id=f"{case.name}-{sample.name}")
        for case in cases
        for sample in case.samples
        if 0 < max(a.size for a in sample.arrays.values() if a is not None) <= SMALL
        and all(a is None or a.dtype != np.float16 for a in sample.arrays.values())
    ]


def torch_op(case: OpCase) -> Any:
    return getattr(OPS, case.name).default


def tensors(sample: Sample, dtype: Any, *, grad: bool) -> dict[str, Any]:
    def tensor(array: np.ndarray | None) -> Any:
        if array is None:
            return None
        return torch.from_numpy(array.copy()).to(dtype).requires_grad_(grad)

    return {name: tensor(array) for name, array in sample.arrays.items()}


def options_of(sample: Sample) -> dict[str, Any]:
    made = dict(sample.options)
    if "lengths" in made:
        made["lengths"] = torch.tensor(made["lengths"])
    return made


@pytest.mark.parametrize(("case", "sample"), picked(CASES))
def test_gradcheck(case: OpCase, sample: Sample) -> None:
    arrays = tensors(sample, torch.float64, grad=True)
    options = options_of(sample)
    given = {name: a for name, a in arrays.items() if a is not None}
    absent = {name: None for name, a in arrays.items() if a is None}

    def run(*parts: Any) -> Any:
        return torch_op(case)(**dict(zip(given, parts, strict=True)), **absent, **options)

    assert torch.autograd.gradcheck(run, tuple(given.values()))


def strided(tensor: Any) -> Any:
    """The same values in every other place, last axis first, with a gradient of its own."""
    if tensor is None:
        return None
    room = torch.full([2 * n for n in reversed(tensor.shape)], torch.nan, dtype=tensor.dtype)
    view = room[tuple(slice(None, None, 2) for _ in tensor.shape)].permute(*reversed(range(tensor.ndim)))
    view.copy_(tensor.detach())
    return view.requires_grad_()


@pytest.mark.parametrize(("case", "sample"), picked(CASES))
def test_gradients_of_strided_inputs_and_expanded_gradients(case: OpCase, sample: Sample) -> None:
    options = options_of(sample)
    found = []
    for change in (lambda t: t, strided):
        arrays = {k: change(a) for k, a in tensors(sample, torch.float32, grad=True).items()}
        out = torch_op(case)(**arrays, **options)
        first = out[0] if isinstance(out, tuple) else out
        given = [a for a in arrays.values() if a is not None]
        # The gradient of a sum is one number seen at every place.
        found.append(torch.autograd.grad(first.sum(), given))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("case", "sample"), picked((*CASES, *BACKWARD_CASES)))
@pytest.mark.parametrize("grad", [False, True])
def test_opcheck(case: OpCase, sample: Sample, grad: bool) -> None:
    grad = grad and not case.name.endswith("_backward")
    arrays = tensors(sample, torch.float32, grad=grad)
    result = torch.library.opcheck(torch_op(case), (), arrays | options_of(sample))
    assert set(result.values()) == {"SUCCESS"}
    assert len(result) >= 4


def test_channels_last_maps_keep_their_layout() -> None:
    maps = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    assert set(torch.library.opcheck(OPS.moment_pool.default, (maps,)).values()) == {"SUCCESS"}
    (grad,) = torch.autograd.grad(OPS.moment_pool(maps).square().sum(), maps)
    packed = maps.detach().contiguous().requires_grad_()
    (expected,) = torch.autograd.grad(OPS.moment_pool(packed).square().sum(), packed)
    assert grad.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("size", [3, 7, 33])
def test_half_maps(dtype: str, layout: str, size: int, cpu_target: str) -> None:
    made = torch.Generator().manual_seed(size)
    maps = torch.randn(2, size, 19, size, generator=made).to(getattr(torch, dtype)).requires_grad_()
    pooled = OPS.moment_pool(maps, layout)
    grad = torch.randn(pooled.shape, generator=made)
    pooled.backward(grad)
    wide = maps.detach().float().numpy()
    assert pooled.dtype == torch.float32
    np.testing.assert_allclose(
        pooled.detach().numpy(), ops.moment_pool.reference(wide, layout=layout), atol=1e-6
    )
    truth = ops.moment_pool_backward.reference(grad.numpy(), wide, layout=layout)
    assert maps.grad.dtype == maps.dtype
    # One rounding to the maps' dtype, of values that float32 has to a few eps.
    rounding = torch.finfo(maps.dtype).eps / 2 + 8 * torch.finfo(torch.float32).eps
    np.testing.assert_allclose(maps.grad.float().numpy(), truth, rtol=rounding, atol=1e-6)


def test_bfloat16_rounds_to_even_and_keeps_what_is_not_finite() -> None:
    ulp = 2.0**-7
    grads = torch.tensor([1 + ulp / 2, 1 + 1.5 * ulp, 1 + 0.51 * ulp, torch.nan, torch.inf, -torch.inf])
    maps = torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16)
    found = [
        OPS.moment_pool_backward(torch.stack([g, g * 0])[None], maps, torch.zeros(1, 2)).item()
        for g in grads[:3]
    ]
    assert found == grads[:3].bfloat16().tolist() == [1, 1 + 2 * ulp, 1 + ulp]
    wide = OPS.moment_pool_backward(
        torch.stack([grads[3:], torch.zeros(3)]).reshape(1, 6), maps.expand(1, 3, 1, 1), torch.zeros(1, 6)
    )
    torch.testing.assert_close(wide.flatten(), grads[3:].bfloat16(), equal_nan=True)


def test_a_flat_map_has_a_finite_gradient() -> None:
    maps = torch.full((1, 2, 4, 4), 3.3).requires_grad_()
    pooled = OPS.moment_pool(maps)
    (grad,) = torch.autograd.grad(pooled, maps, torch.tensor([[16.0, 32.0, 1e6, 1e6]]))
    assert torch.equal(grad[0, :, 0, 0], torch.tensor([1.0, 2.0]))
    assert torch.equal(grad, grad[:, :, :1, :1].expand_as(grad))


def test_the_subgradient_of_min_goes_to_the_first_minimum() -> None:
    q = torch.tensor([[2.0, 1.0, 1.0, 3.0, 1.0]], requires_grad=True)
    _, series = OPS.hysteresis_pool(q, None, 1.0, 3)
    found = [torch.autograd.grad(series[0, t], q, retain_graph=True)[0].argmax().item() for t in range(5)]
    assert found == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", ["cgin", "fgin", "adain"])
def test_padding_takes_no_part(name: str) -> None:
    made = torch.Generator().manual_seed(0)
    lengths = torch.tensor([2, 5], dtype=torch.int32)
    full = [torch.randn(2, 5, 3, generator=made) for _ in range(2 if name == "adain" else 6)]
    wild = [part.clone() for part in full]
    for part in wild:
        part[0, 2:] = torch.nan
    runs = []
    for parts in (full, wild):
        leaves = [part.requires_grad_() for part in parts]
        out = OPS.cgin(*leaves, *[None] * (6 - len(leaves)), lengths, name)
        runs.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(b[0, 2:], torch.zeros_like(b[0, 2:]))


def test_padding_takes_no_part_in_pooling() -> None:
    q = torch.tensor([[1.0, 2.0, torch.nan], [3.0, 1.0, 2.0]], requires_grad=True)
    pooled, series = OPS.hysteresis_pool(q, torch.tensor([2, 3]))
    (grad,) = torch.autograd.grad(pooled.sum() + series.sum(), q)
    assert torch.isfinite(pooled).all()
    assert torch.isfinite(grad).all()
    assert grad[0, 2] == 0


@pytest.mark.parametrize("pick", [0, 1])
def test_gradient_of_one_output_of_hysteresis_pool(pick: int) -> None:
    q = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: OPS.hysteresis_pool(x)[pick], q)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_second_derivatives_are_refused(case: OpCase) -> None:
    arrays = tensors(case.samples[1], torch.float32, grad=True)
    out = torch_op(case)(**arrays)
    first = out[0] if isinstance(out, tuple) else out
    leaf = next(iter(arrays.values()))
    (grad,) = torch.autograd.grad(first.square().sum(), leaf, create_graph=True)
    with pytest.raises(errors.Unsupported, match=rf"{case.name}_backward: .* no second derivative"):
        grad.sum().backward()


def test_number_of_threads_changes_no_bit() -> None:
    made = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 40, 600, generator=made).requires_grad_() for _ in range(6)]
    maps = torch.randn(2, 40, 37, 41, generator=made).requires_grad_()
    q = torch.randn(40, 300, generator=made).requires_grad_()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            fused = OPS.cgin(*parts)
            pooled, series = OPS.hysteresis_pool(q)
            total = (
                fused.square().sum() + OPS.moment_pool(maps).square().sum() + (series.sum(1) * pooled).sum()
            )
            found.append(torch.autograd.grad(total, (*parts, maps, q)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def head(maps: Any, gamma: Any) -> Any:
    """All three ops in one function: stage maps (T, C, H, W) to a score."""
    features = OPS.moment_pool(maps)[None]
    fused = OPS.cgin(features, features * 2, gamma, gamma, gamma, gamma)
    return OPS.hysteresis_pool(fused.mean(dim=2))[0].sum()


def inputs(steps: int) -> tuple[Any, Any]:
    made = torch.Generator().manual_seed(steps)
    maps = torch.randn(steps, 4, 3, 5, generator=made).requires_grad_()
    return maps, torch.randn(1, steps, 8, generator=made).requires_grad_()


def check_compiled(compiled: Callable[..., Any], steps: int) -> None:
    given = inputs(steps)
    expected = head(*given)
    found = compiled(*given)
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found, given), torch.autograd.grad(expected, given), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_in_one_graph(dynamic: bool) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(head, fullgraph=True, dynamic=dynamic, backend=counter)
    for steps in (6, 9, 12):
        check_compiled(compiled, steps)
    assert counter.frame_count == (1 if dynamic else 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_with_inductor(dynamic: bool) -> None:
    if shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    torch._dynamo.reset()
    compiled = torch.compile(head, fullgraph=True, dynamic=dynamic)
    for steps in (6, 9):
        check_compiled(compiled, steps)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_runs_in_float32(dtype: str) -> None:
    half = getattr(torch, dtype)
    made = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 6, 5, generator=made).to(half).requires_grad_() for _ in range(6)]
    q = torch.randn(2, 9, generator=made).to(half).requires_grad_()
    maps = torch.randn(2, 3, 4, 4, generator=made).to(half).requires_grad_()
    with torch.autocast("cpu", dtype=half):
        results = (OPS.cgin(*parts), *OPS.hysteresis_pool(q), OPS.moment_pool(maps))
    wide = (
        OPS.cgin(*(p.float() for p in parts)),
        *OPS.hysteresis_pool(q.float()),
        OPS.moment_pool(maps.float()),
    )
    for a, b in zip(results, wide, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
    for grad in torch.autograd.grad(sum(r.sum() for r in results), (*parts, q, maps)):
        assert grad.dtype == half
        assert torch.isfinite(grad).all()


def test_errors_are_the_cores() -> None:
    x = torch.zeros(2, 5, 3)
    with pytest.raises(errors.InvalidArgument, match=r"cgin: lengths must lie in 1\.\.5, got 9"):
        OPS.cgin(x, x, x, x, x, x, torch.tensor([9, 1]))
    with pytest.raises(errors.InvalidArgument, match=r"cgin: lengths must be integers, got torch\.float32"):
        OPS.cgin(x, x, x, x, x, x, torch.tensor([1.0, 2.0]))
    with pytest.raises(errors.InvalidArgument, match="cgin: x must be float32 or float64, got float16"):
        OPS.cgin(*[x.half()] * 6)
    with pytest.raises(errors.InvalidArgument, match="cgin: y must be float32, got float64"):
        OPS.cgin(x, x.double(), x, x, x, x)
    with pytest.raises(errors.InvalidArgument, match=r"hysteresis_pool: q must have 2 dimensions \(B, T\)"):
        OPS.hysteresis_pool(x)
    with pytest.raises(errors.InvalidArgument, match="moment_pool: x must have 4 dimensions"):
        OPS.moment_pool(x)


def test_the_ops_without_torch() -> None:
    code = "import sys, vqafast, vqafast.ops; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert vqafast.ops._register.__doc__
