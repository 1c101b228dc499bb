"""What gpu_report.py times: cases with inputs, the fused op, the plain torch expression and a check."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from gpu_case import Case, Inputs, largest, normal, repeated, where
from gpu_cases_video import default_model_cases, fragment_case, ingest_cases

import vqafast.ops._register  # noqa: F401 - defines torch.ops.vqafast
from vqafast import _core, ops
from vqafast.models.a2inet import functional
from vqafast.models.backbones.filter_bank import FilterBank

STATISTICS_TOLERANCE = 1e-4  # of 1 + the statistic, as in bench_ops.py
FUSED = torch.ops.vqafast


# cgin and hysteresis_pool


def cgin_cases(batch: int, time: int, width: int) -> tuple[Case, Case]:
    def backward_inputs(made: torch.Generator) -> Inputs:
        return normal(made, batch, time, 2 * width), *(normal(made, batch, time, width) for _ in range(4))

    def plain_of_backward(x: Any, y: Any, gamma_x: Any, gamma_y: Any) -> torch.Tensor:
        zero = x.new_zeros(())
        return functional.cgin_reference(x, y, gamma_x, zero, gamma_y, zero)

    name, unit = f"B={batch} T={time} D={width}", 4 * batch * time * width
    forward = Case(
        "cgin",
        name,
        8 * unit,
        lambda made: tuple(normal(made, batch, time, width) for _ in range(6)),
        FUSED.cgin,
        functional.cgin_reference,
    )
    backward = Case(
        "cgin_backward", name, 10 * unit, backward_inputs, FUSED.cgin_backward, plain_of_backward, wrt=4
    )
    return forward, backward


def hysteresis_plain(q: torch.Tensor, alpha: float = 0.5, beta: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """The equations of `functional.hysteresis_pool_reference` at full length, to the same bits.

    That one writes a number of the host into a mask, which a CUDA graph cannot hold.
    """
    steps = q.shape[1]
    t = torch.arange(steps, device=q.device)[:, None]
    before = t - torch.arange(beta, 0, -1, device=q.device)
    # The first step remembers itself: it takes the place of the one before it.
    known = (before >= 0) | ((t == 0) & (before == -1))
    past = q[:, before.clamp(min=0)].masked_fill(~known, torch.inf)
    memory = past.gather(2, past.argmin(dim=2, keepdim=True)).squeeze(2)
    after = t + torch.arange(beta + 1, device=q.device)
    ahead = q[:, after.clamp(max=steps - 1)]
    weights = torch.softmax((-ahead).masked_fill(after >= steps, -torch.inf), dim=2)
    series = alpha * memory + (1 - alpha) * (weights * ahead).sum(dim=2)
    return series.sum(dim=1) / steps, series


def hysteresis_cases(batch: int, time: int) -> tuple[Case, Case]:
    name, moved = f"B={batch} T={time}", 4 * batch * (2 * time + 1)
    forward = Case(
        "hysteresis_pool",
        name,
        moved,
        lambda made: (normal(made, batch, time),),
        FUSED.hysteresis_pool,
        hysteresis_plain,
    )
    backward = Case(
        "hysteresis_pool_backward",
        name,
        moved,
        lambda made: (normal(made, batch), normal(made, batch, time)),
        lambda grad, q: FUSED.hysteresis_pool_backward(grad, None, q),
        lambda q: hysteresis_plain(q)[0],
        wrt=1,
    )
    return forward, backward


# moment_pool


def moment_cases(shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> tuple[Case, Case]:
    pictures, channels = shape[:2]

    def maps(made: torch.Generator) -> torch.Tensor:
        x = normal(made, *shape).to(dtype)
        return x if layout == "nchw" else x.permute(0, 2, 3, 1).contiguous()

    def plain(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return functional.moment_pool_reference([x if layout == "nchw" else x.permute(0, 3, 1, 2)])

    def backward_inputs(made: torch.Generator) -> Inputs:
        x = maps(made)
        return normal(made, pictures, 2 * channels), x, plain(x.double()).float()

    half = "float16" if dtype == torch.float16 else "float32"
    name = f"{'x'.join(map(str, shape))} {half}{' channels_last' if layout == 'nhwc' else ''}"
    moved, pooled = math.prod(shape) * dtype.itemsize, 8 * pictures * channels
    forward = Case(
        "moment_pool",
        name,
        moved + pooled,
        lambda made: (maps(made),),
        partial(FUSED.moment_pool, layout=layout),
        plain,
    )
    backward = Case(
        "moment_pool_backward",
        name,
        2 * moved + 2 * pooled,
        backward_inputs,
        partial(FUSED.moment_pool_backward, layout=layout),
        plain,
        wrt=1,
    )
    return forward, backward


# scene_statistics


def statistics_case(pairs: int, side: int, device: torch.device) -> Case:
    bank = FilterBank().eval().to(device)

    def inputs(made: torch.Generator, count: int = pairs) -> torch.Tensor:
        return (torch.rand(count, 2, side, side, generator=made, device=device) * 255).round() / 255

    def fused(frames: torch.Tensor) -> torch.Tensor:
        out = torch.empty((len(frames), 176), dtype=torch.float32, device=device)
        room = torch.empty(_core.scene_statistics_workspace(frames), dtype=torch.uint8, device=device)
        ops.scene_statistics(frames, out=out, workspace=room, **where(frames))
        return out

    def check(made: torch.Generator) -> float:
        # Few different pictures, because the definition is slow; each of them at many places of the batch.
        different = inputs(made, 3)
        order = torch.arange(pairs) % 3
        truth = torch.from_numpy(ops.scene_statistics.reference(different.cpu().numpy()))[order]
        (found,) = repeated(case, (different[order.to(device)],))
        return largest((found.cpu() - truth) / (1 + truth.abs())) / STATISTICS_TOLERANCE

    case = Case(
        "scene_statistics",
        f"{pairs} pairs of {side}x{side}",
        pairs * (2 * side * side + 176) * 4,
        lambda made: (inputs(made),),
        fused,
        lambda frames: functional.moment_pool_reference(bank(frames)),
        check=check,
    )
    return case


# The largest maps of the default model's descriptors, of eight pictures that are 16:9.
DESCRIBED = ((8, 6, 144, 256), (8, 1, 143, 255))
# The four bottlenecks of ResNet-50 on a 540-line frame.
MAPS = ((256, 135, 240), (512, 68, 120), (1024, 34, 60), (2048, 17, 30))


def all_cases(device: torch.device) -> list[Case]:
    """Every case; much smaller ones on the CPU, where only this script is checked."""
    small = device.type == "cpu"
    shrink = 8 if small else 1
    part = 4 if small else 1
    uhd, hd = ((3840 // part, 2160 // part), (1920 // part, 1080 // part))
    side, lines = 768 // part, 540 // part
    described = [(n // part, c, h // part, w // part) for n, c, h, w in DESCRIBED]
    return [
        *ingest_cases("nv12", hd, side, lines),
        *ingest_cases("nv12", uhd, side, lines),
        *ingest_cases("p010", uhd, side, lines),
        *default_model_cases(hd, 256 // part, 144 // part),
        fragment_case(device),
        # Patches of one sample, and of eight, of 1080p in the default model; 60 lie between.
        *(statistics_case(pairs // shrink, 96 if small else 256, device) for pairs in (15, 60, 120)),
        *(c for b in (1, 8, 32) for t in (30, 128, 600) for c in cgin_cases(b, t, 1024 // shrink)),
        *(c for b in (8, 1024) for t in (128, 600) for c in hysteresis_cases(b, t // shrink)),
        *(moment_cases(shape, torch.float32, "nchw")[0] for shape in described),
        *(
            case
            for pictures in (1, 16 // shrink)
            for channels, height, width in MAPS
            for dtype in (torch.float16, torch.float32)
            for layout in ("nchw", "nhwc")
            for case in moment_cases(
                (pictures, channels, max(2, height // shrink), width // shrink), dtype, layout
            )
        ),
    ]
