"""What gpu_report.py times: each case with its inputs, the fused op, the plain torch expression and a check.

A case is verified on fresh random inputs before it is timed, with memory that nobody wrote full of NaN. Ops
with a `torch.ops.vqafast` entry are compared with the plain expression in float64 on the same device: the
fused op may be at most `RATIO` times as far from it as the plain expression in float32, plus `FLOOR` of the
largest value. Results in half precision are compared with float32 rounded to half. The ops on video planes
are compared with their own CPU kernels, `scene_statistics` with its float64 NumPy definition. Two runs must
give the same bits.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate

import vqafast.ops._register  # noqa: F401 - defines torch.ops.vqafast
from vqafast import _core, ops
from vqafast.models.a2inet import functional
from vqafast.models.backbones.filter_bank import FilterBank
from vqafast.ops._yuv import LUMINANCE
from vqafast.video.sampling import fragment_grid, patch_grid

if TYPE_CHECKING:
    from collections.abc import Callable

RATIO, FLOOR = 2.0, 1e-5
HALF_TOLERANCE = 2e-3  # of normalised pixels; the spacing of float16 above 2 is as much
STATISTICS_TOLERANCE = 1e-4  # of 1 + the statistic, as in bench_ops.py
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
FUSED = torch.ops.vqafast

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


def hysteresis_cases(batch: int, time: int) -> tuple[Case, Case]:
    name, moved = f"B={batch} T={time}", 4 * batch * (2 * time + 1)
    forward = Case(
        "hysteresis_pool",
        name,
        moved,
        lambda made: (normal(made, batch, time),),
        FUSED.hysteresis_pool,
        functional.hysteresis_pool_reference,
    )
    backward = Case(
        "hysteresis_pool_backward",
        name,
        moved,
        lambda made: (normal(made, batch), normal(made, batch, time)),
        lambda grad, q: FUSED.hysteresis_pool_backward(grad, None, q),
        lambda q: functional.hysteresis_pool_reference(q)[0],
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


# Video planes


def frame(made: torch.Generator, width: int, height: int, layout: str) -> SimpleNamespace:
    """Noise over the whole range of codes, 4:2:0 with interleaved chroma."""
    bits, dtype = (10, np.uint16) if layout == "p010" else (8, np.uint8)
    # Not every torch draws uint16 on a GPU, so NumPy does.
    random = np.random.default_rng(int(torch.randint(1 << 30, (1,), generator=made, device=made.device)))
    shift = 16 - bits if layout == "p010" else 0
    planes = tuple(
        torch.from_numpy(random.integers(0, 1 << bits, shape, dtype) << dtype(shift)).to(made.device)
        for shape in ((height, width), (height // 2, width // 2, 2))
    )
    pixels = SimpleNamespace(
        bit_depth=bits,
        msb_aligned=bits > 8,
        chroma_shift_x=1,
        chroma_shift_y=1,
        semi_planar=True,
        has_chroma=True,
    )
    color = SimpleNamespace(matrix="bt709", full_range=False)
    return SimpleNamespace(planes=planes, layout=pixels, color=color, width=width, height=height, rotation=0)


def on_host(source: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(**vars(source) | {"planes": tuple(p.cpu().numpy() for p in source.planes)})


def where(tensor: torch.Tensor) -> dict[str, int]:
    """The stream for ops that are called without torch.ops."""
    return {"stream": torch.cuda.current_stream().cuda_stream} if tensor.is_cuda else {}


@lru_cache
def conversion(layout: str, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Matrix and offset from codes of limited range to BT.709 RGB in 0..1; mean and deviation."""
    code = 256.0 if layout == "p010" else 1.0
    kr, kb = LUMINANCE["bt709"]
    kg = 1 - kr - kb
    matrix = torch.tensor(
        [
            [1, 0, 2 * (1 - kr)],
            [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
            [1, 2 * (1 - kb), 0],
        ],
        dtype=torch.float64,
    )
    offset = matrix @ torch.tensor([-16 / 219, -128 / 224, -128 / 224], dtype=torch.float64)
    matrix = matrix / (code * torch.tensor([219.0, 224.0, 224.0], dtype=torch.float64))
    columns = (offset, *(torch.tensor(IMAGENET[k], dtype=torch.float64) for k in ("mean", "std")))
    return tuple(t.float().to(device) for t in (matrix, *(c.reshape(1, 3, 1, 1) for c in columns)))


def normalised_rgb(luma: torch.Tensor, chroma: torch.Tensor, layout: str) -> torch.Tensor:
    matrix, offset, mean, std = conversion(layout, luma.device)
    yuv = torch.cat([luma, chroma], dim=1)
    rgb = torch.bmm(matrix.expand(len(yuv), 3, 3), yuv.flatten(2)).reshape(yuv.shape)
    return ((rgb + offset).clamp_(0, 1).sub_(mean) / std).half()


def crop_planes(plane: torch.Tensor, crops: Any, shrink: int) -> torch.Tensor:
    """Crops as float32 (K, channels, h, w)."""
    # uint16 lacks some operators; its bits do not.
    bits = plane.view(torch.int16) if plane.dtype == torch.uint16 else plane
    parts = [bits[y // shrink : (y + h) // shrink, x // shrink : (x + w) // shrink] for x, y, w, h in crops]
    stacked = torch.stack(parts) if len(parts) > 1 else parts[0][None]
    samples = stacked.view(plane.dtype).float()
    return samples[:, None] if samples.ndim == 3 else samples.permute(0, 3, 1, 2)


def resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return interpolate(x, size, mode="bilinear", antialias=x.shape[2] > size[0])


def against_cpu(case: Case, run: Callable[..., Any], made: torch.Generator) -> float:
    (source,) = case.make(made)
    expected = torch.from_numpy(run(on_host(source), dtype="float16", **IMAGENET))
    (found,) = repeated(case, (source,))
    return largest(found.cpu().float() - expected.float()) / HALF_TOLERANCE


def video_case(op: str, name: str, moved: int, make: Any, run: Any, shape: Any, plain: Any) -> Case:
    """`run(frame, **options)` is the op with everything else bound."""

    def fused(source: SimpleNamespace) -> torch.Tensor:
        luma = source.planes[0]
        out = torch.empty(shape, dtype=torch.float16, device=luma.device)
        run(source, dtype="float16", out=out, **IMAGENET, **where(luma))
        return out

    case = Case(op, name, moved, make, fused, plain)
    return Case(op, name, moved, make, fused, plain, check=partial(against_cpu, case, run))


def ingest_case(layout: str, source: tuple[int, int], crops: Any, size: tuple[int, int], what: str) -> Case:
    width, height = source
    crops = np.asarray(crops, np.int32)
    covered = np.zeros((height, width), bool)
    for x, y, w, h in crops:
        covered[y : y + h, x : x + w] = True
    shape = (len(crops), 3, *size)
    itemsize = 2 if layout == "p010" else 1
    moved = int(covered.sum()) * 3 // 2 * itemsize + 2 * math.prod(shape)
    corners = crops.tolist()

    def plain(picture: SimpleNamespace) -> torch.Tensor:
        luma, chroma = (resized(crop_planes(p, corners, i + 1), size) for i, p in enumerate(picture.planes))
        return normalised_rgb(luma, chroma, layout)

    return video_case(
        "frame_ingest",
        f"{layout} {height}p, {what}",
        moved,
        lambda made: (frame(made, width, height, layout),),
        lambda picture, **options: ops.frame_ingest(picture, crops, size, **options),
        shape,
        plain,
    )


def ingest_cases(layout: str, source: tuple[int, int], side: int, lines: int) -> tuple[Case, Case]:
    width, height = source
    patches = patch_grid(width, height, 2, 2, side)
    size = (lines, lines * width // height)
    return (
        ingest_case(layout, source, patches, (side, side), f"4 patches of {side}, scale 1"),
        ingest_case(layout, source, [(0, 0, width, height)], size, f"whole to {lines} lines"),
    )


def fragment_case(device: torch.device, width: int = 1920, height: int = 1080) -> Case:
    grid, patch = 7, 32
    side, half = grid * patch, patch // 2
    positions = fragment_grid(width, height, grid, patch)

    def index(corner: torch.Tensor, extent: int, axis: int) -> torch.Tensor:
        steps = torch.arange(extent).reshape((1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1))
        return corner[:, :, None, None] + steps

    at_x, at_y = (torch.from_numpy(positions[..., i]).long() for i in (0, 1))
    rows, columns = index(at_y, patch, 0).to(device), index(at_x, patch, 1).to(device)
    half_rows, half_columns = (
        index(at_y // 2, half, 0).to(device),
        index(at_x // 2, half, 1).to(device),
    )

    def tiled(patches: torch.Tensor) -> torch.Tensor:
        """(grid, grid, C, patch, patch) as one picture."""
        return patches.permute(2, 0, 3, 1, 4).reshape(1, -1, side, side)

    def plain(picture: SimpleNamespace) -> torch.Tensor:
        y, uv = picture.planes
        luma = y[rows, columns].float()[:, :, None]
        chroma = uv[half_rows, half_columns].flatten(0, 1).permute(0, 3, 1, 2).float()
        chroma = resized(chroma, (patch, patch)).reshape(grid, grid, 2, patch, patch)
        return normalised_rgb(tiled(luma), tiled(chroma), "nv12")[0]

    return video_case(
        "fragment_sample",
        f"nv12 {height}p, {grid}x{grid} of {patch}",
        side * side * 3 // 2 + 2 * 3 * side * side,
        lambda made: (frame(made, width, height, "nv12"),),
        lambda picture, **options: ops.fragment_sample(picture, positions, patch, **options),
        (3, side, side),
        plain,
    )


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


# The four bottlenecks of ResNet-50 on a 540-line frame.
MAPS = ((256, 135, 240), (512, 68, 120), (1024, 34, 60), (2048, 17, 30))


def all_cases(device: torch.device) -> list[Case]:
    """Every case; much smaller ones on the CPU, where only this script is checked."""
    small = device.type == "cpu"
    shrink = 8 if small else 1
    part = 4 if small else 1
    uhd, hd = ((3840 // part, 2160 // part), (1920 // part, 1080 // part))
    side, lines = 768 // part, 540 // part
    return [
        *ingest_cases("nv12", hd, side, lines),
        *ingest_cases("nv12", uhd, side, lines),
        *ingest_cases("p010", uhd, side, lines),
        fragment_case(device),
        *(statistics_case(pairs // shrink, 96 if small else 256, device) for pairs in (15, 60)),
        *(c for b in (1, 8, 32) for t in (30, 128, 600) for c in cgin_cases(b, t, 1024 // shrink)),
        *(c for b in (8, 1024) for t in (128, 600) for c in hysteresis_cases(b, t // shrink)),
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
