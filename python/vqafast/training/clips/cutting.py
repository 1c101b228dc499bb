"""From a video to the clips of a training step, or to those that scoring sees."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from vqafast.errors import TooSmall
from vqafast.models.graph_runtime import RunsRuntime
from vqafast.models.views import selector_of
from vqafast.training.clips.places import RandomRuns
from vqafast.video.sampling import splitmix64

if TYPE_CHECKING:
    from collections.abc import Callable

    from vqafast.models.spec import SamplingSpec
    from vqafast.video.source import FrameSource, Sampled

T = TypeVar("T")


def clips_of(
    source: FrameSource,
    sampling: SamplingSpec,
    look: Callable[[Sampled], T],
    *,
    draw: int,
    seed: int,
) -> list[list[T]]:
    """What `look` makes of the runs of each clip; see `ClipSystem.views`.

    Parameters
    ----------
    sampling : SamplingSpec
        Of scoring for draw 0. Other draws take one clip of ``sampling.window`` runs, each at a random place
        in its share of the video.

    Raises
    ------
    TooSmall
    """
    window = sampling.window or 1
    selector = selector_of(sampling)
    if draw > 0:
        selector = RandomRuns(sampling.burst, sampling.stride, window, splitmix64(seed, draw))
    runs: list[tuple[int, T]] = []
    for sampled in source.frames(selector):
        width, height = sampled.frames[0].width, sampled.frames[0].height
        if min(width, height) < RunsRuntime.min_side:
            raise TooSmall(
                f"{source.info.path}: pictures must be at least {RunsRuntime.min_side} pixels a side, "
                f"got {width}x{height}",
                path=source.info.path,
            )
        runs.append((sampled.k // window, look(sampled)))
    clips = []
    for _, members in itertools.groupby(runs, key=lambda run: run[0]):
        there = [run for _, run in members]
        # As in scoring: a clip that lacks runs goes on from its first run again.
        clips.append([there[i % len(there)] for i in range(window)])
    return clips
