"""Native YUV planes to normalised RGB or luma: crop, resize, convert, rotate and normalise in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vqafast import _core
from vqafast.ops._op import with_reference
from vqafast.ops._yuv import (
    FrameLike,
    Normaliser,
    check_out_given,
    frame_arguments,
    int32_array,
    normalised,
    output_arguments,
    reference_picture,
)

_OP = "frame_ingest"


def _frame_ingest(
    frame: FrameLike,
    crops: Any,
    out_size: tuple[int, int],
    *,
    output: str = "rgb",
    mean: Normaliser = 0.0,
    std: Normaliser = 1.0,
    dtype: str = "float32",
    layout: str = "nchw",
    threads: int = 0,
    stream: int = 0,
    out: Any = None,
) -> npt.NDArray[Any]:
    r"""Crops of a frame as a batch of normalised pictures of one size, ready for a network.

    Each plane is resampled at its own resolution, straight to the size of the output, by a separable
    triangle filter; then samples are converted, clipped to 0..1 and normalised:

    .. math::
        P'_{i} = \frac{\sum_j k((j + \tfrac12 - c_i) / f) P_j}{\sum_j k((j + \tfrac12 - c_i) / f)},
        \quad k(t) = \max(0, 1 - |t|), \quad f = \max(1, s / 2^a)

    .. math::
        \mathrm{out} = (\mathrm{clip}(M (Y', C_b', C_r'), 0, 1) - \mathrm{mean}) / \mathrm{std}

    with :math:`s` the crop's size over the output's and :math:`2^a` the plane's subsampling. The centre of
    output column i is :math:`X_i = x + (i + \frac12) s` in luma samples (half-pixel centres), so
    :math:`c_i = X_i` for luma and :math:`(X_i - \frac12) / 2^a + \frac12` for chroma, which is sited on
    the left one of its luma columns (MPEG-2, H.264, HEVC). In rows chroma is centred among its luma rows:
    :math:`c_i = Y_i / 2^a`. Sums run over samples of the frame, so a crop is a window on the frame.

    So scale 1 copies luma exactly and interpolates chroma bilinearly, enlarging is bilinear, and shrinking
    is antialiased (the filter of Pillow's ``BILINEAR``, without its rounding to 8 bits).

    Parameters
    ----------
    frame : FrameLike
        Planes (NumPy, or anything with ``__dlpack__``; all on the CPU or all on one CUDA device) with their
        layout, colour and rotation, as `vqafast.video.Frame`. Samples of a row are adjacent; rows may have
        any stride.
    crops : array (K, 4) of integers
        x, y, width, height of each crop, in pixels of the coded grid (no sample aspect ratio), in display
        orientation: a frame whose `rotation` is 90 or 270 is ``frame.height`` wide and ``frame.width`` high.
        On the CPU, wherever the planes are.
    out_size : (int, int)
        Height and width of every output picture, in display orientation.
    output : {"rgb", "luma"}
        Three channels R, G, B (gamma-encoded, of the frame's own primaries), or one: luma Y' expanded to
        full range. Gray frames give R = G = B = Y'.
    mean, std : float or sequence of C floats
        In units of 0..1; std positive.
    dtype : {"float32", "float16"}
        Of the result. Arithmetic is in float32.
    layout : {"nchw", "nhwc"}
        Order of the axes of the result.
    threads : int
        Most threads to use; 0 means every processor. Does not change the result.
    stream : int
        `cudaStream_t` on which CUDA tensors are worked; 0 is the default stream. CUDA tensors need `out`.
    out : array (K, C, h, w) or (K, h, w, C), optional
        Writable array that receives the result, on the device of the planes; any strides. Needed for planes
        on a CUDA device.

    Returns
    -------
    array (K, C, h, w) or (K, h, w, C)
        ``out`` if it was given.

    Raises
    ------
    ValueError
        If a shape, dtype or value is not as described, planes do not fit the layout, or a crop is empty or
        leaves the frame.
    NotImplementedError
        If the planes are on a device this build has no kernel for.
    """
    planes, pixel_format = frame_arguments(_OP, frame)
    check_out_given(_OP, planes, out)
    mean, std, channels, half, nhwc = output_arguments(
        _OP, output=output, mean=mean, std=std, dtype=dtype, layout=layout
    )
    height, width = out_size
    crops = int32_array(_OP, "crops", crops)
    result: npt.NDArray[Any] = _core.frame_ingest(
        planes, pixel_format, crops, height, width, mean, std, channels, half, nhwc, threads, stream, out
    )
    return result


def reference(
    frame: FrameLike,
    crops: Any,
    out_size: tuple[int, int],
    *,
    output: str = "rgb",
    mean: Normaliser = 0.0,
    std: Normaliser = 1.0,
    layout: str = "nchw",
    dtype: npt.DTypeLike = np.float64,
) -> npt.NDArray[Any]:
    """`frame_ingest` by whole-plane matrix products, in float64 unless `dtype` says otherwise."""
    mean, std, channels, _, nhwc = output_arguments(
        _OP, output=output, mean=mean, std=std, dtype="float32", layout=layout
    )
    pictures = [
        normalised(reference_picture(frame, crop, out_size, channels, dtype), mean, std)
        for crop in int32_array(_OP, "crops", crops)
    ]
    result = np.stack(pictures)
    return np.moveaxis(result, 1, -1) if nhwc else result


frame_ingest = with_reference(_frame_ingest, reference)
