"""From the native planes of a run of frames to the fragments that the network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.ops import fragment_sample, frame_ingest
from vqafast.video.sampling import fragment_grid, splitmix64

from ..views import oriented_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vqafast.video.source import Frame, Sampled

    from ..views import Target
    from .spec import FragmentView


def fragments(
    sampled: Sampled, view: FragmentView, count: int, *, draw: int, seed: int, threads: int, target: Target
) -> Any:
    """Fragments ``(count, 3, S, S)`` of the frames of one run, S = ``view.side``.

    Draw 0 takes the middle of every cell. Other draws take positions by hash, other ones in every run,
    as the authors draw them anew for every clip. A run that the end of the video cuts short goes on from
    its first frame again, as the authors' frame numbers do, modulo the length.
    """
    place = 0 if draw == 0 else splitmix64(seed, sampled.k)
    made: list[Any] = []
    for frame in sampled.frames[:count]:
        made.append(_one(frame, view, draw=draw, seed=place, threads=threads, target=target))
    whole = [made[i % len(made)] for i in range(count)]
    return target.arrays.concatenate([part[None] for part in whole])


def _one(frame: Frame, view: FragmentView, *, draw: int, seed: int, threads: int, target: Target) -> Any:
    width, height = oriented_size(frame)
    side = view.side
    look: dict[str, Any] = {
        "mean": view.mean, "std": view.std, "dtype": target.dtype, "threads": threads,
        "stream": target.arrays.stream,
    }  # fmt: skip
    if min(width, height) >= side:
        positions = fragment_grid(width, height, view.grid, view.patch, draw, seed)
        out = target.arrays.empty((3, side, side), target.dtype)
        return fragment_sample(frame, positions, view.patch, out=out, **look)
    # The authors enlarge a picture that is smaller than its fragments, then sample it.
    wide, high = enlarged(width, height, side)
    whole = frame_ingest(
        frame,
        np.array([[0, 0, width, height]], dtype=np.int32),
        (high, wide),
        out=target.arrays.empty((1, 3, high, wide), target.dtype),
        **look,
    )
    return _tiled(whole[0], fragment_grid(wide, high, view.grid, view.patch, draw, seed), view, target)


def enlarged(width: int, height: int, side: int) -> tuple[int, int]:
    """Size of a picture whose shorter side becomes `side`; the other one is rounded down."""
    short = min(width, height)
    return max(side, width * side // short), max(side, height * side // short)


def _tiled(picture: Any, positions: NDArray[np.int32], view: FragmentView, target: Target) -> Any:
    p = view.patch
    rows = [
        target.arrays.concatenate([picture[:, y : y + p, x : x + p] for x, y in row.tolist()], axis=2)
        for row in positions
    ]
    return target.arrays.concatenate(rows, axis=1)
