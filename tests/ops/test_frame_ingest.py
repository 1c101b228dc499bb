"""frame_ingest against its reference, in every layout and place in memory, and against other converters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from tests.ops.samples_video import (
    IMAGENET,
    INGEST_SAMPLES,
    LAYOUTS,
    Color,
    IngestSample,
    Layout,
    Picture,
    picture,
)

from vqafast.ops import frame_ingest

# The op may be at most RATIO times as far from float64 as the same expression in float32, plus FLOOR.
RATIO = 2.0
FLOOR = 16 * float(np.finfo(np.float32).eps)

PARITY = [pytest.param(s, layout, id=f"{s.name}, {layout}") for s in INGEST_SAMPLES for layout in s.layouts]


def out_shape(sample: IngestSample, nhwc: bool = False) -> tuple[int, ...]:
    channels = 1 if sample.options.get("output") == "luma" else 3
    height, width = sample.size
    return (
        (len(sample.crops), height, width, channels) if nhwc else (len(sample.crops), channels, height, width)
    )


def tolerance(frame: Picture, crops: Any, size: tuple[int, int], truth: np.ndarray, **options: Any) -> float:
    plain = frame_ingest.reference(frame, crops, size, dtype=np.float32, **options)
    return RATIO * float(np.abs(plain - truth).max()) + FLOOR * float(np.abs(truth).max())


@pytest.mark.parametrize(("sample", "layout"), PARITY)
def test_matches_reference(sample: IngestSample, layout: str, cpu_target: str) -> None:
    for matrix, full_range in (("bt601", True), ("bt709", False), ("bt2020", False)):
        frame = picture(sample.width, sample.height, layout, matrix=matrix, full_range=full_range)
        truth = frame_ingest.reference(frame, sample.crops, sample.size, **sample.options)
        out = np.full(out_shape(sample), np.nan, np.float32)
        result = frame_ingest(frame, sample.crops, sample.size, out=out, **sample.options)
        assert result is out
        error = np.abs(result - truth).max()
        assert error <= tolerance(frame, sample.crops, sample.size, truth, **sample.options)


@pytest.mark.parametrize("sample", INGEST_SAMPLES, ids=lambda s: s.name)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_layout_dtype_and_rotation_only_move_the_result(
    sample: IngestSample, rotation: int, layout: str, dtype: str, cpu_target: str
) -> None:
    frame = picture(sample.width, sample.height)
    turns = -(rotation // 90)
    plain = frame_ingest(frame, sample.crops, sample.size, **sample.options)
    expected = np.rot90(plain, turns, axes=(2, 3)).astype(dtype)
    expected = np.moveaxis(expected, 1, -1) if layout == "nhwc" else expected
    crops = [turned_crop(frame, crop, rotation) for crop in sample.crops]
    size = sample.size if rotation % 180 == 0 else sample.size[::-1]
    out = np.full(expected.shape, np.nan, dtype)
    frame_ingest(frame.turned(rotation), crops, size, layout=layout, dtype=dtype, out=out, **sample.options)
    np.testing.assert_array_equal(out, expected)


def turned_crop(frame: Picture, crop: tuple[int, int, int, int], rotation: int) -> tuple[int, int, int, int]:
    """Where `crop` of the coded picture is in the turned one, found by turning a mask."""
    x, y, w, h = crop
    mask = np.zeros((frame.height, frame.width), bool)
    mask[y : y + h, x : x + w] = True
    rows, columns = np.nonzero(np.rot90(mask, -(rotation // 90)))
    return (
        int(columns.min()),
        int(rows.min()),
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    )


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_reference_rotates_like_rot90(rotation: int) -> None:
    frame = picture(50, 31)
    size = (15, 20) if rotation % 180 == 0 else (20, 15)
    whole = (0, 0, 50, 31) if rotation % 180 == 0 else (0, 0, 31, 50)
    upright = frame_ingest.reference(frame, [(0, 0, 50, 31)], (15, 20))
    turned = frame_ingest.reference(frame.turned(rotation), [whole], size)
    np.testing.assert_array_equal(turned, np.rot90(upright, -(rotation // 90), axes=(2, 3)))


@pytest.mark.parametrize("sample", INGEST_SAMPLES, ids=lambda s: s.name)
@pytest.mark.parametrize("rotation", [0, 90])
def test_threads_give_the_same_bits(sample: IngestSample, rotation: int) -> None:
    frame = picture(sample.width * 2, sample.height * 2).turned(rotation)
    crops = [crop if rotation == 0 else (crop[1], crop[0], crop[3], crop[2]) for crop in sample.crops]
    one, two, many = (frame_ingest(frame, crops, (41, 37), threads=n, **sample.options) for n in (1, 2, 7))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("layout", ["yuv420p", "p010"])
@pytest.mark.parametrize("size", [(320, 400), (300, 410)])
@pytest.mark.parametrize("output", ["rgb", "luma"])
def test_threads_give_the_same_bits_when_there_is_work_for_them(
    layout: str, size: tuple[int, int], output: str
) -> None:
    """Small calls run on one thread whatever is asked for."""
    frame = picture(960, 720, layout)
    crops = [(x, y, 400, 320) for x in (0, 131, 560) for y in (1, 77, 400)]
    one, two, many = (frame_ingest(frame, crops, size, output=output, threads=n) for n in (1, 2, 7))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("layout", ["yuv420p", "nv12", "p010", "gray"])
@pytest.mark.parametrize("size", [(45, 67), (20, 30)])
def test_planes_in_any_rows_of_memory(layout: str, size: tuple[int, int], cpu_target: str) -> None:
    frame = picture(67, 45, layout)
    expected = frame_ingest(frame, [(0, 0, 67, 45)], size)
    for place in (padded, flipped, every_other_row):
        planes = tuple(place(plane) for plane in frame.planes)
        moved = replace(frame, planes=planes)
        np.testing.assert_array_equal(frame_ingest(moved, [(0, 0, 67, 45)], size), expected)


def padded(plane: np.ndarray) -> np.ndarray:
    wide = np.full((plane.shape[0], plane.shape[1] + 13, *plane.shape[2:]), 255, plane.dtype)
    wide[:, : plane.shape[1]] = plane
    return wide[:, : plane.shape[1]]


def flipped(plane: np.ndarray) -> np.ndarray:
    return plane[::-1].copy()[::-1]


def every_other_row(plane: np.ndarray) -> np.ndarray:
    tall = np.full((plane.shape[0] * 2, *plane.shape[1:]), 255, plane.dtype)
    tall[::2] = plane
    view = tall[::2]
    view.setflags(write=False)
    return view


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_out_may_be_strided(layout: str) -> None:
    frame = picture(67, 45)
    crops = [(0, 0, 67, 45), (1, 2, 30, 30)]
    expected = frame_ingest(frame, crops, (20, 31), layout=layout)
    spread = np.full([2 * n for n in expected.shape], np.nan, np.float32)
    reversed_axes = np.full(expected.shape[::-1], np.nan, np.float32).T
    backwards = np.full(expected.shape, np.nan, np.float32)[::-1, ::-1, ::-1, ::-1]
    for out in (spread[::2, ::2, ::2, ::2], reversed_axes, backwards):
        frame_ingest(frame, crops, (20, 31), layout=layout, out=out)
        np.testing.assert_array_equal(out, expected)
    assert np.isnan(spread).sum() == spread.size - expected.size


def test_a_crop_is_a_window_on_the_frame() -> None:
    frame = picture(64, 48)
    whole = frame_ingest(frame, [(0, 0, 64, 48)], (48, 64))
    part = frame_ingest(frame, [(7, 5, 33, 21)], (21, 33))
    np.testing.assert_array_equal(part, whole[:, :, 5:26, 7:40])


def test_scale_one_copies_luma() -> None:
    frame = picture(64, 48, "gray", full_range=True)
    exact = frame_ingest(frame, [(0, 0, 64, 48)], (48, 64), output="luma")
    np.testing.assert_allclose(exact[0, 0] * 255, frame.planes[0], rtol=0, atol=1e-4)


def test_never_touches_pixels_outside_the_filter() -> None:
    frame = picture(64, 48)
    planes = [plane.copy() for plane in frame.planes]
    planes[0][:20] = 255 - planes[0][:20]
    planes[0][:, :30] = 255 - planes[0][:, :30]
    changed = replace(frame, planes=(planes[0], *frame.planes[1:]))
    crops, size = [(30, 20, 30, 20)], (20, 30)
    np.testing.assert_array_equal(frame_ingest(changed, crops, size), frame_ingest(frame, crops, size))


SEMI_PLANAR = {"yuv420p": "nv12", "yuv420p10": Layout(bit_depth=10, semi_planar=True)}


@pytest.mark.parametrize("layout", SEMI_PLANAR)
@pytest.mark.parametrize("size", [(96, 160), (61, 75), (33, 97)])
def test_scale_one_has_the_bits_of_the_general_kernels(
    layout: str, size: tuple[int, int], cpu_target: str
) -> None:
    """Planar 4:2:0 has a kernel of its own at scale 1; pairs of the same chroma do not."""
    height, width = size
    frame = picture(width, height, layout)
    pairs = SEMI_PLANAR[layout]
    twin = replace(
        frame,
        planes=(frame.planes[0], np.stack(frame.planes[1:], axis=2)),
        layout=LAYOUTS[pairs] if isinstance(pairs, str) else pairs,
    )
    for x, y, w, h in [
        (0, 0, width, height),
        (3, 1, width - 3, height - 1),
        (2, 5, 35, 9),
        (width - 41, 0, 41, 3),
    ]:
        ours, theirs = (frame_ingest(f, [(x, y, w, h)], (h, w), **IMAGENET) for f in (frame, twin))
        np.testing.assert_array_equal(ours, theirs)


def smooth_frame(pixel_format: str, width: int = 128, height: int = 96) -> av.VideoFrame:
    """Slow waves: what two converters disagree on about siting and rounding stays small."""
    frame = av.VideoFrame(width, height, pixel_format)
    for i, plane in enumerate(frame.planes):
        y, x = np.mgrid[0 : plane.height, 0 : plane.width]
        scale = width / plane.width
        wave = 128 + (60 if i == 0 else 25) * np.sin((x + 0.5) * scale / 25 + i) * np.cos(
            (y + 0.5) * scale / 31 + i
        )
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width] = np.round(
            wave
        )
    return frame


def as_picture(frame: av.VideoFrame, layout: Layout, color: Color) -> Picture:
    planes = tuple(
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width].copy() for p in frame.planes
    )
    return Picture(planes, layout, color, frame.width, frame.height)


SWSCALE_MATRIX = {"bt601": "ITU601", "bt709": "ITU709", "bt2020": 9}


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("size", [(96, 128), (48, 64), (192, 256), (40, 50)])
def test_agrees_with_swscale(pixel_format: str, matrix: str, full_range: bool, size: tuple[int, int]) -> None:
    source = smooth_frame(pixel_format)
    ours = frame_ingest(
        as_picture(source, LAYOUTS[pixel_format], Color(matrix, full_range)),
        [(0, 0, 128, 96)],
        size,
        layout="nhwc",
    )
    theirs = source.reformat(
        width=size[1],
        height=size[0],
        format="rgb24",
        src_colorspace=SWSCALE_MATRIX[matrix],
        dst_colorspace=SWSCALE_MATRIX[matrix],
        src_color_range="JPEG" if full_range else "MPEG",
        dst_color_range="JPEG",
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    ).to_ndarray()
    difference = np.abs(ours[0] * 255 - theirs)[2:-2, 2:-2]
    assert difference.max() <= 2.5
    assert difference.mean() <= 0.7


@pytest.mark.parametrize("size", [(48, 64), (13, 17), (96, 128), (150, 200), (96, 40)])
@pytest.mark.parametrize("box", [(0, 0, 128, 96), (11, 7, 70, 60)])
def test_agrees_with_pillow(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    frame = picture(128, 96, "gray", full_range=True)
    x, y, w, h = box
    # Mode F: the filter without rounding to 8 bits.
    resized = image.fromarray(frame.planes[0].astype(np.float32)).resize(
        size[::-1], image.Resampling.BILINEAR, box=(x, y, x + w, y + h)
    )
    ours = frame_ingest(frame, [box], size, output="luma")[0, 0]
    np.testing.assert_allclose(ours * 255, np.asarray(resized), rtol=0, atol=2e-3)


def test_normalisation_is_per_channel() -> None:
    frame = picture(16, 12)
    plain = frame_ingest.reference(frame, [(0, 0, 16, 12)], (12, 16))
    scaled = frame_ingest(frame, [(0, 0, 16, 12)], (12, 16), **IMAGENET)
    mean, std = (np.reshape(IMAGENET[k], (3, 1, 1)) for k in ("mean", "std"))
    np.testing.assert_allclose(scaled, (plain - mean) / std, rtol=0, atol=1e-5)
