"""Which frames are sampled, and what the backbones take of them: quality patches and semantic view."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from vqafast.errors import InvalidArgument
from vqafast.ops import frame_ingest, scene_statistics
from vqafast.video.formats import display_size
from vqafast.video.sampling import EveryFrame, Selector, TimeGrid, UniformCount, fit_short_side, patch_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.ops.scene_statistics import SceneMap
    from vqafast.video.source import Frame

    from ..spec import QualityView, SamplingSpec, SemanticView

Float32 = NDArray[np.float32]

#: Pixels a side that `scene_statistics` needs for its coarsest scale.
STATISTICS_SIDE = 96


def selector_of(sampling: SamplingSpec) -> Selector:
    """The rule that chooses the samples of `sampling`, while scoring and while training.

    Raises
    ------
    InvalidArgument
        For a kind that there is not, or one without its number.
    """
    if sampling.kind == "time_grid" and sampling.rate is not None:
        return TimeGrid(sampling.rate, burst=sampling.burst)
    if sampling.kind == "uniform_count" and sampling.n is not None:
        return UniformCount(sampling.n, burst=sampling.burst)
    if sampling.kind == "every_frame":
        return EveryFrame(burst=sampling.burst)
    raise InvalidArgument(f"sampling: kind must be time_grid, uniform_count or every_frame, got {sampling}")


def oriented_size(frame: Frame) -> tuple[int, int]:
    """Width and height after rotation, in stored samples: the grid that crops refer to."""
    if frame.rotation in (90, 270):
        return frame.height, frame.width
    return frame.width, frame.height


def quality_view(
    frames: tuple[Frame, ...], view: QualityView, *, draw: int, seed: int, threads: int
) -> Float32:
    """Patches of the first frame, or of a pair of successive frames.

    The positions depend on the picture's size, `draw` and `seed` alone, so they stay fixed over
    time (paper, section 3.4: "strictly aligned the sample areas").

    Returns
    -------
    ndarray
        ``(P, C, h, w)`` float32; with ``view.temporal == "pair"`` C is 2: first frame, second
        frame. A burst cut short by the end of the stream, or by a change of picture size, gives
        the first frame twice: no motion.
    """
    first = frames[0]
    width, height = oriented_size(first)
    if view.patches is None or view.size is None:
        crops = np.array([[0, 0, width, height]], dtype=np.int32)
    else:
        nx, ny = view.patches
        if view.adaptive:
            # no more patches than cover the picture: overlap costs time and says nothing new
            nx, ny = min(nx, -(-width // view.size)), min(ny, -(-height // view.size))
        crops = patch_grid(width, height, nx, ny, view.size, view.align, draw, seed)
    if view.temporal is None:
        return _ingest(first, crops, view, threads)
    second = frames[1] if len(frames) > 1 else first
    if oriented_size(second) != (width, height):
        second = first
    luma = _ingest(first, crops, view, threads)
    after = luma if second is first else _ingest(second, crops, view, threads)
    return np.concatenate([luma, after], axis=1)


def patch_statistics(patches: Float32, maps: Sequence[str], *, threads: int) -> Float32:
    """Scene statistics of each of `maps`, averaged over the patches ``(P, 2, h, w)`` of one sample.

    Returns
    -------
    ndarray
        ``(176 * len(maps),)`` float32.
    """
    rows = [scene_statistics(patches, of=cast("SceneMap", name), threads=threads) for name in maps]
    means = np.concatenate([row.mean(axis=0, dtype=np.float64) for row in rows])
    return means.astype(np.float32)


def semantic_view(frame: Frame, view: SemanticView, *, threads: int) -> Float32:
    """Resize the whole picture as displayed: shorter side at most ``view.short_side``; never enlarged.

    Returns
    -------
    ndarray
        ``(1, C, h, w)`` float32.
    """
    width, height = oriented_size(frame)
    crops = np.array([[0, 0, width, height]], dtype=np.int32)
    out = (height, width)
    if view.short_side is not None:
        shown = display_size(frame.width, frame.height, frame.sample_aspect_ratio, frame.rotation)
        out_width, out_height = fit_short_side(*shown, view.short_side)
        out = (out_height, out_width)
    return _ingest(frame, crops, view, threads, out)


def _ingest(
    frame: Frame,
    crops: NDArray[np.int32],
    view: QualityView | SemanticView,
    threads: int,
    out_size: tuple[int, int] | None = None,
) -> Float32:
    size = (int(crops[0, 3]), int(crops[0, 2])) if out_size is None else out_size
    result: Float32 = frame_ingest(
        frame, crops, size, output=view.output, mean=view.mean, std=view.std, threads=threads
    )
    return result
