"""The viewing condition: sizes on a display, and swscale's bits against FFmpeg's own scale filter."""

from __future__ import annotations

import io
import subprocess
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests import clips

from vqafast import video
from vqafast.errors import InvalidArgument, TooSmall, UnsupportedPixelFormat
from vqafast.video.display import MAX_DISPLAY_SIDE, Display, Scaler
from vqafast.video.formats import LAYOUTS, plane_shapes
from vqafast.video.sampling import EveryFrame, TimeGrid
from vqafast.video.source import ColorSpec, Frame, Sampled

if TYPE_CHECKING:
    from pathlib import Path

BT709 = ColorSpec("bt709", False, "bt709")
SQUARE = Fraction(1)


def ffmpeg(*arguments: str) -> bytes:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


def scaled_by_ffmpeg(path: Path, width: int, height: int) -> bytes:
    chain = f"scale={width}:{height}:flags=bicubic"
    return ffmpeg("-i", str(path), "-vf", chain, "-strict", "-1", "-f", "yuv4mpegpipe", "-")


def read(source: object, burst: int = 1) -> list[Sampled]:
    with video.open_source(source) as opened:
        return list(opened.frames(EveryFrame(burst)))


def noise(name: str, width: int, height: int, seed: int = 0) -> Frame:
    layout, rng = LAYOUTS[name], np.random.default_rng(seed)
    planes = []
    for number, (rows, samples) in enumerate(plane_shapes(layout, width, height)):
        shift = 16 - layout.bit_depth if layout.msb_aligned else 0
        plane = rng.integers(0, 1 << layout.bit_depth, (rows, samples)) << shift
        plane = plane.astype(np.uint8 if layout.bit_depth == 8 else np.uint16)
        planes.append(plane.reshape(rows, samples // 2, 2) if layout.semi_planar and number else plane)
    return Frame(tuple(planes), 0.0, seed, False, False, layout, BT709, width, height, _owner=planes)


@pytest.mark.parametrize(
    ("coded", "aspect", "rotation", "expected"),
    [
        ((960, 540), SQUARE, 0, (1920, 1080)),
        ((3840, 2160), SQUARE, 0, (1920, 1080)),
        ((1920, 1080), SQUARE, 0, (1920, 1080)),
        ((854, 480), SQUARE, 0, (1920, 1080)),  # 1079.2 lines
        ((1440, 1080), Fraction(4, 3), 0, (1920, 1080)),
        ((720, 576), Fraction(16, 15), 0, (1440, 1080)),
        ((1080, 1920), SQUARE, 0, (608, 1080)),  # 607.5
        ((1920, 1080), SQUARE, 90, (1080, 608)),  # stored lying, shown standing
        ((1080, 1920), SQUARE, 270, (1080, 1920)),
        ((1920, 800), SQUARE, 180, (1920, 800)),
    ],
)
def test_sizes_before_rotation(coded, aspect, rotation, expected):
    assert Display(1920, 1080).shown(*coded, aspect, rotation) == expected


def test_an_odd_display_is_filled():
    assert Display(331, 187).shown(640, 360, SQUARE, 0) == (331, 186)
    assert Display(331, 187).shown(331, 187, SQUARE, 0) == (331, 187)


@pytest.mark.parametrize("value", [Display(1280, 720), (1280, 720), [1280, 720], "1280x720", " 1280 X 720 "])
def test_forms(value):
    assert Display.of(value) == Display(1280, 720)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1280", "like 1920x1080, got '1280'"),
        ("-1x720", "like 1920x1080"),
        ((1280,), r"like 1920x1080, got \(1280,\)"),
        (1280, "like 1920x1080, got 1280"),
        ((1280.0, 720), "must be whole numbers in 32..8192, got 1280.0 and 720"),
        ((True, 720), "must be whole numbers"),
        ((31, 720), "got 31 and 720"),
        ((10**400, 720), "must be whole numbers in 32..8192"),
        ("999999x999999", "must be whole numbers in 32..8192"),
        ((MAX_DISPLAY_SIDE, MAX_DISPLAY_SIDE), "must have at most 35389440 pixels, got 8192x8192"),
    ],
)
def test_other_values_are_refused(value, message):
    with pytest.raises(InvalidArgument, match=f"display: .*{message}"):
        Display.of(value)


@pytest.mark.parametrize("size", [(640, 360), (480, 270), (200, 112), (321, 180)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "gray"])
def test_bits_are_those_of_ffmpeg(make_clip, pix_fmt, size):
    path = make_clip(
        f"display_{pix_fmt}.mkv", clips.Clip("ffv1", frames=2, width=320, height=180, pix_fmt=pix_fmt)
    )
    display = Display(*size)
    width, height = display.shown(320, 180, SQUARE, 0)
    expected = read(io.BytesIO(scaled_by_ffmpeg(path, width, height)))
    for threads in (1, 3):
        scaler = Scaler(display, threads)
        for sampled, truth in zip(read(path), expected, strict=True):
            (frame,), (right,) = scaler.scale(sampled).frames, truth.frames
            assert (frame.width, frame.height, frame.layout) == (width, height, right.layout)
            for got, want in zip(frame.planes, right.planes, strict=True):
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9"])
def test_decoders_tag_the_place_of_chroma_and_the_bits_are_still_those_of_ffmpeg(make_clip, codec):
    path = make_clip(f"display_{codec}.mkv", clips.Clip(codec, frames=2))
    expected = read(io.BytesIO(scaled_by_ffmpeg(path, 400, 240)))
    scaler = Scaler(Display(400, 240))
    for sampled, truth in zip(read(path), expected, strict=True):
        for got, want in zip(scaler.scale(sampled).frames[0].planes, truth.frames[0].planes, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("color", [{"color_range": 2}, {"colorspace": 1, "color_range": 1}], ids=str)
def test_range_and_matrix_are_left_alone(make_clip, color):
    """Tagged planes are scaled like untagged ones."""
    name = "-".join(str(v) for v in color.values())
    tagged = make_clip(f"tagged{name}.mkv", clips.Clip("ffv1", frames=1, color=color))
    (sampled,) = read(tagged)
    (frame,) = sampled.frames
    assert frame.color.full_range == (color["color_range"] == 2)
    plain = Frame(frame.planes, 0.0, 0, False, False, frame.layout, BT709, frame.width, frame.height)
    display = Display(320, 192)
    for got, want in zip(
        Scaler(display).scale(sampled).frames[0].planes,
        Scaler(display).scale(Sampled(0, (plain,))).frames[0].planes,
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["nv12", "nv16", "nv24", "p010le", "p210le", "p410le", "p016le"])
def test_semi_planar_layouts_scale_like_planar_ones(name):
    """To the bit, though swscale rounds 8-bit samples in another way where chroma is interleaved."""
    frame = noise(name, 96, 64)
    planar = {"0": "yuv420p", "2": "yuv422p", "4": "yuv444p"}
    depth = frame.layout.bit_depth
    base = {"nv12": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p"}.get(name) or planar[name[1]]
    like = LAYOUTS[base + ("" if depth == 8 else f"{depth}le")]
    shift = 16 - depth if frame.layout.msb_aligned else 0
    chroma = frame.planes[1] >> shift
    planes = (frame.planes[0] >> shift, chroma[..., 0].copy(), chroma[..., 1].copy())
    twin = Frame(planes, 0.0, 0, False, False, like, BT709, 96, 64)
    display = Display(144, 96)
    got = Scaler(display).scale(Sampled(0, (frame,))).frames[0]
    want = Scaler(display).scale(Sampled(0, (twin,))).frames[0]
    assert got.layout == want.layout == like
    for a, b in zip(got.planes, want.planes, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_layout_is_scaled_or_refused():
    refused = []
    for name, layout in LAYOUTS.items():
        scaler, sampled = Scaler(Display(160, 96)), Sampled(0, (noise(name, 80, 48),))
        try:
            (frame,) = scaler.scale(sampled).frames
        except UnsupportedPixelFormat:
            with pytest.raises(UnsupportedPixelFormat, match=f"swscale scales, got {name} "):
                scaler.scale(sampled)
            refused.append(name)
            continue
        assert [p.size for p in frame.planes] == [r * s for r, s in plane_shapes(frame.layout, 160, 96)]
        assert frame.planes[0].max() > 0.9 * (1 << layout.bit_depth)
    # FFmpeg has no such formats.
    assert all(name[3:6] in ("440", "411", "410") for name in refused)
    assert len(refused) < 20


def test_what_fits_is_left_as_it_is():
    frame = noise("yuv420p", 96, 64)
    (got,) = Scaler(Display(96, 100)).scale(Sampled(0, (frame,))).frames
    assert got.planes is frame.planes


def test_time_and_rotation_are_kept_and_pixels_become_square(make_clip):
    path = make_clip("wide.mp4", clips.Clip(frames=3, aspect=Fraction(4, 3), rotation=90))
    for before in read(path):
        (old,), (new,) = before.frames, Scaler(Display(400, 400)).scale(before).frames
        assert (new.pts, new.index, new.rotation) == (old.pts, old.index, old.rotation)
        assert (old.rotation in (90, 270), old.sample_aspect_ratio) == (True, Fraction(4, 3))
        # 160x96 of 4:3 is shown 96 wide and 213 high.
        assert (new.width, new.height, new.sample_aspect_ratio) == (400, 180, 1)


def test_shared_frames_are_scaled_once():
    frames = [noise("gray", 64, 48, seed) for seed in range(3)]
    scaler = Scaler(Display(128, 96))
    first = scaler.scale(Sampled(0, (frames[0], frames[1])))
    second = scaler.scale(Sampled(1, (frames[1], frames[2])))
    assert second.frames[0] is first.frames[1]
    assert not np.array_equal(second.frames[1].planes[0], first.frames[0].planes[0])


def test_a_strip_is_too_small():
    with pytest.raises(TooSmall, match=r"on the display the picture must be at least 32 pixels .* got 200x6"):
        Scaler(Display(200, 200)).scale(Sampled(0, (noise("gray", 1600, 48),)))


def test_y4m_equals_the_file(make_clip):
    path = make_clip("display_pair.mkv", clips.Clip("ffv1", frames=6))
    data = ffmpeg("-i", str(path), "-f", "yuv4mpegpipe", "-")
    selector = TimeGrid(6, burst=2)
    with video.open_source(path) as a, video.open_source(io.BytesIO(data)) as b:
        one, other = Scaler(Display(400, 240)), Scaler(Display(400, 240))
        for x, y in zip(a.frames(selector), b.frames(selector), strict=True):
            for f, g in zip(one.scale(x).frames, other.scale(y).frames, strict=True):
                assert (f.width, f.height) == (g.width, g.height) == (400, 240)
                assert all(np.array_equal(p, q) for p, q in zip(f.planes, g.planes, strict=True))
