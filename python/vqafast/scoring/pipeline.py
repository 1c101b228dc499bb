"""Decode and ingest in one thread, backbones and head in the caller's: one pass over a source."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqafast.scoring._channel import Channel, ChannelClosedError
from vqafast.scoring.windows import Item, Runtime, Series, StageClock, WindowScorer, ingest

if TYPE_CHECKING:
    from collections.abc import Callable

    from vqafast.video.display import Scaler
    from vqafast.video.source import FrameSource

# Enough to keep the backbones busy while a slow stretch is decoded. The byte limit counts for
# large pictures and keeps memory independent of the resolution.
QUEUE_ITEMS = 16
QUEUE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `pts` seconds of `duration` (None if unknown), `frames` scored."""

    pts: float
    duration: float | None
    frames: int


def run(
    source: FrameSource,
    runtime: Runtime,
    scorer: WindowScorer,
    *,
    draws: int,
    clock: StageClock,
    scaler: Scaler | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Callable[[], None] | None = None,
) -> Series:
    """Score every sample of `source`.

    The source is read in a thread of its own, which is joined before this function returns or
    raises; the caller closes the source. Errors of that thread are raised here as they are.

    Parameters
    ----------
    scaler : Scaler, optional
        Brings sampled frames to the display that is asked for.
    progress : callable, optional
        Called in this thread after each sample.
    cancel : callable, optional
        Makes a read end that takes long, as of a pipe; called before the thread is joined.
    """
    channel: Channel[Item] = Channel(QUEUE_ITEMS, QUEUE_BYTES)
    producer = threading.Thread(
        target=_produce,
        args=(source, runtime, draws, clock, channel, scaler),
        name="vqafast-decode",
        daemon=True,
    )
    producer.start()
    try:
        for item in channel:
            scorer.accept(item)
            if progress is not None:
                progress(Progress(item.pts, source.info.duration, scorer.taken))
        return scorer.finish()
    finally:
        channel.close()
        if cancel is not None:
            cancel()
        producer.join()


def _produce(
    source: FrameSource,
    runtime: Runtime,
    draws: int,
    clock: StageClock,
    channel: Channel[Item],
    scaler: Scaler | None,
) -> None:
    selector = runtime.selector()
    samples = source.frames(selector)
    try:
        while True:
            since = time.perf_counter()
            sampled = next(samples, None)
            since = clock.add("decode", since)
            if sampled is None:
                break
            item = ingest(runtime, sampled, draws, selector.burst, scaler)
            clock.add("ingest", since)
            # Decoded planes must not outlive their ingest: waiting for room may take long.
            del sampled
            channel.put(item, item.nbytes)
            del item
    except ChannelClosedError:
        pass
    except BaseException as error:
        channel.finish(error)
    else:
        channel.finish()
    finally:
        # A generator that is abandoned half way ends here, in its own thread.
        close = getattr(samples, "close", None)
        if close is not None:
            close()
