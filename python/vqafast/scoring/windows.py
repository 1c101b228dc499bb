"""Sampled frames to raw frame scores: batches through the backbones, windows through the head.

File scoring and pushed streams share this code, and batches are cut by count and size only, never
by what happens to be ready: the same frames give the same numbers whichever way they came.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from vqafast.models.readout import Readout
    from vqafast.video.display import Scaler
    from vqafast.video.sampling import Selector
    from vqafast.video.source import Sampled

#: On the device of the model: a NumPy array or a torch tensor.
View = Any
Features = NDArray[np.float32]

# A batch is also cut by size: eight full-resolution views of 4K would not fit the memory budget,
# and batches that large gain nothing.
MAX_BATCH_BYTES = 48 << 20


class Runtime(Protocol):
    """What scoring needs of a loaded model.

    Attributes
    ----------
    whole_windows : bool
        True when the features must be asked for exactly one window, because a backbone looks along
        time.
    repeats : bool
        True when a sample that the end of the video cuts short goes on from its first frame again, and
        so counts like the others.
    """

    @property
    def whole_windows(self) -> bool:
        """See above."""
        ...

    @property
    def repeats(self) -> bool:
        """See above."""
        ...

    def selector(self) -> Selector:
        """Which frames to sample."""
        ...

    def reading(self, sampled: Sampled) -> AbstractContextManager[Sampled]:
        """Give the frames where the kernels can read them; complete at the end is what was ingested."""
        ...

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> View:
        """Convert the patches of one sample at the positions of `draw`; owns its memory."""
        ...

    def ingest_semantic(self, sampled: Sampled) -> View | None:
        """Convert the whole picture of one sample; owns its memory. None for models without this view."""
        ...

    def quality_features(self, views: Sequence[View]) -> Features:
        """Features ``(n, Dq)`` of the patches of n samples."""
        ...

    def semantic_features(self, views: Sequence[View]) -> Features:
        """Features ``(n, Ds)`` of the pictures of n samples."""
        ...

    def member_scores(
        self, quality: Features, semantic: Features | None, constant: Features | None = None
    ) -> Features:
        """Raw outputs ``(K, T)`` of the K heads for one window of features ``(T, Dq)``, ``(T, Ds)``.

        `constant` ``(F,)`` holds features of the whole video, for models that ask for them.
        """
        ...

    def readout(self, quality: Features, semantic: Features | None) -> Readout | None:
        """Say what else these features tell; None for models that say no more than a score."""
        ...


@dataclass(slots=True)
class StageClock:
    """Busy seconds by stage. Each stage belongs to one thread, so that no lock is needed."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("open", "decode", "ingest", "backbone", "head"), 0.0)
    )

    def add(self, stage: str, since: float) -> float:
        """Add the time since `since` (`time.perf_counter`) to `stage`; return now."""
        now = time.perf_counter()
        self.seconds[stage] += now - since
        return now


@dataclass(frozen=True, slots=True)
class Item:
    """One ingested sample: `quality` has one view per draw of patch positions.

    `complete` is False when the end of the video cut its burst of frames short.
    """

    k: int
    index: int
    pts: float
    quality: tuple[View, ...]
    semantic: View | None
    complete: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes held by the views."""
        views = self.quality if self.semantic is None else (self.semantic, *self.quality)
        return sum(int(view.nbytes) for view in views)


def ingest(runtime: Runtime, sampled: Sampled, draws: int, burst: int, scaler: Scaler | None = None) -> Item:
    """Convert `sampled`, chosen by a selector with that `burst`; its frames are then free."""
    if scaler is not None:
        sampled = scaler.scale(sampled)
    first = sampled.frames[0]
    with runtime.reading(sampled) as local:
        quality = tuple(runtime.ingest_quality(local, draw) for draw in range(draws))
        semantic = runtime.ingest_semantic(local)
    return Item(sampled.k, first.index, first.pts, quality, semantic, complete=len(sampled.frames) >= burst)


@dataclass(slots=True)
class Series:
    """Raw outputs of the frames scored so far.

    ``raw[d][t]`` is frame t under draw d, the mean over the model's heads; ``members[d][m][t]`` is
    that of head m, and empty when there is one head; ``window_starts`` has the t at which each
    window begins; `readouts` has what each window says under draw 0, if the model says anything;
    `incomplete` is True when a sample that is scored lacks frames of its burst.
    """

    draws: int
    incomplete: bool = False
    index: list[int] = field(default_factory=list)
    pts: list[float] = field(default_factory=list)
    window_starts: list[int] = field(default_factory=list)
    readouts: list[Readout] = field(default_factory=list)
    raw: list[list[float]] = field(init=False)
    members: list[list[list[float]]] = field(init=False)

    def __post_init__(self) -> None:
        self.raw = [[] for _ in range(self.draws)]
        self.members = [[] for _ in range(self.draws)]

    def add(self, draw: int, scores: NDArray[np.float32]) -> None:
        """Append the outputs ``(K, T)`` of one window."""
        # Of one head the mean would be the same bits; of several it is summed in a fixed order.
        self.raw[draw] += [float(v) for v in scores.mean(axis=0, dtype=np.float64)]
        if len(scores) > 1:
            heads = self.members[draw]
            heads += [[] for _ in range(len(scores) - len(heads))]
            for head, row in zip(heads, scores, strict=True):
                head += [float(v) for v in row]

    def arrays(self) -> list[NDArray[np.float32]]:
        """One ``(T,)`` array per draw."""
        return [np.asarray(r, dtype=np.float32) for r in self.raw]

    def member_arrays(self) -> list[NDArray[np.float32]]:
        """One ``(K, T)`` array per draw; empty for a model with one head."""
        return [np.asarray(m, dtype=np.float32) for m in self.members]


class WindowScorer:
    """Feeds one video's samples through a model, holding one window of features.

    Parameters
    ----------
    runtime : Runtime
    window : int or None
        Samples per window of the temporal head: sample k belongs to window ``k // window``. None
        lets the head see the whole video at once, as such a model was trained.
    draws : int
        Draws of patch positions per sample.
    batch : int
        Samples per call of the backbones, at most; ignored by a model that needs whole windows.
    constant : ndarray, optional
        ``(F,)`` features of the whole video, handed to every call of the head.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        window: int | None,
        draws: int,
        batch: int,
        clock: StageClock,
        constant: Features | None = None,
    ) -> None:
        if batch < 1:
            raise InvalidArgument(f"batch: must be at least 1, got {batch}")
        self._runtime = runtime
        self._window = window
        self._batch = batch
        self._clock = clock
        self._constant = constant
        self._slot: int | None = None
        self._pending: list[Item] = []
        self._pending_bytes = 0
        self._held: list[tuple[int, float]] = []
        # Features of the open window: [draw][batch] = (n, Dq), and [batch] = (n, Ds).
        self._quality: list[list[Features]] = [[] for _ in range(draws)]
        self._semantic: list[Features] = []
        self.series = Series(draws)

    @property
    def taken(self) -> int:
        """Samples accepted so far; each will have a score."""
        return len(self.series.pts) + len(self._held) + len(self._pending)

    def accept(self, item: Item) -> bool:
        """Take the next sample; True when it completed a window.

        A last sample whose burst was cut short looks as if nothing moved, so it is left out, unless
        it is all there is, or the model goes on from its first frame.
        """
        if not item.complete:
            if self.taken and not self._runtime.repeats:
                return False
            self.series.incomplete = True
        slot = 0 if self._window is None else item.k // self._window
        closed = False
        if self._slot is not None and slot != self._slot:
            closed = self._close_window()
        self._slot = slot
        self._pending.append(item)
        self._pending_bytes += item.nbytes
        if not self._runtime.whole_windows and (
            len(self._pending) >= self._batch or self._pending_bytes >= MAX_BATCH_BYTES
        ):
            self._run_batch()
        # The last sample of a window closes it at once, so that a live stream need not wait for
        # the next window to begin.
        if self._window is not None and item.k % self._window == self._window - 1:
            closed = self._close_window() or closed
        return closed

    def finish(self) -> Series:
        """Score what is left and return the whole series."""
        self._close_window()
        return self.series

    def _run_batch(self) -> None:
        if not self._pending:
            return
        since = time.perf_counter()
        for draw, parts in enumerate(self._quality):
            parts.append(self._runtime.quality_features([i.quality[draw] for i in self._pending]))
        pictures = [item.semantic for item in self._pending if item.semantic is not None]
        if pictures:
            self._semantic.append(self._runtime.semantic_features(pictures))
        # The views are dropped here; only index and time of the samples are needed from now on.
        self._held += [(item.index, item.pts) for item in self._pending]
        self._pending.clear()
        self._pending_bytes = 0
        self._clock.add("backbone", since)

    def _close_window(self) -> bool:
        self._run_batch()
        self._slot = None
        if not self._held:
            return False
        since = time.perf_counter()
        self.series.window_starts.append(len(self.series.pts))
        semantic = np.concatenate(self._semantic) if self._semantic else None
        self._semantic.clear()
        for draw, parts in enumerate(self._quality):
            quality = np.concatenate(parts)
            scores = self._runtime.member_scores(quality, semantic, self._constant)
            self.series.add(draw, scores)
            readout = self._runtime.readout(quality, semantic) if draw == 0 else None
            self.series.readouts += [] if readout is None else [readout]
            parts.clear()
        self.series.index += [index for index, _ in self._held]
        self.series.pts += [pts for _, pts in self._held]
        self._held.clear()
        self._clock.add("head", since)
        return True
