"""FFmpeg's pixel formats and colour tags in the words of ``source.py``."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np

from vqafast.errors import HdrUnsupported, TooSmall, UnsupportedPixelFormat
from vqafast.video.source import ColorSpec, HostPlane, PixelLayout

MAX_ASPECT = 16  # of one sample
MAX_SIDE = 16384
MAX_PIXELS = 134_217_728  # 2**27: 16K by 8K
MIN_SIDE = 32

_SUBSAMPLING = {
    "420": (1, 1),
    "422": (1, 0),
    "444": (0, 0),
    "440": (0, 1),
    "411": (2, 0),
    "410": (2, 2),
}
_DEPTHS = {"": 8, "9le": 9, "10le": 10, "12le": 12, "14le": 14, "16le": 16}


def _layouts() -> dict[str, PixelLayout]:
    table: dict[str, PixelLayout] = {}
    for suffix, depth in _DEPTHS.items():
        table["gray" + suffix] = PixelLayout("gray" + suffix, depth, False, 0, 0, False, False)
        for sampling, (x, y) in _SUBSAMPLING.items():
            name = f"yuv{sampling}p{suffix}"
            table[name] = PixelLayout(name, depth, False, x, y, False, True)
    for sampling, (x, y) in (("12", (1, 1)), ("16", (1, 0)), ("24", (0, 0))):
        table["nv" + sampling] = PixelLayout("nv" + sampling, 8, False, x, y, True, True)
    for sampling, (x, y) in (("0", (1, 1)), ("2", (1, 0)), ("4", (0, 0))):
        for depth in (10, 12, 16):
            name = f"p{sampling}{depth}le"
            table[name] = PixelLayout(name, depth, depth < 16, x, y, True, True)
    return table


LAYOUTS: dict[str, PixelLayout] = _layouts()
"""Every layout whose planes are handed out as they are; other formats are converted."""


def peak_of(layout: PixelLayout) -> int:
    """Largest value of a sample."""
    return ((1 << layout.bit_depth) - 1) << (16 - layout.bit_depth if layout.msb_aligned else 0)


# Colour tags are the code points of ISO/IEC 23091-2 (H.273), which FFmpeg uses unchanged.
_MATRICES: dict[int, Literal["bt601", "bt709", "bt2020"]] = {
    1: "bt709",
    4: "bt601",
    5: "bt601",
    6: "bt601",
    7: "bt709",
    9: "bt2020",
    10: "bt2020",
}
_APPROXIMATE = {7: "SMPTE 240M taken as BT.709", 10: "BT.2020 constant luminance taken as BT.2020"}
_UNSPECIFIED_MATRIX = 2
_MATRIX_RGB = 0
_TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    11: "iec61966-2-4",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
_HDR = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
# Dolby Vision without a backward-compatible base layer shows only in the codec tag.
_DOLBY_TAGS = frozenset({"dvh1", "dvhe", "dvav", "dva1", "dav1"})
FULL_RANGE = 2


def refuse_hdr(transfer: int, codec_tag: str, path: str) -> None:
    """Raise `HdrUnsupported` for PQ, HLG and Dolby Vision."""
    kind = _HDR.get(transfer)
    if kind is None and codec_tag.lower() in _DOLBY_TAGS and transfer == 2:
        kind = "Dolby Vision"
    if kind is not None:
        raise HdrUnsupported(
            f"{path}: the transfer must be SDR, got {kind}; the models were trained on SDR. "
            "Tone-map to BT.709 first, for example with FFmpeg's zscale and tonemap filters",
            path=path,
        )


def color_spec(
    matrix: int, color_range: int, transfer: int, height: int, *, full_range: bool, path: str
) -> tuple[ColorSpec, str | None]:
    """Colour of a picture, and a remark when the matrix is an approximation.

    Parameters
    ----------
    matrix, color_range, transfer : int
        H.273 code points as FFmpeg reports them.
    full_range : bool
        The format's own claim (``yuvj``), which overrides an unspecified range.
    """
    name = _MATRICES.get(matrix)
    if name is None:
        if matrix not in (_UNSPECIFIED_MATRIX, _MATRIX_RGB, 3):
            raise UnsupportedPixelFormat(
                f"{path}: the matrix must be BT.601, BT.709 or BT.2020, "
                f"got H.273 matrix coefficients {matrix}",
                path=path,
            )
        name = "bt709" if height >= 720 else "bt601"
    spec = ColorSpec(
        matrix=name,
        full_range=full_range or color_range == FULL_RANGE,
        transfer=_TRANSFERS.get(transfer, "unspecified"),
    )
    return spec, _APPROXIMATE.get(matrix)


def native_name(pix_fmt: str) -> tuple[str | None, bool, bool]:
    """Return the layout's name or None when it must be converted, full range, and alpha."""
    if pix_fmt.startswith("yuvj"):
        return "yuv" + pix_fmt[4:], True, False
    if pix_fmt.startswith("yuva") and "yuv" + pix_fmt[4:] in LAYOUTS:
        return "yuv" + pix_fmt[4:], False, True
    return (pix_fmt if pix_fmt in LAYOUTS else None), False, False


def plane_array(buffer: object, line_size: int, rows: int, samples: int, depth: int) -> HostPlane:
    """View `rows` by `samples` of a plane without copying; negative line sizes are bottom-up."""
    dtype = np.uint8 if depth == 8 else np.uint16
    flat = np.frombuffer(buffer, dtype=dtype)  # type: ignore[call-overload]
    stride = abs(line_size) // flat.itemsize
    view: HostPlane = flat[: rows * stride].reshape(rows, stride)
    if line_size < 0:
        view = view[::-1]
    return view[:, :samples]


def plane_shapes(layout: PixelLayout, width: int, height: int) -> list[tuple[int, int]]:
    """Rows and samples of each plane; the samples of a semi-planar pair are counted singly."""
    shapes = [(height, width)]
    if layout.has_chroma:
        rows = -(-height >> layout.chroma_shift_y)
        columns = -(-width >> layout.chroma_shift_x)
        shapes += [(rows, 2 * columns)] if layout.semi_planar else [(rows, columns)] * 2
    return shapes


def sane_aspect(aspect: Fraction) -> Fraction:
    """Give `aspect`, or 1 where it is so far from square pixels that its header must be broken."""
    return aspect if Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT else Fraction(1)


def display_size(width: int, height: int, aspect: Fraction, rotation: int) -> tuple[int, int]:
    """Size for display: the sample aspect ratio widens the coded picture, then it is turned."""
    wide = max(1, round(width * aspect))
    return (height, wide) if rotation in (90, 270) else (wide, height)


def check_shown(size: tuple[int, int], path: str | None = None) -> None:
    """Refuse a picture that a display or a sample aspect ratio shrinks to a strip."""
    if min(size) < MIN_SIDE:
        raise TooSmall(
            f"{path or 'video'}: on the display the picture must be at least {MIN_SIDE} pixels a side, "
            f"got {size[0]}x{size[1]}",
            path=path,
        )


def clockwise(counterclockwise: float) -> int:
    """Quarter turns clockwise in 0..270 nearest to FFmpeg's counterclockwise angle."""
    return round(-counterclockwise / 90) % 4 * 90
