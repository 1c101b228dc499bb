"""One loaded model for several videos at once: calls that wait together are made as one."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from vqafast.models.readout import Readout
    from vqafast.scoring.windows import Features, Runtime, View
    from vqafast.video.sampling import Selector
    from vqafast.video.source import Sampled


@dataclass(slots=True, eq=False)
class _Call:
    """`size` samples for `run`, which takes the views of several calls where `joins` is True."""

    run: Callable[[Any], Features]
    argument: Any
    size: int
    joins: bool
    done: bool = False
    result: Features | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class SharedRuntime:
    """A `Runtime` that any number of threads may call.

    Calls are computed one at a time. With `batch`, those for the same backbone that have waited
    together are computed together; nobody waits for a batch to fill.

    Parameters
    ----------
    runtime : Runtime
        Called by nobody else.
    batch : int or None
        Samples that are computed together, at most (a single call may be larger). None computes every
        call by itself: for engines whose rounding depends on what stands in a batch, and with them the
        last bits of a score on what else is being scored.
    """

    runtime: Runtime
    batch: int | None = None
    # Entered by itself: `Condition` enters it in Python, where an interrupt could come with the lock taken.
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _changed: threading.Condition = field(init=False)
    _waiting: deque[_Call] = field(default_factory=deque)
    # Whose thread computes, and what.
    _turn: _Call | None = None
    _group: list[_Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition(self._lock)

    @property
    def whole_windows(self) -> bool:
        """As of the runtime."""
        return self.runtime.whole_windows

    @property
    def repeats(self) -> bool:
        """As of the runtime."""
        return self.runtime.repeats

    def selector(self) -> Selector:
        """As of the runtime."""
        return self.runtime.selector()

    def reading(self, sampled: Sampled) -> AbstractContextManager[Sampled]:
        """As of the runtime; ingesting needs no turn."""
        return self.runtime.reading(sampled)

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> View:
        """As of the runtime."""
        return self.runtime.ingest_quality(sampled, draw)

    def ingest_semantic(self, sampled: Sampled) -> View | None:
        """As of the runtime."""
        return self.runtime.ingest_semantic(sampled)

    def quality_features(self, views: Sequence[View]) -> Features:
        """Features ``(n, Dq)``, computed with those of other videos unless a backbone looks along time."""
        joins = not self.runtime.whole_windows
        return self._call(self.runtime.quality_features, list(views), len(views), joins=joins)

    def semantic_features(self, views: Sequence[View]) -> Features:
        """Features ``(n, Ds)``, as `quality_features`."""
        joins = not self.runtime.whole_windows
        return self._call(self.runtime.semantic_features, list(views), len(views), joins=joins)

    def member_scores(
        self, quality: Features, semantic: Features | None, constant: Features | None = None
    ) -> Features:
        """Raw outputs ``(K, T)`` of one window, by itself: its samples see each other."""
        return self._call(self._scores, (quality, semantic, constant), len(quality), joins=False)

    def readout(self, quality: Features, semantic: Features | None) -> Readout | None:
        """As of the runtime; no graph runs."""
        return self.runtime.readout(quality, semantic)

    def _scores(self, argument: tuple[Features, Features | None, Features | None]) -> Features:
        return self.runtime.member_scores(*argument)

    def _call(self, run: Callable[[Any], Features], argument: Any, size: int, *, joins: bool) -> Features:
        call = _Call(run, argument, size, joins)
        try:
            with self._lock:
                self._waiting.append(call)
            while not call.done:
                self._take_turn(call)
        except BaseException:
            # An interrupt, which is this thread's alone: nobody needs its own call any more.
            with self._lock:
                self._end_turn(call)
                if call in self._waiting:
                    self._waiting.remove(call)
            raise
        if call.error is not None:
            raise call.error
        assert call.result is not None
        return call.result

    def _take_turn(self, call: _Call) -> None:
        """Wait until `call` is done or the model is free, and then compute what has waited longest."""
        with self._lock:
            while self._turn is not None and not call.done:
                self._changed.wait()
            if call.done:
                return
            # `_end_turn` undoes what follows, wherever an interrupt comes.
            self._turn = call
            self._group = self._next_group()
            for member in self._group:
                self._waiting.remove(member)
        _compute(self._group)
        with self._lock:
            self._end_turn(call)

    def _end_turn(self, call: _Call) -> None:
        """End the turn of `call`, if it has it; what is not done waits again, in its order."""
        if self._turn is not call:
            return
        for member in self._group:
            member.done = member.result is not None or member.error is not None
        left = [m for m in self._group if not m.done and m not in self._waiting]
        self._waiting.extendleft(reversed(left))
        self._changed.notify_all()
        self._group = []
        # Last: an interrupt before it has all of this done again.
        self._turn = None

    def _next_group(self) -> list[_Call]:
        first = self._waiting[0]
        group, samples = [first], first.size
        if first.joins and self.batch is not None:
            for other in list(self._waiting)[1:]:
                if other.run == first.run and samples + other.size <= self.batch:
                    group.append(other)
                    samples += other.size
        return group


def _compute(group: list[_Call]) -> None:
    """Set the result or the error of each call; an interrupt is raised, and leaves calls without either."""
    if len(group) == 1:
        try:
            group[0].result = group[0].run(group[0].argument)
        except Exception as error:
            group[0].error = error
        return
    try:
        rows = group[0].run([view for call in group for view in call.argument])
        ends = np.cumsum([call.size for call in group])[:-1]
        for call, part in zip(group, np.split(rows, ends), strict=True):
            call.result = part
        return
    except Exception:
        # One video's fault must not become its neighbours'. Not from here, where the error would hold the
        # memory of the failed call.
        pass
    for call in group:
        _compute([call])
