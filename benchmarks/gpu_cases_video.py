"""What gpu_report.py times of the ops that read native video planes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gpu_case import Case, largest, repeated, where
from torch.nn.functional import interpolate

import vqafast.ops._register  # noqa: F401 - defines torch.ops.vqafast
from vqafast import ops
from vqafast.ops._yuv import LUMINANCE
from vqafast.video.sampling import fragment_grid, patch_grid

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGENET: dict[str, Any] = {
    "output": "rgb",
    "dtype": "float16",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
# What the default model takes, in 0..1.
PATCHES: dict[str, Any] = {"output": "luma", "dtype": "float32"}
PICTURE: dict[str, Any] = {"output": "rgb", "dtype": "float32"}
#: Of normalised pixels: the spacing of float16 above 2 is as much; and of pixels in 0..1.
TOLERANCE = {"float16": 2e-3, "float32": 2e-5}


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


def plain_rgb(luma: torch.Tensor, chroma: torch.Tensor, layout: str) -> torch.Tensor:
    """In 0..1."""
    matrix, offset, *_ = conversion(layout, luma.device)
    yuv = torch.cat([luma, chroma], dim=1)
    rgb = torch.bmm(matrix.expand(len(yuv), 3, 3), yuv.flatten(2)).reshape(yuv.shape)
    return (rgb + offset).clamp_(0, 1)


def normalised_rgb(luma: torch.Tensor, chroma: torch.Tensor, layout: str) -> torch.Tensor:
    *_, mean, std = conversion(layout, luma.device)
    return (plain_rgb(luma, chroma, layout).sub_(mean) / std).half()


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


def against_cpu(case: Case, run: Callable[..., Any], options: dict[str, Any], made: torch.Generator) -> float:
    (source,) = case.make(made)
    expected = torch.from_numpy(run(on_host(source), **options))
    (found,) = repeated(case, (source,))
    return largest(found.cpu().float() - expected.float()) / TOLERANCE[options["dtype"]]


def video_case(
    op: str, name: str, moved: int, make: Any, run: Any, shape: Any, plain: Any, options: dict[str, Any]
) -> Case:
    """`run(frame, **options)` is the op with everything else bound."""

    def fused(source: SimpleNamespace) -> torch.Tensor:
        luma = source.planes[0]
        out = torch.empty(shape, dtype=getattr(torch, options["dtype"]), device=luma.device)
        run(source, out=out, **options, **where(luma))
        return out

    case = Case(op, name, moved, make, fused, plain)
    return replace(case, check=partial(against_cpu, case, run, options))


def ingest_case(
    layout: str,
    source: tuple[int, int],
    crops: Any,
    size: tuple[int, int],
    what: str,
    options: dict[str, Any] = IMAGENET,
) -> Case:
    width, height = source
    crops = np.asarray(crops, np.int32)
    covered = np.zeros((height, width), bool)
    for x, y, w, h in crops:
        covered[y : y + h, x : x + w] = True
    gray = options["output"] == "luma"
    shape = (len(crops), 1 if gray else 3, *size)
    itemsize = 2 if layout == "p010" else 1
    read = int(covered.sum()) * (2 if gray else 3) // 2 * itemsize
    written = getattr(torch, options["dtype"]).itemsize * math.prod(shape)
    corners = crops.tolist()

    def plain(picture: SimpleNamespace) -> torch.Tensor:
        used = picture.planes[:1] if gray else picture.planes
        luma, *chroma = (resized(crop_planes(p, corners, i + 1), size) for i, p in enumerate(used))
        if gray:
            return ((luma - 16) / 219).clamp_(0, 1)  # 8 bits, limited range
        to_rgb = normalised_rgb if "mean" in options else plain_rgb
        return to_rgb(luma, chroma[0], layout)

    return video_case(
        "frame_ingest",
        f"{layout} {height}p, {what}",
        read + written,
        lambda made: (frame(made, width, height, layout),),
        lambda picture, **given: ops.frame_ingest(picture, crops, size, **given),
        shape,
        plain,
        options,
    )


def ingest_cases(layout: str, source: tuple[int, int], side: int, lines: int) -> tuple[Case, Case]:
    width, height = source
    patches = patch_grid(width, height, 2, 2, side)
    size = (lines, lines * width // height)
    return (
        ingest_case(layout, source, patches, (side, side), f"4 patches of {side}, scale 1"),
        ingest_case(layout, source, [(0, 0, width, height)], size, f"whole to {lines} lines"),
    )


def default_model_cases(source: tuple[int, int], side: int, lines: int) -> tuple[Case, Case]:
    """What the default model takes of one frame: patches of luma, and the whole picture made small."""
    width, height = source
    patches = patch_grid(width, height, min(5, -(-width // side)), min(3, -(-height // side)), side, 16)
    size = (lines, lines * width // height)
    return (
        ingest_case("nv12", source, patches, (side, side), f"{len(patches)} luma patches of {side}", PATCHES),
        ingest_case("nv12", source, [(0, 0, width, height)], size, f"whole to {lines} lines", PICTURE),
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
        lambda picture, **given: ops.fragment_sample(picture, positions, patch, **given),
        (3, side, side),
        plain,
        IMAGENET,
    )
