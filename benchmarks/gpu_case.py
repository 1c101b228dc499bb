"""A case of gpu_report.py, and how one is verified before it is timed.

A case is verified on fresh random inputs before it is timed, with memory that nobody wrote full of NaN. Ops
with a `torch.ops.vqafast` entry are compared with the plain expression in float64 on the same device: the
fused op may be at most `RATIO` times as far from it as the plain expression in float32, plus `FLOOR` of the
largest value. Results in half precision are compared with float32 rounded to half. The ops on video planes
are compared with their own CPU kernels, `scene_statistics` with its float64 NumPy definition. Two runs must
give the same bits.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

import vqafast.ops._register  # noqa: F401 - defines torch.ops.vqafast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RATIO, FLOOR = 2.0, 1e-5

Inputs = tuple[Any, ...]
Results = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Case:
    """One line of the table. `make` gives one set of inputs on the device of its generator."""

    op: str
    name: str
    bytes: int  # each input read once, each output written once
    make: Callable[[torch.Generator], Inputs]
    fused: Callable[..., Any]
    plain: Callable[..., Any]
    #: Backward passes: `plain` takes the inputs but the first, which is the gradient of its result, and is
    #: differentiated with respect to as many of them as this says.
    wrt: int = 0
    check: Callable[[torch.Generator], float] | None = None  # error as a share of what is allowed


@contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 without TF32 for the process, as our engines compute; torch's settings are put back."""
    owners: tuple[Any, ...] = (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,
        torch.backends.cudnn.rnn,
    )
    before = [owner.fp32_precision for owner in owners]
    try:
        for owner in owners:
            owner.fp32_precision = "ieee"
        yield
    finally:
        for owner, precision in zip(owners, before, strict=True):
            owner.fp32_precision = precision


def as_tuple(results: Any) -> Results:
    return (results,) if isinstance(results, torch.Tensor) else tuple(results)


def fused_call(case: Case, inputs: Inputs) -> Callable[[], Results]:
    def run() -> Results:
        with torch.no_grad():
            return as_tuple(case.fused(*inputs))

    return run


def plain_call(case: Case, inputs: Inputs, dtype: torch.dtype | None = None) -> Callable[[], Results]:
    """The plain expression on `inputs`, or a copy in `dtype`; of a backward pass the forward is done here."""
    if dtype is not None:
        inputs = tuple(t.to(dtype) for t in inputs)
    if not case.wrt:

        def run() -> Results:
            with torch.no_grad():
                return as_tuple(case.plain(*inputs))

        return run
    grad, *rest = inputs
    leaves = [t.detach().requires_grad_() for t in rest[: case.wrt]]
    out = case.plain(*leaves, *rest[case.wrt :])
    grad = grad.to(out.dtype)
    return lambda: torch.autograd.grad(out, leaves, grad, retain_graph=True)


def poisoned(run: Callable[[], Results]) -> Results:
    """Results of `run` when all memory it allocates holds NaN (255 for bytes) beforehand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_deterministic_debug_mode("warn")
        try:
            return run()
        finally:
            torch.set_deterministic_debug_mode("default")


def repeated(case: Case, inputs: Inputs) -> Results:
    """Results of the fused op, the same bits in two runs."""
    first, second = (poisoned(fused_call(case, inputs)) for _ in range(2))
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        if not bool(torch.isfinite(a).all()):
            raise ValueError(f"result {i} must be finite, got NaN or infinity (not written?)")
        if not torch.equal(a, b):
            raise ValueError(f"result {i} must have the same bits in every run, got two that differ")
    return first


def largest(x: torch.Tensor) -> float:
    return float(x.double().abs().max())


def verify(case: Case, made: torch.Generator) -> float:
    """Largest error as a share of what is allowed; raises above 1."""
    share = case.check(made) if case.check else compare(case, case.make(made))
    if not share <= 1:
        raise ValueError(f"the fused op's error must be within bounds, got {share:.3g} of them")
    return share


def compare(case: Case, inputs: Inputs) -> float:
    truths = plain_call(case, inputs, torch.float64)()
    usual = plain_call(case, inputs, torch.float32)()
    shares = [0.0]
    for truth, fused, plain in zip(truths, repeated(case, inputs), usual, strict=True):
        if fused.shape != truth.shape:
            raise ValueError(f"a result must have shape {tuple(truth.shape)}, got {tuple(fused.shape)}")
        allowed = RATIO * largest(plain.to(fused.dtype) - truth) + FLOOR * largest(truth)
        shares.append(largest(fused - truth) / allowed)
    return max(shares)


def normal(made: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=made, device=made.device) + 1


def where(tensor: torch.Tensor) -> dict[str, int]:
    """The stream for ops that are called without torch.ops."""
    return {"stream": torch.cuda.current_stream().cuda_stream} if tensor.is_cuda else {}
