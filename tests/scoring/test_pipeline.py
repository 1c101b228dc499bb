"""The pass over a source: batches, windows, bounded memory, errors and early ends."""

from __future__ import annotations

import time

import numpy as np
import pytest

from vqafast.errors import CorruptVideo, InvalidArgument
from vqafast.scoring import pipeline
from vqafast.scoring.windows import MAX_BATCH_BYTES, Item, StageClock

from .fakes import FakeRuntime, FakeSource, decode_threads, window_scorer


def run(source, runtime, scorer, draws=1, **kwargs):
    return pipeline.run(source, runtime, scorer, draws=draws, clock=StageClock(), **kwargs)


def item(k, nbytes=4, complete=True):
    quality = (np.full(nbytes // 4, k, np.float32),)
    return Item(k, k, k / 10, quality, np.full(1, k, np.float32), complete)


def test_every_sample_is_scored_once_and_in_order():
    runtime, source = FakeRuntime(), FakeSource(21)
    series = run(source, runtime, window_scorer(runtime))
    assert series.index == list(range(21))
    assert series.pts == [i / 10 for i in range(21)]
    assert runtime.windows == [8, 8, 5]
    assert runtime.batches == [4, 4, 4, 4, 4, 1]
    assert decode_threads() == []


def test_windows_follow_the_sample_number_not_the_count():
    """A gap in the samples shortens its window and does not shift the later ones."""
    runtime = FakeRuntime()
    scorer = window_scorer(runtime, window=4)
    closed = [scorer.accept(item(k)) for k in (0, 1, 3, 5, 6, 12)]
    scorer.finish()
    assert runtime.windows == [3, 2, 1]
    assert closed == [False, False, True, False, False, True]


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_batch_size_does_not_matter(batch):
    runtime = FakeRuntime()
    got = run(FakeSource(30), runtime, window_scorer(runtime, batch=batch))
    reference = FakeRuntime()
    assert got.raw == run(FakeSource(30), reference, window_scorer(reference)).raw
    assert max(runtime.batches) <= min(batch, 8)


def test_without_windows_the_head_sees_everything():
    runtime = FakeRuntime()
    run(FakeSource(30), runtime, window_scorer(runtime, window=None))
    assert runtime.windows == [30]


def test_a_model_that_needs_whole_windows_gets_them():
    runtime = FakeRuntime(whole_windows=True)
    run(FakeSource(21), runtime, window_scorer(runtime, batch=2))
    assert runtime.batches == [8, 8, 5]


def test_draws_are_kept_apart():
    runtime = FakeRuntime()
    series = run(FakeSource(8), runtime, window_scorer(runtime, draws=3), draws=3)
    assert len(series.raw) == 3
    # The fake's draws differ by a constant that its head removes.
    np.testing.assert_allclose(series.raw[1], series.raw[0], atol=1e-3)
    assert len(series.pts) == 8
    assert runtime.windows == [8, 8, 8]
    # Whatever the draws, a sample has one semantic view, and it is computed once.
    assert runtime.pictures == 8
    assert runtime.batches == [4, 4]


def test_a_sample_that_lacks_frames_at_the_end_is_left_out():
    runtime, told = FakeRuntime(burst=2), []
    series = run(FakeSource(9), runtime, window_scorer(runtime), progress=told.append)
    assert series.index == list(range(8))
    assert runtime.windows == [8]
    assert not series.incomplete
    # Progress counts what is scored, not what was read.
    assert [p.frames for p in told] == [1, 2, 3, 4, 5, 6, 7, 8, 8]


@pytest.mark.parametrize("count", [1, 2])
def test_a_sample_that_lacks_frames_is_kept_if_there_is_no_other(count):
    runtime = FakeRuntime(burst=3)
    series = run(FakeSource(count), runtime, window_scorer(runtime))
    assert series.index == [0]
    assert series.incomplete


def test_what_waits_in_a_batch_counts_as_a_sample():
    """Samples may be nowhere but in the batch, or in the window, when the last one comes."""
    for batch in (1, 4):
        runtime = FakeRuntime()
        scorer = window_scorer(runtime, batch=batch)
        assert [scorer.accept(item(k, complete=k < 1)) for k in (0, 1)] == [False, False]
        assert scorer.finish().index == [0]
        assert scorer.taken == 1


def test_large_views_make_small_batches():
    runtime = FakeRuntime()
    scorer = window_scorer(runtime, batch=8)
    for k in range(4):
        scorer.accept(item(k, nbytes=MAX_BATCH_BYTES // 2))
    scorer.finish()
    assert runtime.batches == [2, 2]


def test_batch_must_be_positive():
    with pytest.raises(InvalidArgument, match="batch: must be at least 1, got 0"):
        window_scorer(FakeRuntime(), batch=0)


def test_decoding_waits_for_a_slow_model():
    """What is decoded ahead is bounded by the queue, not by the length of the video."""
    source = FakeSource(500)
    ahead = []

    class SlowRuntime(FakeRuntime):
        def semantic_features(self, views):
            time.sleep(0.005)
            ahead.append(source.handed_out - sum(self.batches))
            return super().semantic_features(views)

    runtime = SlowRuntime()
    run(source, runtime, window_scorer(runtime))
    # The queue, a batch, and one sample in the hands of either side.
    assert max(ahead) <= pipeline.QUEUE_ITEMS + 4 + 2


def test_large_samples_wait_by_bytes(monkeypatch):
    monkeypatch.setattr(pipeline, "QUEUE_BYTES", 4096)
    source, ahead = FakeSource(40), []

    class SlowRuntime(FakeRuntime):
        def semantic_features(self, views):
            time.sleep(0.005)
            ahead.append(source.handed_out - sum(self.batches))
            return super().semantic_features(views)

    runtime = SlowRuntime(item_bytes=2048)
    run(source, runtime, window_scorer(runtime, batch=1))
    assert max(ahead) <= 2 + 1 + 2


def test_error_of_the_source_keeps_its_type():
    def break_at_10(index):
        if index == 10:
            raise CorruptVideo("broken", path="x.mp4")

    runtime, source = FakeRuntime(), FakeSource(30, break_at_10)
    with pytest.raises(CorruptVideo, match="broken") as caught:
        run(source, runtime, window_scorer(runtime))
    assert caught.value.path == "x.mp4"
    assert decode_threads() == []


def test_error_of_the_ingest_keeps_its_type():
    class Broken(FakeRuntime):
        def ingest_quality(self, sampled, draw=0):
            raise ZeroDivisionError

    runtime = Broken()
    with pytest.raises(ZeroDivisionError):
        run(FakeSource(3), runtime, window_scorer(runtime))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_of_the_consumer_stops_the_decoder(error):
    def stop(progress):
        if progress.frames == 3:
            raise error

    source, runtime = FakeSource(10**9), FakeRuntime()
    with pytest.raises(error):
        run(source, runtime, window_scorer(runtime), progress=stop)
    assert decode_threads() == []
    assert source.handed_out < 100


def test_progress_is_told_every_sample():
    told, runtime = [], FakeRuntime()
    run(FakeSource(5), runtime, window_scorer(runtime), progress=told.append)
    assert [(p.frames, p.pts, p.duration) for p in told] == [
        (i + 1, i / 10, 0.5) for i in range(5)
    ]  # fmt: skip


def test_stage_times_are_busy_times():
    class Slow(FakeRuntime):
        def ingest_quality(self, sampled, draw=0):
            time.sleep(0.01)
            return super().ingest_quality(sampled, draw)

    runtime, clock = Slow(), StageClock()
    began = time.perf_counter()
    pipeline.run(
        FakeSource(10, lambda _: time.sleep(0.005)), runtime, window_scorer(runtime), draws=1, clock=clock
    )
    elapsed = time.perf_counter() - began
    assert clock.seconds["decode"] >= 0.05
    assert clock.seconds["ingest"] >= 0.1
    # Both belong to one thread and do not count each other.
    assert clock.seconds["decode"] + clock.seconds["ingest"] <= elapsed
