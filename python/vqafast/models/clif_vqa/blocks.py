"""From the frames of a clip to the blocks that CLIP looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vqafast.ops import frame_ingest
from vqafast.video.sampling import patch_grid

from ..views import oriented_size

if TYPE_CHECKING:
    from vqafast.video.source import Sampled

    from ..views import Target
    from .spec import BlockView


def looked_at(frames: int, looks: int) -> list[int]:
    """Numbers of the frames that CLIP sees: the middle one of each of `looks` equal parts."""
    return [(2 * i + 1) * frames // (2 * looks) for i in range(looks)]


def blocks(sampled: Sampled, view: BlockView, frames: int, *, threads: int, target: Target) -> Any:
    """Blocks ``(looks * grid^2, 3, side, side)`` of a clip of `frames` frames, by frame, then in scan order.

    They are cut at the picture's own resolution from the middles of equal cells, and overlap where cells
    are smaller. In a picture smaller than a block, blocks are as large as it allows and are enlarged. A
    clip that the end of the video cuts short goes on from its first frame again.
    """
    made = [
        _one(sampled.frames[i % len(sampled.frames)], view, threads=threads, target=target)
        for i in looked_at(frames, view.looks)
    ]
    return target.arrays.concatenate(made)


def _one(frame: Any, view: BlockView, *, threads: int, target: Target) -> Any:
    width, height = oriented_size(frame)
    side = min(view.side, width, height)
    count = view.grid * view.grid
    return frame_ingest(
        frame,
        patch_grid(width, height, view.grid, view.grid, side, align=1),
        (view.side, view.side),
        mean=view.mean,
        std=view.std,
        dtype=target.dtype,
        threads=threads,
        stream=target.arrays.stream,
        out=target.arrays.empty((count, 3, view.side, view.side), target.dtype),
    )
