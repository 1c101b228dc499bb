"""From the frames of a run to what KSVQE sees of it, and from the runs of a clip to the network's inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..fast_vqa.fragments import fragments
from ..views import square_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqafast.engines.arrays import Arrays
    from vqafast.video.source import Sampled

    from ..fast_vqa.spec import FragmentView
    from ..views import Target
    from .spec import KeyFrameView


@dataclass(frozen=True, slots=True)
class RunViews:
    """Of one run of a clip: fragments ``(F, 3, S, S)``, and its key frames ``(n, 3, side, side)``.

    A run without a key frame has its first frame here, for clips that lack the others.
    """

    fragments: Any
    keys: Any

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return int(self.fragments.nbytes) + int(self.keys.nbytes)


def run_views(
    sampled: Sampled,
    view: FragmentView,
    keys: KeyFrameView,
    window: int,
    *,
    draw: int,
    seed: int,
    threads: int,
    target: Target,
) -> RunViews:
    """Look at one of the `window` runs of a clip; draw and seed are those of `fragments`."""
    count = view.frames // window
    made = fragments(sampled, view, count, draw=draw, seed=seed, threads=threads, target=target)
    numbers = _numbers(keys, sampled.k % window, count) or [0]
    frames = [sampled.frames[n % len(sampled.frames)] for n in numbers]
    pictures = [square_view(f, keys, threads=threads, target=target) for f in frames]
    return RunViews(made, target.arrays.concatenate(pictures))


def clip_inputs(runs: Sequence[RunViews], view: FragmentView, keys: KeyFrameView, arrays: Arrays) -> Any:
    """Fragments ``(1, 3, T, S, S)`` and key frames ``(1, n, 3, side, side)`` of a whole clip's runs."""
    count = view.frames // len(runs)
    clip = arrays.concatenate([run.fragments for run in runs]).swapaxes(0, 1)[None]
    pictures = []
    for place, run in enumerate(runs):
        for i, _ in enumerate(_numbers(keys, place, count)):
            at = i % len(run.keys)
            pictures.append(run.keys[at : at + 1])
    return arrays.packed(clip), arrays.packed(arrays.concatenate(pictures)[None])


def _numbers(keys: KeyFrameView, run: int, count: int) -> list[int]:
    """Key frames of a clip that lie in its run `run` of `count` frames, counted from the run's first."""
    begin = run * count
    return [n - begin for n in keys.frames if begin <= n < begin + count]
