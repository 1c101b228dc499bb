"""Which frames are sampled, and what the backbones take of them: quality patches and semantic view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vqafast.engines.arrays import HostArrays
from vqafast.errors import InvalidArgument
from vqafast.ops import frame_ingest, scene_statistics
from vqafast.video.formats import MIN_SIDE, check_shown, display_size
from vqafast.video.sampling import (
    Clips,
    EveryFrame,
    Segments,
    Selector,
    TimeGrid,
    UniformCount,
    fit_short_side,
    patch_grid,
)

from .input_shapes import clip_shapes, picture_shapes, view_shapes
from .spec import QualityView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.engines import Shapes
    from vqafast.engines.arrays import Arrays
    from vqafast.ops.scene_statistics import SceneMap
    from vqafast.video.source import Frame

    from .spec import A2INetSpec, SamplingSpec, SemanticView

Float32 = NDArray[np.float32]

#: Pixels a side that `scene_statistics` needs for its coarsest scale.
STATISTICS_SIDE = 96
# What the scene descriptors' graph takes at the least.
_DESCRIBED_SIDE = 64


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
    if sampling.kind in ("clips", "segments") and sampling.n is not None:
        rule = Clips if sampling.kind == "clips" else Segments
        return rule(sampling.burst, sampling.stride, sampling.n)
    raise InvalidArgument(
        f"sampling: kind must be time_grid, uniform_count, every_frame, clips or segments, got {sampling}"
    )


def backbone_shapes(spec: A2INetSpec, name: str, batch: int) -> dict[str, Shapes]:
    """Smallest, usual and largest input of a backbone, for engines that must know them beforehand.

    `name` is "quality" or "semantic", `batch` the samples in a call.
    """
    view = spec.quality if name == "quality" else spec.semantic
    channels = 3 if view.output == "rgb" else 1
    # What the runtime refuses need not be taken, and some graphs cannot take less.
    least = MIN_SIDE
    if spec.quality.features != "graph":
        # The small view is of the picture as shown, which may be narrower than as coded.
        least = STATISTICS_SIDE if name == "quality" else _DESCRIBED_SIDE
    if isinstance(view, QualityView):
        channels = 2 if view.temporal == "pair" else channels
        if view.patches is None or view.size is None:
            return {"frames": picture_shapes(batch, channels, least=least)}
        most = batch * view.patches[0] * view.patches[1]
        return {"frames": picture_shapes(most, channels, least=least, largest=view.size)}
    if view.temporal == "window":
        length = spec.sampling.window or spec.sampling.n
        return {"frames": clip_shapes(length, channels, view.short_side, least=least)}
    if view.short_side is None:
        return {"frames": picture_shapes(batch, channels, least=least)}
    return {"frames": view_shapes(batch, channels, view.short_side, least=least)}


def oriented_size(frame: Frame) -> tuple[int, int]:
    """Width and height after rotation, in stored samples: the grid that crops refer to."""
    if frame.rotation in (90, 270):
        return frame.height, frame.width
    return frame.width, frame.height


def patch_crops(frame: Frame, view: QualityView, *, draw: int, seed: int) -> NDArray[np.int32]:
    """Left, top, width and height ``(P, 4)`` of a frame's patches, for a picture of its size."""
    width, height = oriented_size(frame)
    if view.patches is None or view.size is None:
        return np.array([[0, 0, width, height]], dtype=np.int32)
    nx, ny = view.patches
    if view.adaptive:
        # no more patches than cover the picture: overlap costs time and says nothing new
        nx, ny = min(nx, -(-width // view.size)), min(ny, -(-height // view.size))
    return patch_grid(width, height, nx, ny, view.size, view.align, draw, seed)


class SquareView(Protocol):
    """Pixels a side of a picture, and the normalisation of its RGB in 0..1."""

    @property
    def side(self) -> int:
        """See above."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """See above."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """See above."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where views are made: arrays of the engine that reads them, in float32 or float16."""

    arrays: Arrays = field(default_factory=HostArrays)
    dtype: str = "float32"


HOST = Target()


def quality_view(
    frames: tuple[Frame, ...],
    view: QualityView,
    *,
    draw: int,
    seed: int,
    threads: int,
    target: Target = HOST,
) -> Any:
    """Patches of the first frame, or of a pair of successive frames.

    The positions depend on the picture's size, `draw` and `seed` alone, so they stay fixed over
    time (paper, section 3.4: "strictly aligned the sample areas").

    Returns
    -------
    array
        ``(P, C, h, w)`` on the device of `target`, where the frames must be; with
        ``view.temporal == "pair"`` C is 2: first frame, second frame. A burst cut short by the end of
        the stream, or by a change of picture size, gives the first frame twice: no motion.
    """
    first = frames[0]
    crops = patch_crops(first, view, draw=draw, seed=seed)
    if view.temporal is None:
        return _ingest(first, crops, view, threads, target)
    second = frames[1] if len(frames) > 1 else first
    if oriented_size(second) != oriented_size(first):
        second = first
    luma = _ingest(first, crops, view, threads, target)
    after = luma if second is first else _ingest(second, crops, view, threads, target)
    return target.arrays.concatenate([luma, after], axis=1)


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


def semantic_view(frame: Frame, view: SemanticView, *, threads: int, target: Target = HOST) -> Any:
    """Resize the whole picture as displayed: shorter side at most ``view.short_side``; never enlarged.

    Returns
    -------
    array
        ``(1, C, h, w)`` on the device of `target`, where the frame must be.

    Raises
    ------
    TooSmall
        For a picture that its sample aspect ratio shrinks to a strip.
    """
    width, height = oriented_size(frame)
    crops = np.array([[0, 0, width, height]], dtype=np.int32)
    out = (height, width)
    if view.short_side is not None:
        shown = display_size(frame.width, frame.height, frame.sample_aspect_ratio, frame.rotation)
        check_shown(shown)
        out_width, out_height = fit_short_side(*shown, view.short_side)
        out = (out_height, out_width)
    return _ingest(frame, crops, view, threads, target, out)


def square_view(frame: Frame, view: SquareView, *, threads: int, target: Target = HOST) -> Any:
    """The whole picture as ``(1, 3, side, side)``, whatever its shape, on the device of `target`."""
    width, height = oriented_size(frame)
    shape = (view.side, view.side)
    return frame_ingest(
        frame,
        np.array([[0, 0, width, height]], dtype=np.int32),
        shape,
        mean=view.mean,
        std=view.std,
        dtype=target.dtype,
        threads=threads,
        stream=target.arrays.stream,
        out=target.arrays.empty((1, 3, *shape), target.dtype),
    )


def _ingest(
    frame: Frame,
    crops: NDArray[np.int32],
    view: QualityView | SemanticView,
    threads: int,
    target: Target,
    out_size: tuple[int, int] | None = None,
) -> Any:
    size = (int(crops[0, 3]), int(crops[0, 2])) if out_size is None else out_size
    channels = 3 if view.output == "rgb" else 1
    return frame_ingest(
        frame,
        crops,
        size,
        output=view.output,
        mean=view.mean,
        std=view.std,
        dtype=target.dtype,
        threads=threads,
        stream=target.arrays.stream,
        out=target.arrays.empty((len(crops), channels, *size), target.dtype),
    )
