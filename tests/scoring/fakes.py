"""A source and a model made of plain numbers, for tests of the machinery between them."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.scoring.windows import StageClock, WindowScorer
from vqafast.video.sampling import EveryFrame
from vqafast.video.source import ColorSpec, Counts, Frame, Marks, PixelLayout, Sampled, VideoInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GRAY = PixelLayout("gray", 8, False, 0, 0, False, False)
COLOR = ColorSpec("bt709", False, "bt709")


def frame(index: int, fps: float = 10.0) -> Frame:
    plane = np.full((32, 32), index % 251, dtype=np.uint8)
    return Frame((plane,), index / fps, index, False, False, GRAY, COLOR, 32, 32)


class FakeSource:
    """`count` gray frames; `hook(index)` runs before each is handed out."""

    def __init__(self, count: int, hook: Callable[[int], None] | None = None) -> None:
        self.info = VideoInfo(
            path="fake", container="none", codec="none", width=32, height=32, display_width=32,
            display_height=32, rotation=0, sample_aspect_ratio=Fraction(1), layout=GRAY,
            color=COLOR, frame_rate=Fraction(10), duration=count / 10, declared_frames=count,
            decoder="fake",
        )  # fmt: skip
        self.warnings: list[Any] = []
        self.counts = Counts()
        self.marks = Marks()
        self.closed = False
        self.handed_out = 0
        self.reader: threading.Thread | None = None
        self._count = count
        self._hook = hook

    def frames(self, selector: Any) -> Iterator[Sampled]:
        self.reader = threading.current_thread()
        picker = selector.begin()
        for index in range(self._count):
            if self._hook is not None:
                self._hook(index)
            k = picker.start(index, index / 10)
            if k is not None:
                self.handed_out += 1
                last = min(index + selector.burst, self._count)
                yield Sampled(k, tuple(frame(i) for i in range(index, last)))

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FakeRuntime:
    """Features are the picture's mean plus the draw; a window's scores are features minus their mean
    plus the window's length, so that wrong windows show."""

    repeats = False

    def __init__(self, item_bytes: int = 4, whole_windows: bool = False, burst: int = 1) -> None:
        self.whole_windows = whole_windows
        self.batches: list[int] = []
        self.windows: list[int] = []
        self.pictures = 0
        self._item = item_bytes // 4
        self._burst = burst

    def selector(self) -> EveryFrame:
        return EveryFrame(burst=self._burst)

    def reading(self, sampled: Sampled) -> AbstractContextManager[Sampled]:
        return nullcontext(sampled)

    def ingest_quality(self, sampled: Sampled, draw: int = 0) -> np.ndarray:
        value = float(sampled.frames[0].planes[0].mean()) + 1000 * draw
        return np.full(self._item, value, dtype=np.float32)

    def ingest_semantic(self, sampled: Sampled) -> np.ndarray:
        self.pictures += 1
        return sampled.frames[0].planes[0][:1, 0].astype(np.float32)

    def quality_features(self, views: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([v[:1] for v in views], dtype=np.float32)

    def semantic_features(self, views: Sequence[np.ndarray]) -> np.ndarray:
        self.batches.append(len(views))
        return np.array(views, dtype=np.float32)

    def member_scores(
        self, quality: np.ndarray, semantic: np.ndarray, constant: np.ndarray | None = None
    ) -> np.ndarray:
        np.testing.assert_array_equal(quality % 1000, semantic)
        self.windows.append(len(quality))
        return (quality[:, 0] - quality[:, 0].mean() + len(quality))[None]

    def readout(self, quality: np.ndarray, semantic: np.ndarray | None) -> None:
        return None


def window_scorer(
    runtime: FakeRuntime, window: int | None = 8, draws: int = 1, batch: int = 4
) -> WindowScorer:
    return WindowScorer(runtime, window=window, draws=draws, batch=batch, clock=StageClock())


def decode_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "vqafast-decode"]


def plain(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**values)
