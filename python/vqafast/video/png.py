"""Pictures as PNG, by the codec that is there anyway."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Bytes of a PNG file of an RGB picture ``(H, W, 3)`` uint8."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise InvalidArgument(f"png: picture must be (H, W, 3) uint8, got {picture.shape} {picture.dtype}")
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = picture.shape[:2]
    codec.pix_fmt = "rgb24"
    codec.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))
