"""Local perception constraint (LPC): local quality of a clip against that of its parts, each seen alone.

002, section 1.2. The decisions that it leaves open are in the table of `network`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from torch import Tensor

    from ..fast_vqa.config import Size
    from .network import KVQ, Maps


def into_cubes(clips: Tensor, cube: Size) -> Tensor:
    """Cut clips into cubes.

    Parameters
    ----------
    clips : Tensor
        ``(B, C, T, H, W)``.
    cube : Size
        Frames, rows and columns.

    Returns
    -------
    Tensor
        ``(B * n, C, *cube)``: clip by clip, and within one by time, row and column.

    Raises
    ------
    InvalidArgument
        When a side of the clips is not a multiple of the cube's.
    """
    counts = _counts(clips, cube)
    (i, j, k), (a, b, c) = counts, cube
    x = clips.reshape(-1, clips.shape[1], i, a, j, b, k, c).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return x.reshape(-1, clips.shape[1], a, b, c)


def from_cubes(maps: Tensor, counts: Size) -> Tensor:
    """Put maps ``(B * n, t, h, w)`` of cubes together: ``(B, ...)`` with `counts` cubes on each axis."""
    (i, j, k), (t, h, w) = counts, maps.shape[1:]
    x = maps.reshape(-1, i, j, k, t, h, w).permute(0, 1, 4, 2, 5, 3, 6)
    return x.reshape(-1, i * t, j * h, k * w)


def local_quality(network: KVQ, clips: Tensor, cube: Size | None = None) -> Tensor:
    """Local quality where no region knows of anything outside its cube.

    Parameters
    ----------
    network : KVQ
    clips : Tensor
        ``(B, 3, T, H, W)``, normalised; each side a multiple of the cube's.
    cube : Size, optional
        Frames, rows and columns in pixels, a multiple of ``network.config.stride``; ``network.config.cube``
        if left out.

    Returns
    -------
    Tensor
        ``(B, t, h, w)``, region for region that of ``network.maps(clips).quality``.

    Raises
    ------
    InvalidArgument
        When sizes are no multiples.
    """
    cube = cube or network.config.cube
    stride = network.config.stride
    if min(cube) < 1 or any(c % s for c, s in zip(cube, stride, strict=True)):
        raise InvalidArgument(f"local_quality: cube must be a multiple of {stride} pixels, got {cube}")
    return from_cubes(network.maps(into_cubes(clips, cube)).quality, _counts(clips, cube))


def local_perception_loss(network: KVQ, clips: Tensor, maps: Maps, cube: Size | None = None) -> Tensor:
    """Mean absolute difference of local quality from that of cubes seen alone: the LPC term, a scalar.

    It is 0 when no region's quality depends on what lies outside its cube.

    Parameters
    ----------
    network : KVQ
    clips : Tensor
        ``(B, 3, T, H, W)``, normalised.
    maps : Maps
        ``network.maps(clips)``, computed once for this and the other losses.
    cube : Size, optional
        As for `local_quality`.

    Raises
    ------
    InvalidArgument
        When sizes are no multiples, or `maps` are not of these clips.
    """
    alone = local_quality(network, clips, cube)
    if maps.quality.shape != alone.shape:
        raise InvalidArgument(
            f"local_perception_loss: maps must be {tuple(alone.shape)}, got {tuple(maps.quality.shape)}"
        )
    return (maps.quality - alone).abs().mean()


def _counts(clips: Tensor, cube: Size) -> Size:
    if clips.ndim != 5 or min(cube) < 1 or any(s % c for s, c in zip(clips.shape[2:], cube, strict=True)):
        raise InvalidArgument(
            f"into_cubes: clips must be (B, C, T, H, W) in multiples of {cube}, got {tuple(clips.shape)}"
        )
    i, j, k = (s // c for s, c in zip(clips.shape[2:], cube, strict=True))
    return i, j, k
