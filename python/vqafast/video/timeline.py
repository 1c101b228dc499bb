"""Time and fate of frames in presentation order, shared by every source."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from vqafast.video.sampling import Picker
from vqafast.video.source import Counts, Frame, Sampled


class Clock:
    """Raw timestamps to seconds from the first frame, never going back.

    A missing timestamp is one frame interval after the last. A timestamp before the last one is a
    new start of the clock (a spliced transport stream): time goes on one interval later.
    """

    def __init__(self, tick: float, step: float) -> None:
        self.tick = tick
        self.step = step
        self.missing = 0
        self.jumps = 0
        self._origin: int | None = None
        self._shift = 0.0
        self._last_raw: int | None = None
        self._last = -step

    @property
    def last(self) -> float:
        """Time of the last frame, in seconds."""
        return self._last

    def seconds(self, raw: int | None) -> float:
        if raw is None:
            self.missing += 1
            time = self._last + self.step
        elif self._origin is None:
            # The start is zero also when frames without a timestamp came before.
            self._origin = raw
            time = self._shift = self._last + self.step
        else:
            time = (raw - self._origin) * self.tick + self._shift
            if self._last_raw is not None and raw < self._last_raw:
                self.jumps += 1
                self._shift += self._last + self.step - time
                time = self._last + self.step
            time = max(time, self._last)
        if raw is not None:
            self._last_raw = raw
        self._last = time
        return time


@dataclass(slots=True)
class Entry:
    """A frame that will be presented, known before it is decoded."""

    index: int
    raw: int | None
    seconds: float
    k: int | None
    wanted: bool


class Chooser:
    """Gives frames their index and time, in presentation order, and asks the picker."""

    def __init__(self, picker: Picker, burst: int, clock: Clock) -> None:
        self.clock = clock
        self.count = 0
        self._picker = picker
        self._burst = burst
        self._wanted_until = 0

    def admit(self, raw: int | None) -> Entry:
        index = self.count
        self.count += 1
        seconds = self.clock.seconds(raw)
        k = self._picker.start(index, seconds)
        if k is not None:
            self._wanted_until = index + self._burst
        return Entry(index, raw, seconds, k, index < self._wanted_until)


class Assembler:
    """Collects wanted frames into samples; a sample with a damaged frame is dropped."""

    def __init__(self, burst: int, counts: Counts) -> None:
        self._burst = burst
        self._counts = counts
        self._open: deque[tuple[Entry, list[Frame]]] = deque()

    def add(self, entry: Entry, frame: Frame | None) -> Iterator[Sampled]:
        """Take the next wanted entry, with None for a frame that is corrupt or lost."""
        if entry.k is not None:
            self._open.append((entry, []))
        if frame is None:
            # Every open burst reaches this frame: bursts that ended before it are gone already.
            self._counts.dropped_samples += len(self._open)
            self._open.clear()
            return
        for _, frames in self._open:
            frames.append(frame)
        while self._open and len(self._open[0][1]) == self._burst:
            yield self._sampled()

    def finish(self) -> Iterator[Sampled]:
        while self._open:
            yield self._sampled()

    def _sampled(self) -> Sampled:
        entry, frames = self._open.popleft()
        assert entry.k is not None
        return Sampled(entry.k, tuple(frames))
