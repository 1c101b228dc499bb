"""`ScoreStream`: scoring of frames that the caller pushes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.scoring.report import RunInfo, assemble, pooler_of
from vqafast.scoring.windows import Runtime, StageClock, WindowScorer, ingest
from vqafast.video.source import Closing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vqafast.scoring.assessment import Assessment
    from vqafast.scoring.segments import Window
    from vqafast.video.display import Scaler
    from vqafast.video.push import PushSource
    from vqafast.video.source import Sampled


class ScoreStream(Closing):
    """Made by `Scorer.stream`. Frames go in one by one, in presentation order.

    Work is done in the thread that pushes. Memory does not grow with the pictures seen: what is
    kept per sampled frame is its time and its score. The frame scores equal those of a file with
    the same frames and times. A stream is for one thread; any number of streams may be open on one
    `Scorer`.

    Used as a context manager it is closed at the end, finished or not.
    """

    def __init__(
        self,
        source: PushSource,
        runtime: Runtime,
        scorer: WindowScorer,
        clock: StageClock,
        run: RunInfo,
        *,
        pooling: str,
        window: Window | None,
        rolling_windows: int,
        scaler: Scaler | None = None,
    ) -> None:
        self._source = source
        self._runtime = runtime
        self._burst = runtime.selector().burst
        self._scorer = scorer
        self._clock = clock
        self._run = run
        self._pooling = pooling
        self._window = window
        self._rolling_windows = rolling_windows
        self._scaler = scaler
        self._pooler = pooler_of(run.spec)
        self._began = time.perf_counter()
        self._rolling: float | None = None
        self._result: Assessment | None = None
        self._last_pts: float | None = None
        self._closed = False

    @property
    def rolling(self) -> float | None:
        """Score of the last windows; None until the first window is complete.

        A window is what the model's temporal head sees at once (`Assessment.sampling`): for the
        default model 8 samples at 2 a second, so a new value comes every 4 s of video.
        """
        return self._rolling

    def push(self, planes: Sequence[Any], pts: float | None = None) -> bool:
        """Add the next frame.

        Parameters
        ----------
        planes : sequence of array
            One array per plane of the stream's pixel format, ``(rows, samples)`` uint8 or, above 8
            bits, uint16; the interleaved plane of a semi-planar format is ``(rows, samples, 2)``.
            NumPy or anything on the CPU with ``__dlpack__``. They are read during the call and,
            where a sample spans several frames, copied.
        pts : float, optional
            Time in units of the stream's time base, rising; one unit after the last if not given.

        Returns
        -------
        bool
            True when `rolling` has a new value.

        Raises
        ------
        InvalidArgument
            For planes of the wrong number, shape or type, or after the end of the stream.
        """
        if self._closed:
            raise InvalidArgument("push: the stream must be open, got one that is finished or closed")
        if pts is None:
            pts = 0 if self._last_pts is None else self._last_pts + 1
        since = time.perf_counter()
        samples = list(self._source.push(planes, pts))
        self._clock.add("decode", since)
        self._last_pts = pts
        return self._accept(samples)

    def finish(self) -> Assessment:
        """End the stream and return its assessment; again the same one when called again.

        Raises
        ------
        NoFrames
            If no frame was pushed.
        """
        if self._result is None:
            if self._closed:
                raise InvalidArgument("finish: the stream must be open, got one that is closed")
            self._accept(self._source.finish())
            series = self._scorer.finish()
            self._result = assemble(
                self._run,
                self._source,
                series,
                self._clock,
                time.perf_counter() - self._began,
                pooling=self._pooling,
                window=self._window,
            )
            self._roll()
            self.close()
        return self._result

    def close(self) -> None:
        """Drop what is unfinished; the stream takes no more frames."""
        self._closed = True
        self._source.close()

    def _accept(self, samples: Iterable[Sampled]) -> bool:
        rolled = False
        for sampled in samples:
            since = time.perf_counter()
            item = ingest(self._runtime, sampled, self._run.draws, self._burst, self._scaler)
            self._clock.add("ingest", since)
            if self._scorer.accept(item):
                self._roll()
                rolled = True
        return rolled

    def _roll(self) -> None:
        series = self._scorer.series
        last = series.window_starts[-self._rolling_windows :][0]
        self._rolling = float(
            np.mean(
                [
                    self._pooler.pool(np.asarray(raw[last:], dtype=np.float32), self._pooling)
                    for raw in series.raw
                ]
            )
        )
