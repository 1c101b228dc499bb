"""DALI's pixels as the file's own planes of 4:2:0.

DALI brings chroma to the size of luma, bilinearly, as if it were sited in the middle of four pixels. This
is undone here, because `frame_ingest` knows where chroma is and DALI does not: a picture of DALI's 4:4:4
has its chroma half a pixel too far to the right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vqafast.video.source import Plane


def planes_on_device(pixels: Any, count: int, device: str) -> list[tuple[Plane, ...]]:
    """Planes of the first `count` pictures, torch tensors that share their memory.

    They are written on the device's default stream, as those of `nvdec` are.

    Parameters
    ----------
    pixels : TensorGPU (M, 1, H, W, 3)
        YCbCr. It is not transposed by DALI: luma is copied out of it, and undoing the upsampling reads
        chroma as it lies.
    """
    import torch

    stream = torch.cuda.default_stream(device)
    with torch.cuda.stream(stream):
        batch = torch.utils.dlpack.from_dlpack(pixels)[:count, 0]
        planes = [batch[..., 0].contiguous()]
        for channel in (1, 2):
            sums = native_chroma(batch[..., channel].to(torch.int16))
            planes.append(((sums + 8) >> 4).clip(0, 255).to(torch.uint8).contiguous())
        del batch
    # DALI does not know of this stream, and may write into its pixels when they are given back.
    stream.synchronize()
    return list(zip(*planes, strict=True))


def native_chroma(upsampled: Any) -> Any:
    """Undo the bilinear doubling of chroma in both directions; the result is 16 times the samples.

    With chroma sited between its two samples of luma, doubling gives ``(3 c[i] + c[i - 1]) / 4`` and
    ``(3 c[i] + c[i + 1]) / 4``. Each c[i] is three halves of a value of its own less half of its
    neighbour's, on either side; the mean of both sides is taken, since values come rounded.

    Parameters
    ----------
    upsampled : ndarray or tensor (..., H, W)
        Even sides; int16 or floating point.

    Returns
    -------
    ndarray or tensor (..., H / 2, W / 2)
        Values may lie a little outside the range of the samples; strides are arbitrary.
    """
    return _halved(_halved(upsampled).swapaxes(-1, -2)).swapaxes(-1, -2)


def _halved(doubled: Any) -> Any:
    sums = 3 * (doubled[..., ::2] + doubled[..., 1::2])
    # At the border the doubling has repeated the sample.
    sums[..., 0] -= doubled[..., 0]
    sums[..., 1:] -= doubled[..., 1:-1:2]
    sums[..., :-1] -= doubled[..., 2::2]
    sums[..., -1] -= doubled[..., -1]
    return sums


def planes_of_rgb(rgb: NDArray[np.uint8], full_range: bool) -> tuple[Plane, ...]:
    """Native planes from DALI's RGB on the CPU, which is BT.601 in the stream's range for every stream.

    Luma is exact, and chroma as exact as on a GPU, but where RGB is clipped.
    """
    red, green, blue = np.moveaxis(rgb.astype(np.float32), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    black, luma_range, chroma_range = (0, 255, 255) if full_range else (16, 219, 224)
    planes = [luma * (luma_range / 255) + black]
    for primary, weight in ((blue, 0.114), (red, 0.299)):
        chroma = (primary - luma) / (2 - 2 * weight) * (chroma_range / 255) + 128
        planes.append(native_chroma(chroma) / 16)
    return tuple(np.rint(plane).clip(0, 255).astype(np.uint8, order="C") for plane in planes)
