"""frame_ingest and fragment_sample on a GPU: against their references, and layouts bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.ops import cuda
from tests.ops.samples_video import (
    FRAGMENT_SAMPLES,
    IMAGENET,
    INGEST_SAMPLES,
    FragmentSample,
    IngestSample,
    Picture,
    picture,
)
from tests.ops.test_frame_ingest import PARITY, out_shape, tolerance, turned_crop

from vqafast import errors
from vqafast.ops import fragment_sample, frame_ingest

pytestmark = pytest.mark.cuda

FRAGMENTS = [
    pytest.param(s, layout, id=f"{s.name}, {layout}") for s in FRAGMENT_SAMPLES for layout in s.layouts
]


@pytest.fixture(autouse=True)
def _kernels() -> None:
    cuda.require_kernels()


def on_device(frame: Picture) -> Picture:
    return replace(frame, planes=tuple(cuda.to_device(plane) for plane in frame.planes))


def ingest(frame: Picture, crops: Any, size: Any, shape: tuple[int, ...], **options: Any) -> np.ndarray:
    out = cuda.nan_like(shape, options.get("dtype", "float32"))
    assert frame_ingest(on_device(frame), crops, size, out=out, **options) is out
    return cuda.to_host(out)


@pytest.mark.parametrize(("sample", "layout"), PARITY)
def test_matches_reference(sample: IngestSample, layout: str) -> None:
    for matrix, full_range in (("bt601", True), ("bt709", False), ("bt2020", False)):
        frame = picture(sample.width, sample.height, layout, matrix=matrix, full_range=full_range)
        truth = frame_ingest.reference(frame, sample.crops, sample.size, **sample.options)
        result = ingest(frame, sample.crops, sample.size, out_shape(sample), **sample.options)
        error = np.abs(result - truth).max()
        assert error <= tolerance(frame, sample.crops, sample.size, truth, **sample.options)


@pytest.mark.parametrize("sample", INGEST_SAMPLES, ids=lambda s: s.name)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_layout_dtype_and_rotation_only_move_the_result(
    sample: IngestSample, rotation: int, layout: str, dtype: str
) -> None:
    frame = picture(sample.width, sample.height)
    turns = -(rotation // 90)
    plain = ingest(frame, sample.crops, sample.size, out_shape(sample), **sample.options)
    expected = np.rot90(plain, turns, axes=(2, 3)).astype(dtype)
    expected = np.moveaxis(expected, 1, -1) if layout == "nhwc" else expected
    crops = [turned_crop(frame, crop, rotation) for crop in sample.crops]
    size = sample.size if rotation % 180 == 0 else sample.size[::-1]
    found = ingest(
        frame.turned(rotation), crops, size, expected.shape, layout=layout, dtype=dtype, **sample.options
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layout", ["yuv420p", "nv12", "p010", "yuv444p16"])
@pytest.mark.parametrize("size", [(320, 400), (300, 410), (77, 91), (640, 800)])
def test_large_pictures_agree_with_the_cpu(layout: str, size: tuple[int, int]) -> None:
    """Both are within rounding of the definition; so half of a thousandth of the range apart at most."""
    frame = picture(1300, 900, layout)
    crops = [(x, y, 400, 320) for x in (0, 131, 900) for y in (1, 77, 580)]
    host = frame_ingest(frame, crops, size, **IMAGENET)
    np.testing.assert_allclose(ingest(frame, crops, size, host.shape, **IMAGENET), host, atol=5e-5)


def test_a_huge_ratio() -> None:
    frame = picture(4001, 2003, "nv12")
    crops = [(0, 0, 4001, 2003), (1, 1, 4000, 2002)]
    for size in ((1, 1), (5, 3), (144, 256)):
        truth = frame_ingest.reference(frame, crops, size)
        found = ingest(frame, crops, size, (2, 3, *size))
        assert np.abs(found - truth).max() <= tolerance(frame, crops, size, truth)


def test_more_crops_than_one_launch_takes() -> None:
    frame = picture(300, 200)
    crops = [(x, y, 20, 10) for x in range(0, 280, 13) for y in range(0, 190, 17)]
    host = frame_ingest(frame, crops, (10, 20))
    np.testing.assert_allclose(ingest(frame, crops, (10, 20), host.shape), host, atol=2e-6)


def test_rows_with_a_stride_and_outputs_with_strides() -> None:
    frame = picture(67, 45, "nv12")
    host = frame_ingest(frame, [(3, 2, 40, 40)], (20, 20))
    planes = []
    for plane in frame.planes:
        room = np.full((plane.shape[0], plane.shape[1] + 9, *plane.shape[2:]), 77, np.uint8)
        room[:, : plane.shape[1]] = plane
        planes.append(cuda.to_device(room[:, : plane.shape[1]]))
    whole = np.full((1, 20, 3, 41), np.nan, np.float32)
    out = cuda.to_device(whole[..., ::2][..., :20].transpose(0, 2, 1, 3))
    frame_ingest(replace(frame, planes=tuple(planes)), [(3, 2, 40, 40)], (20, 20), out=out)
    np.testing.assert_allclose(cuda.to_host(out), host, atol=2e-6)


@pytest.mark.parametrize(("sample", "layout"), FRAGMENTS)
def test_fragments_match_the_reference(sample: FragmentSample, layout: str) -> None:
    for rotation in (0, 90, 180, 270):
        frame = picture(sample.width, sample.height, layout).turned(rotation)
        shown = (frame.width, frame.height) if rotation % 180 == 0 else (frame.height, frame.width)
        positions = sample.positions(*shown)
        truth = fragment_sample.reference(frame, positions, sample.patch, **sample.options)
        host = fragment_sample(frame, positions, sample.patch, **sample.options)
        out = cuda.nan_like(truth.shape, np.float32)
        fragment_sample(on_device(frame), positions, sample.patch, out=out, **sample.options)
        allowed = 2 * np.abs(host - truth).max() + 16 * np.finfo(np.float32).eps * np.abs(truth).max()
        assert np.abs(cuda.to_host(out) - truth).max() <= allowed


def test_errors() -> None:
    frame = on_device(picture(67, 45, "nv12"))
    with pytest.raises(
        errors.InvalidArgument, match="frame_ingest: out must be given for planes on a CUDA device"
    ):
        frame_ingest(frame, [(0, 0, 8, 8)], (8, 8))
    mixed = replace(frame, planes=(frame.planes[0], picture(67, 45, "nv12").planes[1]))
    with pytest.raises(ValueError, match=r"frame_ingest: .* must be on the device of y \(cuda:0\), got cpu"):
        frame_ingest(mixed, [(0, 0, 8, 8)], (8, 8), out=cuda.nan_like((1, 3, 8, 8), "float32"))
