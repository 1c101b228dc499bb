"""One list of samples for each op that reads native video planes; every check of it reads the list."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layout:
    bit_depth: int = 8
    msb_aligned: bool = False
    chroma_shift_x: int = 1
    chroma_shift_y: int = 1
    semi_planar: bool = False
    has_chroma: bool = True


@dataclass(frozen=True)
class Color:
    matrix: str = "bt709"
    full_range: bool = False


@dataclass(frozen=True)
class Picture:
    planes: tuple[Any, ...]
    layout: Layout
    color: Color
    width: int
    height: int
    rotation: int = 0

    def turned(self, rotation: int) -> Picture:
        return replace(self, rotation=rotation)


LAYOUTS = {
    "yuv420p": Layout(),
    "nv12": Layout(semi_planar=True),
    "yuv422p": Layout(chroma_shift_y=0),
    "nv16": Layout(chroma_shift_y=0, semi_planar=True),
    "yuv444p": Layout(chroma_shift_x=0, chroma_shift_y=0),
    "nv24": Layout(chroma_shift_x=0, chroma_shift_y=0, semi_planar=True),
    "yuv411p": Layout(chroma_shift_x=2, chroma_shift_y=0),
    "yuv410p": Layout(chroma_shift_x=2, chroma_shift_y=2),
    "gray": Layout(has_chroma=False),
    "yuv420p9": Layout(bit_depth=9),
    "yuv420p10": Layout(bit_depth=10),
    "yuv422p12": Layout(bit_depth=12, chroma_shift_y=0),
    "yuv444p16": Layout(bit_depth=16, chroma_shift_x=0, chroma_shift_y=0),
    "gray14": Layout(bit_depth=14, has_chroma=False),
    "p010": Layout(bit_depth=10, msb_aligned=True, semi_planar=True),
    "p212": Layout(bit_depth=12, msb_aligned=True, semi_planar=True, chroma_shift_y=0),
}


def picture(
    width: int, height: int, layout: Layout | str = "yuv420p", seed: int = 0, **color: Any
) -> Picture:
    """Noise over the whole range of codes, so that clipping happens too."""
    layout = LAYOUTS[layout] if isinstance(layout, str) else layout
    random = np.random.default_rng(seed)
    dtype = np.uint8 if layout.bit_depth == 8 else np.uint16
    shift = 16 - layout.bit_depth if layout.msb_aligned else 0
    columns = -(-width // 2**layout.chroma_shift_x)
    rows = -(-height // 2**layout.chroma_shift_y)
    chroma = ((rows, columns, 2),) if layout.semi_planar else ((rows, columns),) * 2
    shapes = ((height, width), *(chroma if layout.has_chroma else ()))
    planes = tuple((random.integers(0, 2**layout.bit_depth, s) << shift).astype(dtype) for s in shapes)
    return Picture(planes, layout, Color(**color), width, height)


@dataclass(frozen=True)
class IngestSample:
    name: str
    width: int
    height: int
    crops: tuple[tuple[int, int, int, int], ...]
    size: tuple[int, int]
    layouts: tuple[str, ...] = ("yuv420p", "nv12", "p010")
    options: dict[str, Any] = field(default_factory=dict)


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
LUMA = {"output": "luma", "mean": 0.45, "std": 0.225}

INGEST_SAMPLES = (
    IngestSample("one pixel", 1, 1, ((0, 0, 1, 1),), (1, 1), tuple(LAYOUTS)),
    IngestSample("one pixel enlarged", 1, 1, ((0, 0, 1, 1),), (3, 20), tuple(LAYOUTS)),
    IngestSample("exact", 67, 45, ((0, 0, 67, 45),), (45, 67), tuple(LAYOUTS), IMAGENET),
    IngestSample(
        "exact crops at odd places", 67, 45, ((0, 0, 33, 17), (34, 28, 33, 17), (5, 7, 33, 17)), (17, 33)
    ),
    IngestSample("halved", 128, 96, ((0, 0, 128, 96),), (48, 64), tuple(LAYOUTS), IMAGENET),
    IngestSample("halved odd", 67, 45, ((0, 0, 67, 45), (1, 3, 64, 40)), (22, 33), tuple(LAYOUTS)),
    IngestSample("3/4", 128, 96, ((0, 0, 128, 96),), (72, 96), ("yuv420p", "p010", "yuv444p")),
    IngestSample("to a quarter", 256, 64, ((0, 0, 256, 64),), (16, 64), ("yuv420p", "nv12", "yuv420p10")),
    IngestSample(
        "by 7.5", 480, 60, ((0, 0, 480, 60), (3, 1, 450, 59)), (8, 64), ("yuv420p", "p010", "gray14")
    ),
    IngestSample("to one pixel", 301, 203, ((0, 0, 301, 203),), (1, 1), ("yuv420p", "nv12")),
    IngestSample("vector less one", 64, 32, ((0, 0, 30, 32),), (16, 15), ("yuv420p", "nv12")),
    IngestSample("vector plus one", 64, 40, ((9, 3, 34, 33),), (17, 17), ("yuv420p", "nv12")),
    IngestSample("wider, lower", 64, 40, ((9, 3, 34, 33),), (11, 50), ("yuv420p", "yuv411p", "yuv410p")),
    IngestSample(
        "enlarged", 53, 31, ((0, 0, 53, 31), (40, 20, 13, 11)), (62, 106), ("yuv420p", "nv12", "yuv444p16")
    ),
    IngestSample("corners", 67, 45, ((0, 0, 1, 1), (66, 0, 1, 1), (0, 44, 1, 1), (66, 44, 1, 1)), (2, 2)),
    IngestSample("luma exact", 67, 45, ((3, 2, 40, 40),), (40, 40), tuple(LAYOUTS), LUMA),
    IngestSample("luma halved", 67, 45, ((3, 2, 40, 40),), (20, 20), tuple(LAYOUTS), LUMA),
)


@dataclass(frozen=True)
class FragmentSample:
    name: str
    width: int
    height: int
    grid: tuple[int, int]
    patch: int
    layouts: tuple[str, ...] = ("yuv420p", "nv12", "p010")
    options: dict[str, Any] = field(default_factory=dict)

    def positions(self, width: int, height: int, seed: int = 0) -> np.ndarray:
        """Patches anywhere in a `width` x `height` picture, the first and the last at its corners."""
        random = np.random.default_rng(seed)
        span = np.array([width, height]) - self.patch
        at = random.integers(0, span + 1, (*self.grid, 2)).astype(np.int32)
        at[0, 0], at[-1, -1] = (0, 0), span
        return at


FRAGMENT_SAMPLES = (
    FragmentSample("one pixel", 1, 1, (1, 1), 1, tuple(LAYOUTS)),
    FragmentSample("7x7 of 8", 67, 71, (7, 7), 8, tuple(LAYOUTS), IMAGENET),
    FragmentSample("7x7 of 32", 256, 240, (7, 7), 32, ("yuv420p", "p010"), IMAGENET),
    FragmentSample("3x5 of 17, overlapping", 50, 40, (3, 5), 17),
    FragmentSample("luma", 67, 71, (4, 4), 16, ("yuv420p", "gray"), LUMA),
)
