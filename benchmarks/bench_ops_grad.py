"""Time the ops that have gradients against the same expressions in plain torch.

    python benchmarks/bench_ops_grad.py [--op NAME ...] [--threads 1 2] [--runs 31] [--out benchmarks/results]

`torch.ops.vqafast.<op>` and ``models.a2inet.functional.<op>_reference`` get the same float32 tensors, and the
same gradient of the output; "forward" runs without autograd, "forward + backward" computes the gradients of
every input. Before it is timed, each case is compared with the float64 definitions (``op.reference``,
``op_backward.reference``): the fused op may be at most `RATIO` times as far from them as plain torch, plus
`FLOOR` of the largest value.

Prints a Markdown table of interleaved runs (fused, plain, fused, ...): medians of wall time and of CPU time
(of all threads) in milliseconds, and the ratio plain / fused of the medians, for wall time with the 10th and
90th percentile over rounds. On a machine that does other things too, CPU time at one thread is the figure to
compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import describe  # noqa: E402
from benchmarks.bench_ops import time_interleaved  # noqa: E402

import vqafast.ops._register  # noqa: E402, F401 - defines torch.ops.vqafast
from vqafast import _core, ops  # noqa: E402
from vqafast.models.a2inet import functional  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[..., torch.Tensor]

RATIO, FLOOR = 2.0, 1e-5


@dataclass(frozen=True)
class Case:
    """An op with inputs, the plain expression, and the float64 definitions of both passes."""

    op: str
    name: str
    shapes: tuple[tuple[int, ...], ...]
    fused: Function
    plain: Function
    truth: Callable[..., Any]
    gradients: Callable[..., tuple[Any, ...]]  # of (gradient of the output, inputs)
    channels_last: bool = False

    def inputs(self) -> list[torch.Tensor]:
        """Leaf tensors, the same ones at each call."""
        made = torch.Generator().manual_seed(0)
        tensors = [torch.randn(shape, generator=made) + 1 for shape in self.shapes]
        if self.channels_last:
            tensors = [t.to(memory_format=torch.channels_last) for t in tensors]
        return [t.requires_grad_() for t in tensors]

    def grad(self) -> torch.Tensor:
        """Gradient of the output."""
        with torch.no_grad():
            out = self.fused(*self.inputs())
        return torch.randn(out.shape, generator=torch.Generator().manual_seed(1))


def cgin_case(batch: int, time: int, width: int = 1024) -> Case:
    def gradients(grad: Any, *arrays: Any) -> tuple[Any, ...]:
        x, y, gamma_x, _, gamma_y, _ = arrays
        d_x, d_y, d_gamma_x, d_gamma_y = ops.cgin_backward.reference(grad, x, y, gamma_x, gamma_y)
        d_theta_x, d_theta_y = np.split(grad, 2, axis=2)
        return d_x, d_y, d_gamma_x, d_theta_x, d_gamma_y, d_theta_y

    return Case(
        "cgin",
        f"B={batch} T={time} D={width}",
        ((batch, time, width),) * 6,
        torch.ops.vqafast.cgin,
        functional.cgin_reference,
        ops.cgin.reference,
        gradients,
    )


def hysteresis_case(batch: int, time: int) -> Case:
    return Case(
        "hysteresis_pool",
        f"B={batch} T={time}",
        ((batch, time),),
        lambda q: torch.ops.vqafast.hysteresis_pool(q)[0],
        lambda q: functional.hysteresis_pool_reference(q)[0],
        lambda q: ops.hysteresis_pool.reference(q)[0],
        lambda grad, q: (ops.hysteresis_pool_backward.reference(grad, None, q),),
    )


def moment_case(shape: tuple[int, ...], *, channels_last: bool = False) -> Case:
    return Case(
        "moment_pool",
        "x".join(map(str, shape)) + (" channels_last" if channels_last else ""),
        (shape,),
        torch.ops.vqafast.moment_pool,
        lambda x: functional.moment_pool_reference([x]),
        ops.moment_pool.reference,
        lambda grad, x: (ops.moment_pool_backward.reference(grad, x),),
        channels_last,
    )


# The four bottlenecks of ResNet-50 on a 540-line frame, and of ResNet-34 on a batch of 256-pixel patches.
MAPS = (
    (1, 256, 135, 240),
    (1, 512, 68, 120),
    (1, 1024, 34, 60),
    (1, 2048, 17, 30),
    (8, 64, 64, 64),
    (8, 512, 8, 8),
)
CASES = (
    *(cgin_case(batch, time) for batch in (1, 8) for time in (30, 128, 600)),
    *(hysteresis_case(batch, time) for batch in (1, 8) for time in (30, 128, 600)),
    *(moment_case(shape) for shape in MAPS),
    *(moment_case(shape, channels_last=True) for shape in MAPS[:4:3]),
)


def forward(function: Function, inputs: list[torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return function(*inputs)


def forward_backward(
    function: Function, inputs: list[torch.Tensor], grad: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(function(*inputs), inputs, grad)


def verify(case: Case) -> float:
    """Largest error as a share of what is allowed; exits above 1."""
    inputs, grad = case.inputs(), case.grad()
    arrays = [x.detach().numpy() for x in inputs]
    truths = (case.truth(*arrays), *case.gradients(grad.numpy(), *arrays))
    results = [
        (forward(function, inputs), *forward_backward(function, inputs, grad))
        for function in (case.fused, case.plain)
    ]
    worst = 0.0
    for truth, fused, plain in zip(truths, *results, strict=True):
        error, usual = (float(np.abs(part.numpy() - truth).max()) for part in (fused, plain))
        share = error / (RATIO * usual + FLOOR * float(np.abs(truth).max()))
        # max() would let NaN through
        worst = share if not share <= worst else worst
    if not worst <= 1:
        sys.exit(
            f"{case.op}, {case.name}: the fused op's error must be within bounds, got {worst:.3g} of them"
        )
    return worst


def rerun(run: Callable[[Function], Any], function: Function, _: int) -> None:
    run(function)


def measure(case: Case, threads: int, runs: int) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    inputs, grad = case.inputs(), case.grad()
    passes: dict[str, Callable[[Function], Any]] = {
        "forward": lambda function: forward(function, inputs),
        "forward + backward": lambda function: forward_backward(function, inputs, grad),
    }
    results = []
    for name, run in passes.items():
        variants = {"fused": partial(rerun, run, case.fused), "plain": partial(rerun, run, case.plain)}
        timings = time_interleaved(variants, runs)
        wall = {variant: np.array([w for w, _ in values]) for variant, values in timings.items()}
        cpu = {variant: float(np.median([c for _, c in values])) for variant, values in timings.items()}
        ratios = wall["plain"] / wall["fused"]
        results.append(
            {
                "op": case.op,
                "case": case.name,
                "pass": name,
                "threads": threads,
                "rounds": len(ratios),
                "cpu_ms": cpu,
                "ratio_cpu": cpu["plain"] / cpu["fused"],
                "wall_ms": {variant: float(np.median(values)) for variant, values in wall.items()},
                "ratio": float(np.median(wall["plain"]) / np.median(wall["fused"])),
                "ratio_p10_p90": [float(x) for x in np.percentile(ratios, [10, 90])],
            }
        )
    return results


def row(result: dict[str, Any]) -> str:
    low, high = result["ratio_p10_p90"]
    wall, cpu = result["wall_ms"], result["cpu_ms"]
    return (
        f"| {result['op']} | {result['case']} | {result['pass']} | {result['threads']} "
        f"| {wall['fused']:.3f} / {cpu['fused']:.3f} | {wall['plain']:.3f} / {cpu['plain']:.3f} "
        f"| **{result['ratio']:.2f}x** ({low:.2f} to {high:.2f}) | {result['ratio_cpu']:.2f}x |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--op", nargs="*", help="only these ops")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=31)
    parser.add_argument("--out", type=Path, help="folder that receives ops_grad.json and ops_grad.md")
    options = parser.parse_args()
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **describe(),
        "torch": torch.__version__,
        "cpu_target": _core.cpu_target(),
        "runs": options.runs,
        "command": " ".join(["python", "benchmarks/bench_ops_grad.py", *sys.argv[1:]]),
    }
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    shown = (
        "cpu",
        "cores",
        "cpu_target",
        "torch",
        "commit",
        "modified",
        "date",
        "load_before",
        "runs",
        "command",
    )
    say(", ".join(f"{key} {about[key]}" for key in shown))
    say("\n| op | case | pass | threads | fused: wall / CPU, ms | plain torch | wall ratio | CPU ratio |")
    say("|---|---|---|---|---|---|---|---|")
    results = []
    for case in CASES:
        if (options.op and case.op not in options.op) or (options.case and options.case not in case.name):
            continue
        error = verify(case)
        for threads in options.threads:
            for result in measure(case, threads, options.runs):
                results.append(result | {"error_of_allowed": error})
                say(row(result))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        record = json.dumps({"context": about, "results": results}, indent=1)
        (options.out / "ops_grad.json").write_text(record + "\n", encoding="utf-8")
        (options.out / "ops_grad.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
