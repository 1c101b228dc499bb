"""Look-ahead over packets: which frames are wanted is known before anything is decoded.

Packets come in decode order. Their timestamps are sorted here into presentation order, the chooser
decides, and a packet leaves for the decoder only when its fate is known: decoded, decoded unless
nothing refers to it, or not sent at all because nothing wanted follows before the next packet that
resets the decoder.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vqafast.video.bitstream import Coded
    from vqafast.video.timeline import Chooser, Entry

T = TypeVar("T")

# No video standard reorders by more than 16 frames.
REORDER_WINDOW = 32
# A tail of a GOP is held back until it is known to be useless, within these bounds.
HELD_PACKETS = 640
HELD_BYTES = 48 << 20


@dataclass(slots=True)
class Unit(Generic[T]):
    """A packet on its way. `entry` is None until its place in presentation order is certain."""

    item: T
    raw: int | None
    size: int
    coded: Coded
    hidden: bool = False  # decoded for reference and never shown (before an edit list's start)
    key: bool = False
    must_feed: bool = False
    entry: Entry | None = field(default=None)

    @property
    def known(self) -> bool:
        """Whether its place in presentation order is certain."""
        return self.entry is not None or self.hidden

    @property
    def needed(self) -> bool:
        """Whether it must reach the decoder."""
        return self.must_feed or (self.entry is not None and self.entry.wanted)


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """Send `item` to the decoder, which leaves it out when `nonref` and nothing refers to it."""

    item: T
    nonref: bool


class Planner(Generic[T]):
    """Turns units in decode order into steps, and foretells the frames that will come out.

    Parameters
    ----------
    chooser : Chooser
    window : int
        Units that may come before their turn: 0 when decode order is presentation order.
    skip_nonref : bool
        The decoder leaves out pictures that nothing refers to, when told so packet by packet.
    intra_only : bool
        Every packet stands alone.

    Attributes
    ----------
    entries : deque of Entry
        Frames in presentation order that have not yet come out of the decoder.
    ordered : bool
        False once timestamps are missing or contradict their order. From there on every packet is
        decoded and the frames are admitted as they come out.
    """

    def __init__(
        self, chooser: Chooser, *, window: int, skip_nonref: bool, intra_only: bool, ordered: bool
    ) -> None:
        self.entries: deque[Entry] = deque()
        self.ordered = ordered
        self.unsent = 0
        self._chooser = chooser
        self._window = window
        self._skip_nonref = skip_nonref
        self._intra_only = intra_only
        self._pending: deque[Unit[T]] = deque()
        self._bytes = 0
        self._scanned = 0
        self._heap: list[tuple[int, int, Unit[T]]] = []
        self._serial = 0
        self._first_raw: int | None = None
        self._last_raw: int | None = None

    def push(self, unit: Unit[T]) -> Iterator[Step[T]]:
        """Take the next unit in decode order; return the steps that are certain now."""
        if self._first_raw is None:
            self._first_raw = unit.raw
        if self.ordered and not unit.hidden:
            self._place(unit)
        self._pending.append(unit)
        self._bytes += unit.size
        return self._release(final=False)

    def finish(self) -> Iterator[Step[T]]:
        """Return the remaining steps after the last unit."""
        self._settle(None)
        return self._release(final=True)

    def _place(self, unit: Unit[T]) -> None:
        raw = unit.raw
        if raw is not None and unit.coded.reset:
            self._settle(raw)
        # Pictures before the first key frame are decoded by some decoders and not by others.
        if (
            raw is None
            or (self._last_raw is not None and raw <= self._last_raw)
            or (self._first_raw is not None and raw < self._first_raw)
        ):
            self.ordered = False
            return
        self._serial += 1
        heapq.heappush(self._heap, (raw, self._serial, unit))
        while len(self._heap) > self._window and self.ordered:
            self._settle_first()

    def _settle(self, before: int | None) -> None:
        while self.ordered and self._heap and (before is None or self._heap[0][0] < before):
            self._settle_first()

    def _settle_first(self) -> None:
        raw, _, unit = heapq.heappop(self._heap)
        if self._last_raw is not None and raw <= self._last_raw:
            self.ordered = False
            return
        self._last_raw = raw
        unit.entry = self._chooser.admit(raw, key=unit.key)
        self.entries.append(unit.entry)

    def _release(self, *, final: bool) -> Iterator[Step[T]]:
        while self._pending:
            if not self.ordered:
                yield self._send()
                continue
            while self._scanned < len(self._pending):
                unit = self._pending[self._scanned]
                if not unit.known or unit.needed or (self._scanned and unit.coded.reset):
                    break
                self._scanned += 1
            end = self._scanned == len(self._pending)
            if (self._intra_only and self._scanned) or (end and final):
                self._leave_out(self._scanned)
            elif end:
                if len(self._pending) <= HELD_PACKETS and self._bytes <= HELD_BYTES:
                    return
                yield self._send()
            elif not self._pending[self._scanned].known:
                return
            elif self._scanned and self._pending[self._scanned].coded.reset:
                self._leave_out(self._scanned)
            else:
                for _ in range(self._scanned + 1):
                    yield self._send()

    def _send(self) -> Step[T]:
        unit = self._pending.popleft()
        self._bytes -= unit.size
        self._scanned = max(0, self._scanned - 1)
        nonref = (
            self.ordered
            and self._skip_nonref
            and unit.known
            and not (unit.entry is not None and unit.entry.wanted)
            and unit.coded.disposable
        )
        return Step(unit.item, nonref)

    def _leave_out(self, count: int) -> None:
        for _ in range(count):
            unit = self._pending.popleft()
            self._bytes -= unit.size
            self.unsent += 1
        self._scanned = 0
