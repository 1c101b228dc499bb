"""What frame_ingest and fragment_sample share: the frame, common arguments, the slow definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vqafast.errors import InvalidArgument
from vqafast.ops._op import on_cuda

Array = npt.NDArray[Any]

# Weights of red and blue in luma (ITU-R BT.601, BT.709, BT.2020), in the order of YuvMatrix in
# frame_ingest.h.
LUMINANCE = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
_MATRIX_INDEX = {name: index for index, name in enumerate(LUMINANCE)}
_CHANNELS = {"rgb": 3, "luma": 1}
_DTYPES = {"float32": False, "float16": True}
_LAYOUTS = {"nchw": False, "nhwc": True}

Normaliser = float | Sequence[float]


class PixelLayoutLike(Protocol):
    """How planes encode pixels; `vqafast.video.PixelLayout` is one."""

    @property
    def bit_depth(self) -> int:
        """8 (uint8 planes) or 9..16 (uint16 planes, native byte order)."""

    @property
    def msb_aligned(self) -> bool:
        """Whether the significant bits are the high ones of 16 (P010, P016)."""

    @property
    def chroma_shift_x(self) -> int:
        """log2 of the horizontal subsampling of chroma, 0..2."""

    @property
    def chroma_shift_y(self) -> int:
        """log2 of the vertical subsampling of chroma, 0..2."""

    @property
    def semi_planar(self) -> bool:
        """Whether U and V are interleaved in one plane."""

    @property
    def has_chroma(self) -> bool:
        """False for gray."""


class ColorLike(Protocol):
    """What sample values mean; `vqafast.video.ColorSpec` is one."""

    @property
    def matrix(self) -> str:
        """``bt601``, ``bt709`` or ``bt2020`` (non-constant luminance)."""

    @property
    def full_range(self) -> bool:
        """False: 16..235 (luma) and 16..240 (chroma), times 2**(bit_depth - 8)."""


class FrameLike(Protocol):
    """A picture in its native planes; `vqafast.video.Frame` is one."""

    @property
    def planes(self) -> tuple[Any, ...]:
        """Y, U, V ``(rows, samples)``; or Y and UV ``(rows, samples, 2)``; or Y. Rows may have any stride."""

    @property
    def layout(self) -> PixelLayoutLike:
        """How the planes encode pixels."""

    @property
    def color(self) -> ColorLike:
        """What sample values mean."""

    @property
    def width(self) -> int:
        """Luma samples per coded row."""

    @property
    def height(self) -> int:
        """Coded luma rows."""

    @property
    def rotation(self) -> int:
        """0, 90, 180 or 270: degrees clockwise that the coded picture turns for display."""


def _one_of(op: str, name: str, value: Any, choices: dict[str, Any]) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return choices[value]


def frame_arguments(op: str, frame: FrameLike) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Give the planes and the format tuple of `_core`, checked as far as the C++ cannot."""
    planes, layout, color = tuple(frame.planes), frame.layout, frame.color
    if planes:
        shape = tuple(getattr(planes[0], "shape", ()))
        if shape != (frame.height, frame.width):
            raise ValueError(
                f"{op}: plane Y must have the frame's shape {(frame.height, frame.width)}, got shape {shape}"
            )
    matrix = _one_of(op, "matrix", color.matrix, _MATRIX_INDEX)
    return planes, (
        int(layout.bit_depth),
        bool(layout.msb_aligned),
        int(layout.chroma_shift_x),
        int(layout.chroma_shift_y),
        bool(layout.semi_planar),
        bool(layout.has_chroma),
        matrix,
        bool(color.full_range),
        int(frame.rotation),
    )


def _per_channel(op: str, name: str, value: Normaliser, channels: int) -> tuple[float, ...]:
    if isinstance(value, (int, float)):
        return (float(value),) * channels
    values = tuple(float(v) for v in value)
    if len(values) != channels:
        raise ValueError(f"{op}: {name} must be one number or {channels}, got {len(values)}")
    return values


def output_arguments(
    op: str, *, output: str, mean: Normaliser, std: Normaliser, dtype: str, layout: str
) -> tuple[tuple[float, ...], tuple[float, ...], int, bool, bool]:
    """Give mean, std, number of channels, whether half, whether channels come last."""
    channels = _one_of(op, "output", output, _CHANNELS)
    return (
        _per_channel(op, "mean", mean, channels),
        _per_channel(op, "std", std, channels),
        channels,
        _one_of(op, "dtype", dtype, _DTYPES),
        _one_of(op, "layout", layout, _LAYOUTS),
    )


def check_out_given(op: str, planes: tuple[Any, ...], out: Any) -> None:
    """Refuse planes on a CUDA device without `out`: the core allocates on the CPU alone."""
    if out is None and any(on_cuda(plane) for plane in planes):
        raise InvalidArgument(f"{op}: out must be given for planes on a CUDA device, got None")


def int32_array(op: str, name: str, value: Any) -> Array:
    """`value` as int32 on the CPU, refusing what would change on the way."""
    if on_cuda(value):
        raise InvalidArgument(f"{op}: {name} must be on the CPU, got an array on a CUDA device")
    given = np.asarray(value)
    if given.dtype == np.int32:
        return given
    if given.dtype.kind not in "iu":
        raise ValueError(f"{op}: {name} must be integers, got {given.dtype}")
    result = given.astype(np.int32)
    if not np.array_equal(result, given):
        raise ValueError(f"{op}: {name} must fit in int32, got {given.max()}")
    return result


def resampling_matrix(begin: int, extent: int, count: int, limit: int, *, shift: int, sited: bool) -> Array:
    """Weights ``(count, limit)`` of one axis: `count` outputs over `extent` luma samples from `begin` on."""
    luma = begin + (np.arange(count) + 0.5) * (extent / count)
    center = ((luma - 0.5) / 2**shift + 0.5) if sited else luma / 2**shift
    filter_scale = max(1.0, extent / count / 2**shift)
    distance = np.abs(np.arange(limit) + 0.5 - center[:, None]) / filter_scale
    weights = np.maximum(0.0, 1.0 - distance)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _coded_crop(frame: FrameLike, crop: Sequence[int]) -> tuple[int, int, int, int]:
    x, y, w, h = (int(v) for v in crop)
    if frame.rotation == 90:
        return y, frame.height - x - w, h, w
    if frame.rotation == 180:
        return frame.width - x - w, frame.height - y - h, w, h
    if frame.rotation == 270:
        return frame.width - y - h, x, h, w
    return x, y, w, h


def reference_picture(
    frame: FrameLike,
    crop: Sequence[int],
    size: tuple[int, int],
    channels: int,
    dtype: npt.DTypeLike = np.float64,
) -> Array:
    """One crop as ``(channels, height, width)`` in 0..1, before normalisation; arithmetic in `dtype`."""
    layout = frame.layout
    x, y, w, h = _coded_crop(frame, crop)
    height, width = size if frame.rotation % 180 == 0 else size[::-1]
    unit = 2.0 ** (16 - layout.bit_depth) if layout.msb_aligned else 1.0

    def resample(plane: Any, shift_x: int, shift_y: int) -> Array:
        samples = np.asarray(plane).astype(dtype) / np.asarray(unit, dtype)
        across = resampling_matrix(x, w, width, samples.shape[1], shift=shift_x, sited=True).astype(dtype)
        down = resampling_matrix(y, h, height, samples.shape[0], shift=shift_y, sited=False).astype(dtype)
        return np.asarray(down @ samples @ across.T)

    peak, step = 2.0**layout.bit_depth - 1, 2.0 ** (layout.bit_depth - 8)
    luma = resample(frame.planes[0], 0, 0)
    luma = luma / peak if frame.color.full_range else (luma - 16 * step) / (219 * step)
    if channels == 1:
        picture = luma[None]
    elif not layout.has_chroma:
        picture = np.stack([luma] * 3)
    else:
        planes = frame.planes
        u, v = (planes[1][..., 0], planes[1][..., 1]) if layout.semi_planar else planes[1:3]
        chroma_range = peak if frame.color.full_range else 224 * step
        cb, cr = (
            (resample(plane, layout.chroma_shift_x, layout.chroma_shift_y) - 128 * step) / chroma_range
            for plane in (u, v)
        )
        kr, kb = LUMINANCE[frame.color.matrix]
        red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
        green = luma - (2 * kb * (1 - kb) * cb + 2 * kr * (1 - kr) * cr) / (1 - kr - kb)
        picture = np.stack([red, green, blue])
    picture = np.clip(picture, 0, 1).astype(dtype)
    return np.rot90(picture, -(frame.rotation // 90), axes=(1, 2))


def normalised(picture: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """``(picture - mean) / std`` per channel of ``(..., channels, height, width)``."""
    shape = (-1, 1, 1)
    centred = picture - np.reshape(mean, shape).astype(picture.dtype)
    return np.asarray(centred / np.reshape(std, shape).astype(picture.dtype))
