"""fragment_sample against its reference and against frame_ingest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.ops.samples_video import FRAGMENT_SAMPLES, FragmentSample, picture

from vqafast.ops import fragment_sample, frame_ingest

RATIO = 2.0
FLOOR = 16 * float(np.finfo(np.float32).eps)
PARITY = [pytest.param(s, layout, id=f"{s.name}, {layout}") for s in FRAGMENT_SAMPLES for layout in s.layouts]


@pytest.mark.parametrize(("sample", "layout"), PARITY)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_matches_reference(sample: FragmentSample, layout: str, rotation: int, cpu_target: str) -> None:
    frame = picture(sample.width, sample.height, layout).turned(rotation)
    width, height = (frame.width, frame.height) if rotation % 180 == 0 else (frame.height, frame.width)
    positions = sample.positions(width, height)
    truth = fragment_sample.reference(frame, positions, sample.patch, **sample.options)
    plain = fragment_sample.reference(frame, positions, sample.patch, dtype=np.float32, **sample.options)
    bound = RATIO * np.abs(plain - truth).max() + FLOOR * np.abs(truth).max()
    for order in ("nchw", "nhwc"):
        shape = truth.shape if order == "nchw" else (*truth.shape[1:], truth.shape[0])
        out = np.full(shape, np.nan, np.float32)
        options = {**sample.options, "layout": order}
        assert fragment_sample(frame, positions, sample.patch, out=out, **options) is out
        planar = out if order == "nchw" else np.moveaxis(out, -1, 0)
        assert np.abs(planar - truth).max() <= bound


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tiles_are_crops_of_frame_ingest(dtype: str) -> None:
    frame = picture(100, 80)
    positions = np.array([[(0, 0), (67, 3)], [(5, 47), (68, 48)]])
    tiled = fragment_sample(frame, positions, 32, dtype=dtype)
    crops = [(x, y, 32, 32) for x, y in positions.reshape(-1, 2)]
    tiles = frame_ingest(frame, crops, (32, 32), dtype=dtype)
    expected = np.concatenate([np.concatenate(list(tiles[i : i + 2]), axis=2) for i in (0, 2)], axis=1)
    np.testing.assert_array_equal(tiled, expected)


@pytest.mark.parametrize("sample", FRAGMENT_SAMPLES, ids=lambda s: s.name)
def test_threads_give_the_same_bits(sample: FragmentSample) -> None:
    frame = picture(sample.width, sample.height)
    positions = sample.positions(frame.width, frame.height)
    one, two, many = (fragment_sample(frame, positions, sample.patch, threads=n) for n in (1, 2, 7))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, many)


FRAME = picture(16, 12)
INSIDE = [[(0, 0)]]
ERRORS: dict[str, tuple[Any, Any, int, dict[str, Any], str]] = {
    "outside": (FRAME, [[(9, 0)]], 8, {}, r"the patch of cell \(0, 0\) must lie inside the 16x12"),
    "outside, turned": (
        FRAME.turned(270),
        [[(0, 0), (0, 9)]],
        8,
        {},
        r"cell \(0, 1\) must lie inside the 12x16",
    ),
    "negative": (FRAME, [[(0, -1)]], 8, {}, "must lie inside"),
    "patch too large": (FRAME, INSIDE, 13, {}, "patch must be at least 1 and fit in the 16x12"),
    "no patch": (FRAME, INSIDE, 0, {}, "patch must lie in 1"),
    "positions": (FRAME, [(0, 0)], 8, {}, "positions must have 3 dimensions"),
    "no positions": (FRAME, np.zeros((0, 1, 2), np.int32), 8, {}, "with GH and GW at least 1"),
    "float positions": (FRAME, [[(0.0, 0.0)]], 8, {}, "positions must be integers"),
    "out": (FRAME, INSIDE, 8, {"out": np.zeros((3, 8, 9), np.float32)}, "out must have the shape"),
    "out dtype": (FRAME, INSIDE, 8, {"out": np.zeros((3, 8, 8))}, "out must be float32"),
    "std": (FRAME, INSIDE, 8, {"std": -1.0}, "std must be positive"),
    "output": (FRAME, INSIDE, 8, {"output": "yuv"}, "output must be one of rgb, luma"),
    "planes": (replace(FRAME, planes=()), INSIDE, 8, {}, "planes must hold 3 arrays, got 0"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case: tuple[Any, Any, int, dict[str, Any], str]) -> None:
    frame, positions, patch, options, message = case
    with pytest.raises(ValueError, match=f"^fragment_sample: .*{message}"):
        fragment_sample(frame, positions, patch, **options)
