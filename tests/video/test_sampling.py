"""Choice of times, crops and fragments: pure functions, checked against their definitions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqafast.errors import InvalidArgument
from vqafast.video.sampling import (
    Clips,
    EveryFrame,
    TimeGrid,
    UniformCount,
    fit_short_side,
    fragment_grid,
    patch_grid,
    splitmix64,
)


def starts(selector: Any, times: list[float]) -> list[tuple[int, int]]:
    picker = selector.begin(length=len(times))
    return [(k, i) for i, t in enumerate(times) if (k := picker.start(i, t)) is not None]


def test_time_grid_takes_the_first_frame_at_or_after_each_time() -> None:
    times = [i / 30 for i in range(90)]
    assert starts(TimeGrid(1), times) == [(0, 0), (1, 30), (2, 60)]
    assert starts(TimeGrid(Fraction(24)), times)[:3] == [(0, 0), (1, 2), (2, 3)]


def test_time_grid_never_repeats_a_frame() -> None:
    assert starts(TimeGrid(10), [0.0, 0.5, 1.0]) == [(0, 0), (5, 1), (10, 2)]


def test_time_grid_forgives_rounded_timestamps() -> None:
    times = [round(i / 24, 3) for i in range(96)]  # Matroska rounds to a millisecond
    assert [i for _, i in starts(TimeGrid(24), times)] == list(range(96))
    assert starts(TimeGrid(10), [0.0, 0.08, 0.16]) == [(0, 0), (1, 2)]


def test_every_container_and_a_stream_are_sampled_alike() -> None:
    """At 23.976 frames a second frame 995 is at 41.4998 s: it serves the sample at 41.5 s, also where
    the time base is too fine to round it there."""
    exact = [i * 1001 / 24000 for i in range(2000)]
    expected = starts(TimeGrid(2, 2), exact)
    assert (83, 995) in expected
    for tick in (1 / 24000, 1001 / 24000, 1 / 90000, 1 / 12288, 0.001):
        assert starts(TimeGrid(2, 2), [round(t / tick) * tick for t in exact]) == expected


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.fractions(Fraction(1, 4), 60, max_denominator=50),
)
def test_time_grid_definition(steps: list[int], rate: Fraction) -> None:
    times = [float(t) / 1000 for t in np.cumsum([0, *steps])]
    got = starts(TimeGrid(rate), times)
    assert len({i for _, i in got}) == len(got)
    for k, i in got:
        assert times[i] >= k / rate - 0.0006
        assert i == 0 or times[i - 1] < k / rate


def test_every_frame_and_uniform_count() -> None:
    assert starts(EveryFrame(), [0.0, 1.0]) == [(0, 0), (1, 1)]
    assert starts(UniformCount(4), [0.0] * 100) == [(0, 12), (1, 37), (2, 62), (3, 87)]
    assert starts(UniformCount(8), [0.0] * 3) == [(0, 0), (1, 1), (2, 2)]
    with pytest.raises(InvalidArgument, match="number of frames"):
        UniformCount(8).begin()


def test_clips_begin_where_the_authors_clips_do() -> None:
    """FAST-VQA's release for testing: floor(i a + a / 2), a = (n - s + 1) / count; all at 0 when n < s."""
    for length in (1, 10, 63, 64, 66, 70, 128, 240, 300, 1001):
        average = (length - 64 + 1) / 4
        expected = [int(i * average + average / 2) if length > 63 else 0 for i in range(4)]
        picker = Clips(32, 2, 4).begin(length=length)
        found = {index: k for index in range(length) if (k := picker.start(index, 0.0)) is not None}
        assert list(found) == sorted(set(expected))
        assert list(found.values()) == list(range(len(found)))


@pytest.mark.parametrize(
    "make", [lambda: TimeGrid(0), lambda: TimeGrid(float("nan")), lambda: TimeGrid(1, 0),
             lambda: EveryFrame(0), lambda: UniformCount(0), lambda: Clips(0, 1, 1),
             lambda: Clips(1, 0, 1), lambda: Clips(1, 1, 0), lambda: Clips(1, 1, 1).begin()],
)  # fmt: skip
def test_selectors_check_their_arguments(make: Any) -> None:
    with pytest.raises(InvalidArgument):
        make()


def test_splitmix64_is_the_published_generator() -> None:
    # First output of SplitMix64 seeded with 1234567 in the reference implementation.
    assert splitmix64(1234567) == 6457827717110365317


@given(
    st.integers(32, 4096), st.integers(32, 4096), st.integers(1, 4), st.integers(1, 4),
    st.integers(16, 1024), st.sampled_from([1, 2, 16, 32]), st.integers(0, 3),
)  # fmt: skip
def test_patches_stay_inside(
    width: int, height: int, nx: int, ny: int, size: int, align: int, draw: int
) -> None:
    patches = patch_grid(width, height, nx, ny, size, align, draw, seed=5)
    assert patches.shape == (nx * ny, 4)
    assert patches.dtype == np.int32
    x, y, w, h = patches.T
    assert (w == min(size, width)).all()
    assert (h == min(size, height)).all()
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert (x + w <= width).all()
    assert (y + h <= height).all()
    assert (x % align == 0).all()
    assert (y % align == 0).all()
    np.testing.assert_array_equal(patches, patch_grid(width, height, nx, ny, size, align, draw, seed=5))


def test_patches_lie_in_their_cells_and_jitter() -> None:
    centred = patch_grid(1920, 1080, 2, 2, 256, align=1)
    assert centred.tolist() == [
        [352, 142, 256, 256], [1312, 142, 256, 256], [352, 682, 256, 256], [1312, 682, 256, 256],
    ]  # fmt: skip
    drawn = [patch_grid(1920, 1080, 2, 2, 256, draw=d) for d in (1, 2, 3)]
    assert len({tuple(p.ravel()) for p in drawn}) == 3
    for patches in drawn:
        assert (patches[[0, 2], 0] + 256 <= 960).all()
        assert (patches[[1, 3], 0] + 16 > 960).all()
    # Patches larger than half the frame overlap and reach both edges' neighbourhood.
    overlapping = patch_grid(1280, 720, 2, 2, 720, align=1)
    assert overlapping.tolist()[0][:2] == [0, 0]
    assert overlapping.tolist()[3][:2] == [560, 0]


def test_fragments() -> None:
    grid = fragment_grid(1920, 1080, 7, 32)
    assert grid.shape == (7, 7, 2)
    assert grid[0, 0].tolist() == [(274 - 32) // 2, (154 - 32) // 2]
    for draw in (1, 2):
        drawn = fragment_grid(1920, 1080, 7, 32, draw=draw)
        assert (drawn >= 0).all()
        assert (drawn[..., 0] <= 1920 - 32).all()
        assert (drawn[..., 1] // 154 == np.arange(7)[:, None]).all()
    small = fragment_grid(100, 60, 7, 32, draw=1)
    assert (small[..., 0] <= 68).all()
    assert (small[..., 1] <= 28).all()
    with pytest.raises(InvalidArgument):
        fragment_grid(100, 30, 7, 32)


def test_fit_short_side() -> None:
    assert fit_short_side(1920, 1080, 540) == (960, 540)
    assert fit_short_side(1080, 1920, 540) == (540, 960)
    assert fit_short_side(1920, 1080, 540, 32) == (960, 544)
    assert fit_short_side(320, 240, 540) == (320, 240)
    assert fit_short_side(320, 240, 540, never_enlarge=False) == (720, 540)
    assert fit_short_side(330, 250, 540, 32) == (320, 224)


@given(st.integers(32, 8192), st.integers(32, 8192), st.integers(32, 1080), st.sampled_from([1, 2, 16, 32]))
def test_fit_short_side_never_enlarges(width: int, height: int, short: int, multiple: int) -> None:
    fitted = fit_short_side(width, height, short, multiple)
    assert all(a % multiple == 0 and multiple <= a <= b for a, b in zip(fitted, (width, height), strict=True))
