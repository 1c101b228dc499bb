"""Time and fate of frames in presentation order, shared by every source."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqafast.video.source import Counts, Frame, Sampled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vqafast.video.sampling import Picker

_SPLICE = 1.0  # seconds: a smaller step back is a muxer's slip that the timestamps recover from


class Clock:
    """Raw timestamps to seconds from the first frame, never going back.

    A missing timestamp is one frame interval after the last. So is one that lies before the last;
    when it lies more than a second before, it is a splice, and time goes on from there.
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
        self._regular = self._irregular = self._gaps = self._absent = 0

    @property
    def last(self) -> float:
        """Time of the last frame, in seconds."""
        return self._last

    def seconds(self, raw: int | None) -> float:
        """Time of the next frame in presentation order, whose timestamp is `raw` ticks."""
        if raw is None:
            self.missing += 1
            self._last += self.step
            return self._last
        if self._origin is None:
            # The first frame is at zero even when it is this one's predecessor, without a time.
            self._origin = raw
            self._shift = self._last + self.step
        time = (raw - self._origin) * self.tick + self._shift
        self._note_interval(time - self._last)
        if self._last_raw is not None and raw == self._last_raw:
            time = self._last
        elif time <= self._last:
            self.jumps += self._last_raw is not None and raw < self._last_raw
            if time < self._last - _SPLICE:
                self._shift += self._last + self.step - time
            time = self._last + self.step
        self._last_raw = raw
        self._last = time
        return time

    def _note_interval(self, interval: float) -> None:
        if self.step <= 0:  # pushed frames have no nominal interval
            return
        if abs(interval - self.step) <= 1.01 * self.tick:
            self._regular += 1
        elif interval > 2.5 * self.step:
            self._gaps += 1
            self._absent += round(interval / self.step) - 1
        else:
            self._irregular += 1

    def gaps(self) -> tuple[int, int]:
        """Gaps in an otherwise regular video, and the frames that would fill them."""
        if self._regular < 20 * (self._gaps + self._irregular) or self._absent > self._regular:
            return 0, 0
        return self._gaps, self._absent


@dataclass(slots=True)
class Entry:
    """A frame that will be presented, known before it is decoded."""

    index: int
    raw: int | None
    seconds: float
    k: int | None
    wanted: bool


class Chooser:
    """Gives frames their index and time, in presentation order, and asks the picker.

    A sample is `burst` frames that are `stride` apart. Times of key frames are added to `keys`.
    """

    def __init__(
        self, picker: Picker, burst: int, clock: Clock, stride: int = 1, keys: list[float] | None = None
    ) -> None:
        self.clock = clock
        self._keys = keys
        self.count = 0
        self._picker = picker
        self._span = (burst - 1) * stride
        self._stride = stride
        self._starts: deque[int] = deque()

    def admit(self, raw: int | None, *, key: bool = False) -> Entry:
        """Take the next frame in presentation order."""
        index = self.count
        self.count += 1
        seconds = self.clock.seconds(raw)
        if key and self._keys is not None:
            self._keys.append(seconds)
        k = self._picker.start(index, seconds)
        if k is not None:
            self._starts.append(index)
        while self._starts and index > self._starts[0] + self._span:
            self._starts.popleft()
        wanted = any((index - start) % self._stride == 0 for start in self._starts)
        return Entry(index, raw, seconds, k, wanted)


class Assembler:
    """Collects wanted frames into samples; a sample with a damaged frame is dropped."""

    def __init__(self, burst: int, counts: Counts, stride: int = 1) -> None:
        self._burst = burst
        self._stride = stride
        self._counts = counts
        self._open: deque[tuple[Entry, list[Frame]]] = deque()

    def add(self, entry: Entry, frame: Frame | None) -> Iterator[Sampled]:
        """Take the next wanted entry, with None for a frame that is corrupt or lost."""
        if entry.k is not None:
            self._open.append((entry, []))
        # Every open burst reaches this frame: bursts that ended before it are gone already.
        touched = [item for item in self._open if (entry.index - item[0].index) % self._stride == 0]
        if frame is None:
            self._counts.dropped_samples += len(touched)
            self._open = deque(item for item in self._open if item not in touched)
            return
        for _, frames in touched:
            frames.append(frame)
        while self._open and len(self._open[0][1]) == self._burst:
            yield self._sampled()

    def finish(self) -> Iterator[Sampled]:
        """Give out the bursts that the end of the stream cuts short."""
        while self._open:
            yield self._sampled()

    def _sampled(self) -> Sampled:
        entry, frames = self._open.popleft()
        assert entry.k is not None
        return Sampled(entry.k, tuple(frames))
