"""Shapes that the calls of a backbone have, for engines that must know them beforehand.

A call has as many pictures as `GraphBranch` gives it: fewer large ones than small ones. So its shapes
are several ranges, and none holds a tensor of 2**31 elements, which TensorRT's convolutions cannot have.
"""

from __future__ import annotations

from math import isqrt

from vqafast.engines import Shapes
from vqafast.engines.tensorrt_shapes import joined

#: Pixels a side of the largest picture: 8K in either orientation.
LARGEST_SIDE = 8192
#: Long side of a resized view, as a multiple of the short one.
WIDEST = 16
# The first maps of a ResNet, which are its largest, have 16 elements a pixel.
_MOST_PIXELS = (1 << 31) // 16 - 1
# Sides are multiples of this, so that halving them five times does not round up.
_STEP = 32
# The most usual ones first. What is tuned for them serves larger ones too, and needs less memory for it.
_USUAL = ((1080, 1920), (720, 1280), (2160, 3840), (2160, 4096), (4320, 7680), (4320, 8192), (540, 960))


def call_size(batch: int, height: int, width: int) -> int:
    """Pictures in a call when `batch` are asked for: as `GraphBranch` does it on a device."""
    from .branch import _DEVICE_PIXELS

    return min(batch, max(1, _DEVICE_PIXELS // (height * width)))


def picture_shapes(batch: int, channels: int, *, least: int, largest: int = LARGEST_SIDE) -> Shapes:
    """Whole pictures, or patches, of `least` to `largest` pixels a side.

    Parameters
    ----------
    batch : int
        Most pictures in a call.
    channels, least, largest : int

    Notes
    -----
    The ranges are squares, each with fewer and larger pictures than the one before. What they leave out
    are very wide pictures of which `GraphBranch` puts several into a call, with batches of up to 8 those of
    more than 8160 pixels, wider than 15:1.
    """
    low = min(least, largest)
    counts = [max(1, batch)]
    while _side(counts[-1], largest) < largest and counts[-1] > 1:
        counts.append(max(1, counts[-1] // 4))
    ranges: list[Shapes] = []
    usual = list(_USUAL) if largest == LARGEST_SIDE else [(largest, largest)]
    for count in counts:
        side = _side(count, largest)
        fits = next((size for size in usual if max(size) <= side), (side, side))
        usual = [size for size in usual if max(size) > side]
        many = call_size(count, *fits)
        ranges.append(Shapes((1, channels, low, low), (many, channels, *fits), (count, channels, side, side)))
    return joined(ranges)


def view_shapes(batch: int, channels: int, short: int, *, least: int) -> Shapes:
    """Pictures whose short side is at most `short`: as wide as `WIDEST`, then as high.

    `least` is the smallest side of a picture.
    """
    count = min(batch, _MOST_PIXELS // (2 * short * short))
    return _turned(count, call_size(count, short, _wide(short)), channels, short, least)


def clip_shapes(length: int | None, channels: int, short: int | None, *, least: int) -> Shapes:
    """Clips of up to `length` frames, which always run together; a frame is as in `view_shapes`.

    Without `length` they are as long as they can be, with frames up to 3:1; without `short`, of frames
    up to 1088 lines.
    """
    short = 1088 if short is None else short
    most = max(1, _MOST_PIXELS // (2 * short * short))
    count = max(1, 2 * most // 3) if length is None else min(length, most)
    return _turned(count, count, channels, short, least)


def _side(count: int, largest: int) -> int:
    return min(largest, isqrt(_MOST_PIXELS // count) // _STEP * _STEP)


def _wide(short: int) -> int:
    """Long side of a 16:9 picture, as `fit_short_side` rounds it."""
    return (2 * short * 16 + 9) // 18


def _turned(count: int, usual: int, channels: int, short: int, least: int) -> Shapes:
    longest = min(WIDEST * short, LARGEST_SIDE, max(_MOST_PIXELS // (count * short), _wide(short)))
    low = min(least, short)
    across = Shapes(
        (1, channels, low, low), (usual, channels, short, _wide(short)), (count, channels, short, longest)
    )
    upright = Shapes(
        (1, channels, low, low), (usual, channels, _wide(short), short), (count, channels, longest, short)
    )
    return joined([across, upright])
