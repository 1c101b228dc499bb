"""FAST-VQA's grid mini-patch sampling, straight from native YUV planes."""

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

_OP = "fragment_sample"


def _fragment_sample(
    frame: FrameLike,
    positions: Any,
    patch: int,
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
    r"""One patch of native pixels from each cell of a grid, tiled into one normalised picture.

    Tile (i, j) of the result is the `patch` by `patch` picture at ``positions[i, j]``, as `frame_ingest`
    gives it at scale 1: luma is copied, chroma is interpolated bilinearly from the frame (sited left in
    columns, centred in rows), then converted, clipped to 0..1 and normalised. Only the pixels of the
    patches are read. (Grid mini-patch sampling, FAST-VQA, section 3.1.)

    Parameters
    ----------
    frame : FrameLike
        As for `frame_ingest`.
    positions : array (GH, GW, 2) of integers
        x, y of the patch of grid row i and column j: pixels of the coded grid, in display orientation. On
        the CPU, wherever the planes are.
    patch : int
        Side of a patch in pixels.
    output, mean, std, dtype, layout, threads, stream
        As for `frame_ingest`.
    out : array (C, GH * patch, GW * patch) or (GH * patch, GW * patch, C), optional
        Writable array that receives the result, on the device of the planes; any strides. Needed for planes
        on a CUDA device.

    Returns
    -------
    array (C, GH * patch, GW * patch) or (GH * patch, GW * patch, C)
        ``out`` if it was given.

    Raises
    ------
    ValueError
        If a shape, dtype or value is not as described, planes do not fit the layout, or a patch leaves the
        frame.
    NotImplementedError
        If the planes are on a device this build has no kernel for.
    """
    planes, pixel_format = frame_arguments(_OP, frame)
    check_out_given(_OP, planes, out)
    mean, std, channels, half, nhwc = output_arguments(
        _OP, output=output, mean=mean, std=std, dtype=dtype, layout=layout
    )
    positions = int32_array(_OP, "positions", positions)
    result: npt.NDArray[Any] = _core.fragment_sample(
        planes, pixel_format, positions, patch, mean, std, channels, half, nhwc, threads, stream, out
    )
    return result


def reference(
    frame: FrameLike,
    positions: Any,
    patch: int,
    *,
    output: str = "rgb",
    mean: Normaliser = 0.0,
    std: Normaliser = 1.0,
    layout: str = "nchw",
    dtype: npt.DTypeLike = np.float64,
) -> npt.NDArray[Any]:
    """`fragment_sample` by converting the whole frame and cutting patches out of it."""
    mean, std, channels, _, nhwc = output_arguments(
        _OP, output=output, mean=mean, std=std, dtype="float32", layout=layout
    )
    height, width = (frame.height, frame.width)[:: 1 if frame.rotation % 180 == 0 else -1]
    whole = reference_picture(frame, (0, 0, width, height), (height, width), channels, dtype)
    rows = [
        np.concatenate([whole[:, y : y + patch, x : x + patch] for x, y in row], axis=2)
        for row in int32_array(_OP, "positions", positions)
    ]
    result = normalised(np.concatenate(rows, axis=1), mean, std)
    return np.moveaxis(result, 0, -1) if nhwc else result


fragment_sample = with_reference(_fragment_sample, reference)
