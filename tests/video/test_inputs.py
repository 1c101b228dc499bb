"""What comes in, and the error, warning or reading that comes out."""

from __future__ import annotations

import io
import os
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips
from tests.clips import Clip

from vqafast import errors
from vqafast.video import open_source
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid
from vqafast.video.source import ColorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vqafast.video.sampling import Selector

X265 = {"x265-params": "log-level=none"}


def read(source: Any, selector: Selector | None = None) -> tuple[int, list[str], Any]:
    with open_source(source, 2) as opened:
        samples = list(opened.frames(selector or EveryFrame()))
    return len(samples), [w.code for w in opened.warnings], opened


def fails(source: Any, code: str) -> errors.VqafastError:
    with pytest.raises(errors.VqafastError) as caught:
        read(source)
    assert caught.value.code == code
    assert caught.value.path is not None
    assert code in errors.EXIT_CODES
    return caught.value


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("http://example.com/a.mp4", "hostile_input"),
        ("rtmp://host/app", "hostile_input"),
        ("rtsp://host/app", "hostile_input"),
        ("concat:a.mp4|b.mp4", "hostile_input"),
        ("file:/etc/hosts", "hostile_input"),
        ("pipe:0", "hostile_input"),
        ("subfile,,start,0,end,10,,:/etc/hosts", "hostile_input"),
        ("/dev/zero", "hostile_input"),
        ("C:/video.mp4", "missing_file"),
        ("no/such/file.mp4", "missing_file"),
    ],
)
def test_names_that_are_no_files(name: str, code: str) -> None:
    fails(name, code)


def test_directory_fifo_and_unreadable(tmp_path: Path) -> None:
    assert isinstance(fails(tmp_path, "is_directory"), IsADirectoryError)
    os.mkfifo(tmp_path / "fifo.mp4")
    fails(tmp_path / "fifo.mp4", "hostile_input")
    (tmp_path / "locked.mp4").write_bytes(b"x")
    (tmp_path / "locked.mp4").chmod(0)
    if os.geteuid() != 0:
        assert isinstance(fails(tmp_path / "locked.mp4", "unreadable"), PermissionError)
    with pytest.raises(errors.InvalidArgument):
        open_source("a\0b")


SCRIPTS = [
    b"ffconcat version 1.0\nfile 'h264.mp4'\n",
    b"\xef\xbb\xbf\nffconcat version 1.0\nfile 'h264.mp4'\n",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nh264.mp4\n#EXT-X-ENDLIST\n",
    b'<?xml version="1.0"?>\n<MPD type="static"></MPD>',
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    b"http://example.com/video.mp4\n",
]


@pytest.mark.parametrize("data", SCRIPTS)
def test_scripts_named_mp4(h264_mp4: Path, data: bytes) -> None:
    path = h264_mp4.parent / "script.mp4"
    path.write_bytes(data)
    fails(path, "hostile_input")
    fails(io.BytesIO(data), "hostile_input")


@pytest.mark.parametrize("data", SCRIPTS)
def test_scripts_that_hide_from_the_sniffer_open_nothing(h264_mp4: Path, data: bytes) -> None:
    path = h264_mp4.parent / "hidden.mp4"
    path.write_bytes(b"\n" * 5000 + data)
    fails(path, "not_a_video")


def _png() -> bytes:
    return _image("png")


def _image(codec: str) -> bytes:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width = encoder.height = 64
    encoder.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(clips.content(0, 64, 64), "rgb24")
    packets = encoder.encode(frame.reformat(format=encoder.pix_fmt)) + encoder.encode(None)
    return b"".join(bytes(p) for p in packets)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (lambda: b"", "not_a_video"),
        (lambda: b"just a text file\n" * 200, "not_a_video"),
        (lambda: bytes(70_000), "not_a_video"),
        (_png, "not_a_video"),
        (lambda: _image("mjpeg"), "not_a_video"),
        (lambda: b"\0\0\0\x1cftypavif" + bytes(200), "not_a_video"),
        (lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "audio_only"),
        (lambda: b"ID3\x04" + bytes(500), "audio_only"),
    ],
)
def test_data_that_is_no_video(tmp_path: Path, data: Callable[[], bytes], code: str) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(data())
    fails(path, code)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("suffix", ["mp4", "ts", "h264"])
def test_random_bytes(tmp_path: Path, seed: int, suffix: str) -> None:
    path = tmp_path / f"random.{suffix}"
    path.write_bytes(np.random.default_rng(seed).bytes(60_000))
    fails(path, "not_a_video")


def test_audio_only(tmp_path: Path) -> None:
    clips.audio_only(tmp_path / "sound.m4a")
    fails(tmp_path / "sound.m4a", "audio_only")


def test_truncated(tmp_path: Path, make_clip: Any, h264_mp4: Path, vp9_webm: Path) -> None:
    clips.cut(make_clip("moov_last.mp4", Clip()), tmp_path / "no_moov.mp4", 0.7)
    assert "moov" in str(fails(tmp_path / "no_moov.mp4", "truncated"))
    clips.cut(h264_mp4, tmp_path / "headers.mp4", 0.02)
    fails(tmp_path / "headers.mp4", "truncated")

    clips.cut(h264_mp4, tmp_path / "cut.mp4", 0.6)
    number, warnings, source = read(tmp_path / "cut.mp4")
    assert 20 < number < 48
    assert source.counts.lost == 1
    assert warnings == ["lost_frames", "truncated"]

    clips.cut(vp9_webm, tmp_path / "cut.webm", 0.6)
    number, warnings, _ = read(tmp_path / "cut.webm")
    assert 20 < number < 48
    assert warnings == ["truncated"]


def test_damage_in_the_middle(tmp_path: Path, make_clip: Any, h264_mp4: Path, vp9_webm: Path) -> None:
    clips.damage(h264_mp4, tmp_path / "damaged.mp4", 0.5, 400)
    for selector in (EveryFrame(), TimeGrid(8, 2)):
        number, warnings, source = read(tmp_path / "damaged.mp4", selector)
        counts = source.counts
        assert counts.lost + counts.corrupt > 0 or selector != EveryFrame()
        assert counts.decoded + counts.skipped + counts.lost == 48
        assert ("lost_frames" in warnings) == (counts.lost > 0)
        assert number + counts.dropped_samples == (48 if selector == EveryFrame() else 16)

    clips.damage(vp9_webm, tmp_path / "damaged.webm", 0.5, 400)
    number, warnings, _ = read(tmp_path / "damaged.webm")
    assert 30 < number < 48
    assert warnings == ["timestamp_gaps"]

    clips.damage(make_clip("long.ts", Clip(frames=96, options={"g": "24"})), tmp_path / "d.ts", 0.5, 3000)
    number, warnings, source = read(tmp_path / "d.ts")
    assert 80 < number < 96
    assert source.counts.corrupt + source.counts.lost > 0
    assert "dropped_samples" in warnings

    clips.damage(h264_mp4, tmp_path / "all.mp4", 0.1, 10**6)
    fails(tmp_path / "all.mp4", "corrupt")


def test_corrupt_frames_are_not_handed_out(tmp_path: Path, make_clip: Any) -> None:
    clips.damage(make_clip("long.ts", Clip(frames=96, options={"g": "24"})), tmp_path / "d.ts", 0.5, 3000)
    with PyAVSource(tmp_path / "d.ts") as source:
        assert not any(f.corrupt for s in source.frames(EveryFrame(2)) for f in s.frames)
    assert source.counts.corrupt == 1
    assert source.counts.dropped_samples == 2


def test_sizes(tmp_path: Path, make_clip: Any) -> None:
    fails(make_clip("tiny.mp4", Clip(frames=3, width=30, height=64)), "too_small")
    wide = Clip("mjpeg", frames=1, width=20000, height=64, pix_fmt="yuvj420p")
    fails(make_clip("wide.avi", wide), "too_large")
    # A JPEG that announces 56540x56540 is refused before its planes are allocated.
    path = make_clip("jpeg.mov", Clip("mjpeg", frames=3, pix_fmt="yuvj420p"))
    data, at = bytearray(path.read_bytes()), 0
    while (at := data.find(b"\xff\xc0\x00\x11", at)) >= 0:
        data[at + 5 : at + 9] = b"\xdc\xdc\xdc\xdc"
        at += 4
    (tmp_path / "bomb.mov").write_bytes(data)
    fails(tmp_path / "bomb.mov", "corrupt")


def test_unknown_codec(tmp_path: Path, h264_mp4: Path) -> None:
    clips.retag(h264_mp4, tmp_path / "unknown.mp4", b"avc1", b"zzzz")
    fails(tmp_path / "unknown.mp4", "unsupported_codec")


@pytest.mark.parametrize(("name", "transfer"), [("pq", 16), ("hlg", 18)])
def test_hdr_is_refused(make_clip: Any, name: str, transfer: int) -> None:
    color = {"color_trc": transfer, "colorspace": 9, "color_primaries": 9}
    clip = Clip("libx265", frames=3, pix_fmt="yuv420p10le", color=color, options=X265)
    assert "Tone-map" in str(fails(make_clip(f"{name}.mp4", clip), "hdr_unsupported"))


@pytest.mark.parametrize(
    ("name", "color", "size", "expected"),
    [
        ("sdr2020", {"color_trc": 14, "colorspace": 9}, (160, 96), ("bt2020", False, "bt2020-10")),
        ("bt709", {"color_trc": 1, "colorspace": 1}, (160, 96), ("bt709", False, "bt709")),
        ("full601", {"colorspace": 5, "color_range": 2}, (160, 96), ("bt601", True, "unspecified")),
        ("unsaid_sd", {}, (160, 96), ("bt601", False, "unspecified")),
        ("unsaid_hd", {}, (64, 720), ("bt709", False, "unspecified")),
    ],
)
def test_color(make_clip: Any, name: str, color: Any, size: Any, expected: Any) -> None:
    clip = Clip(frames=2, width=size[0], height=size[1], color=color)
    number, warnings, source = read(make_clip(f"{name}.mp4", clip))
    assert (number, warnings, source.info.color) == (2, [], ColorSpec(*expected))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix", "layout", "warned"),
    [
        ("libx264", "yuvj420p", "mp4", "yuv420p", []),
        ("libx264", "yuv422p", "mp4", "yuv422p", []),
        ("libx264", "yuv444p10le", "mp4", "yuv444p10le", []),
        ("libx265", "yuv420p12le", "mp4", "yuv420p12le", []),
        ("ffv1", "yuv411p", "mkv", "yuv411p", []),
        ("libx265", "gray", "mp4", "gray", []),
        ("ffv1", "yuva444p", "mkv", "yuv444p", ["alpha_ignored"]),
        ("libvpx-vp9", "gbrp", "webm", "yuv444p", ["pixel_format_converted"]),
        ("libx264rgb", "rgb24", "mp4", "yuv444p", ["pixel_format_converted"]),
        ("gif", "rgb8", "gif", "yuv444p", ["pixel_format_converted", "alpha_ignored"]),
        ("libx265", "gbrp10le", "mp4", "yuv444p16le", ["pixel_format_converted"]),
    ],
)
def test_pixel_formats(
    make_clip: Any, codec: str, pix_fmt: str, suffix: str, layout: str, warned: list[str]
) -> None:
    path = make_clip(f"{codec}_{pix_fmt}.{suffix}", Clip(codec, frames=3, pix_fmt=pix_fmt))
    with open_source(path) as source:
        frames = [s.frames[0] for s in source.frames(EveryFrame())]
    assert [w.code for w in source.warnings] == warned
    assert len(frames) == 3
    assert source.info.layout.name == frames[0].layout.name == layout
    assert source.info.color.full_range == (
        pix_fmt.startswith("yuvj") or bool(warned and "a444" not in pix_fmt)
    )
    assert len(frames[0].planes) == (3 if frames[0].layout.has_chroma else 1)
    assert frames[0].planes[0].dtype == (np.uint8 if frames[0].layout.bit_depth == 8 else np.uint16)


def test_rgb_is_converted_with_the_matrix_that_is_reported(make_clip: Any) -> None:
    path = make_clip("rgb.mkv", Clip("ffv1", frames=2, pix_fmt="bgr0"))
    with open_source(path) as source:
        frame = next(iter(source.frames(EveryFrame()))).frames[0]
    assert frame.color == ColorSpec("bt709", True, "bt709")
    y, cb, cr = (p.astype(float) for p in frame.planes)
    red = y + 1.5748 * (cr - 128)
    blue = y + 1.8556 * (cb - 128)
    rgb = clips.content(0, 160, 96).astype(float)
    assert abs(red - rgb[..., 0]).mean() < 1.5
    assert abs(blue - rgb[..., 2]).mean() < 1.5


def test_odd_size(make_clip: Any) -> None:
    with open_source(make_clip("odd.mkv", Clip("ffv1", frames=2, width=161, height=97))) as source:
        frame = next(iter(source.frames(EveryFrame()))).frames[0]
    assert [p.shape for p in frame.planes] == [(97, 161), (49, 81), (49, 81)]


@pytest.mark.parametrize(("degrees", "clockwise"), [(90, 270), (180, 180), (270, 90), (-90, 90)])
def test_rotation(make_clip: Any, degrees: int, clockwise: int) -> None:
    info = read(make_clip(f"turned{degrees}.mp4", Clip(frames=2, rotation=degrees)))[2].info
    assert info.rotation == clockwise
    turned = clockwise in (90, 270)
    assert (info.display_width, info.display_height) == ((96, 160) if turned else (160, 96))
    assert (info.width, info.height) == (160, 96)


def test_sample_aspect_ratio(make_clip: Any) -> None:
    info = read(make_clip("sar.mp4", Clip(frames=2, aspect=Fraction(4, 3))))[2].info
    assert info.sample_aspect_ratio == Fraction(4, 3)
    assert (info.display_width, info.display_height) == (213, 96)


def test_variable_frame_rate(make_clip: Any) -> None:
    times = [0, 10, 200, 210, 1000, 1500, 3000, 3001]
    clip = Clip(frames=8, tick=Fraction(1, 1000), times=times, options={"bf": "0"})
    with open_source(make_clip("vfr.mkv", clip)) as source:
        samples = list(source.frames(TimeGrid(2)))
    assert [(s.k, s.frames[0].index, s.frames[0].pts) for s in samples] == [
        (0, 0, 0.0), (2, 4, 1.0), (3, 5, 1.5), (6, 6, 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_time_starts_at_zero(make_clip: Any, suffix: str) -> None:
    path = make_clip(f"late.{suffix}", Clip(frames=24, times=list(range(24, 48))))
    with open_source(path) as source:
        frames = [s.frames[0] for s in source.frames(EveryFrame())]
    assert [f.index for f in frames] == list(range(24))
    np.testing.assert_allclose([f.pts for f in frames], np.arange(24) / 24, atol=6e-4)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx265", "hevc")])
def test_elementary_streams(make_clip: Any, codec: str, suffix: str) -> None:
    options = X265 if codec == "libx265" else {}
    with open_source(make_clip(f"raw.{suffix}", Clip(codec, options=options))) as source:
        samples = list(source.frames(TimeGrid(2)))
    assert [w.code for w in source.warnings] == ["missing_timestamps"]
    assert [s.frames[0].pts for s in samples] == pytest.approx([0, 0.5, 1, 1.5])


def test_h264_in_avi_has_no_usable_times(make_clip: Any) -> None:
    number, warnings, _ = read(make_clip("h264.avi", Clip()), TimeGrid(2))
    assert (number, warnings) == (4, ["missing_timestamps"])


@pytest.mark.parametrize("suffix", ["h264", "ts"])
def test_resolution_change(tmp_path: Path, make_clip: Any, suffix: str) -> None:
    small = make_clip(f"small.{suffix}", Clip(frames=24))
    large = make_clip(f"large.{suffix}", Clip(frames=24, width=320, height=192))
    path = tmp_path / f"spliced.{suffix}"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with open_source(path) as source:
        frames = [s.frames[0] for s in source.frames(EveryFrame())]
    assert "format_changed" in [w.code for w in source.warnings]
    assert [f.width for f in frames] == [160] * 24 + [320] * 24
    assert [f.planes[0].shape for f in frames[::24]] == [(96, 160), (192, 320)]
    times = [f.pts for f in frames]
    assert times == sorted(times)


def test_one_frame(make_clip: Any) -> None:
    with open_source(make_clip("one.mp4", Clip(frames=1))) as source:
        samples = list(source.frames(TimeGrid(1, burst=2)))
    assert [len(s.frames) for s in samples] == [1]


def test_sound_beside_the_video(make_clip: Any) -> None:
    number, warnings, source = read(make_clip("sound.mp4", Clip(frames=24, audio=True)))
    assert (number, warnings, source.info.declared_frames) == (24, [], 24)


def test_file_objects_and_pipes(h264_mp4: Path, make_clip: Any) -> None:
    with open(h264_mp4, "rb") as file:
        assert read(file)[0] == 48
        assert not file.closed
    assert read(io.BytesIO(h264_mp4.read_bytes()))[0] == 48
    receiver, sender = os.pipe()
    data = make_clip("moov_last.mp4", Clip()).read_bytes()

    def feed() -> None:
        with os.fdopen(sender, "wb") as out:
            out.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(receiver, "rb") as pipe:
        assert read(pipe)[0] == 48
    thread.join()


def test_a_source_is_read_once(h264_mp4: Path) -> None:
    with open_source(h264_mp4) as source:
        list(source.frames(TimeGrid(1)))
        with pytest.raises(errors.Unsupported):
            list(source.frames(TimeGrid(1)))


def test_thousand_opens_leak_nothing(tmp_path: Path, h264_mp4: Path) -> None:
    clips.cut(h264_mp4, tmp_path / "headers.mp4", 0.02)

    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def once(number: int) -> None:
        if number % 3 == 0:
            fails(tmp_path / "headers.mp4", "truncated")
            return
        with open_source(h264_mp4, 2) as source:
            if number % 9 == 1:
                next(source.frames(TimeGrid(4)))

    for number in range(200):
        once(number)
    before, descriptors = resident(), len(os.listdir("/proc/self/fd"))
    for number in range(800):
        once(number)
    assert resident() - before < 8 << 20
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_damaged_first_key_frame(tmp_path: Path, vp9_webm: Path, threads: int) -> None:
    """A flush after this error crashes FFmpeg 8.1's frame-threaded VP9 decoder: nothing flushes."""
    data = bytearray(vp9_webm.read_bytes())
    with av.open(str(vp9_webm)) as container:
        first = next(container.demux(video=0))
        assert first.pos is not None
        at = data.index(bytes(first)[:16])
    data[at + 30 : at + 200] = np.random.default_rng(1).bytes(170)
    for selector in (EveryFrame(), TimeGrid(2)):
        with PyAVSource(io.BytesIO(bytes(data)), threads) as source:
            samples = list(source.frames(selector))
        assert samples
        assert source.counts.decoded + source.counts.skipped + source.counts.lost == 48
