"""Where the clip of a training step lies."""

from __future__ import annotations

from dataclasses import dataclass

from vqafast.errors import InvalidArgument
from vqafast.video.sampling import splitmix64


class _Picker:
    def __init__(self, starts: list[int]) -> None:
        self._k_of = {start: k for k, start in enumerate(starts)}

    def start(self, index: int, _pts: float, /) -> int | None:
        return self._k_of.get(index)


@dataclass(frozen=True, slots=True)
class RandomRuns:
    """One run of frames at a hashed place in each of `parts` equal parts of the video; see `Selector`.

    Every place that leaves the run in its part is equally likely; a run that is longer than its part lies
    at the part's beginning. With one part it is FAST-VQA's clip, with several FasterVQA's segments
    (`SampleFrames` in its release's fusion_datasets.py and `FragmentSampleFrames`, both in training).

    Parameters
    ----------
    burst, stride : int
        Frames of a run, and from one to the next.
    parts : int
        Runs that begin at the same frame are one.
    seed : int
        Decides the places, together with the video's length.
    """

    burst: int
    stride: int
    parts: int
    seed: int

    def __post_init__(self) -> None:
        if min(self.burst, self.stride, self.parts) < 1:
            raise InvalidArgument(
                "RandomRuns: burst, stride and parts must be at least 1, "
                f"got {self.burst}, {self.stride}, {self.parts}"
            )

    @property
    def needs_length(self) -> bool:
        """Whether `begin` must be told the number of frames."""
        return True

    def begin(self, *, length: int | None = None) -> _Picker:
        """Start on a video that has `length` frames."""
        if length is None:
            raise InvalidArgument("RandomRuns: the number of frames must be known; a stream does not say it")
        part = length // self.parts
        free = max(0, part - self.burst * self.stride)
        starts = {k * part + (splitmix64(self.seed, k) * (free + 1) >> 64) for k in range(self.parts)}
        return _Picker(sorted(starts))
