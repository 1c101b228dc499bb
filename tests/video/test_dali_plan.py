"""Which files DALI gets, and what is made of its numbers: all that needs no DALI."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips
from tests.clips import Clip

from vqafast.errors import EngineUnavailable, InvalidArgument
from vqafast.video.dali import DaliDecoder
from vqafast.video.dali_plan import (
    CPU_CODECS,
    GPU_CODECS,
    NotForDali,
    Timeline,
    check_headers,
    merged_ranges,
    read_timeline,
)
from vqafast.video.dali_planes import native_chroma, planes_on_device
from vqafast.video.open import open_regular
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount
from vqafast.video.vpx import CodedPicture, read_vp8, read_vp9

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REALTIME = {"deadline": "realtime", "cpu-used": "8", "g": "12"}
X265 = "log-level=none:"


def timeline(path: Path, *, gpu: bool = True) -> Timeline:
    with PyAVSource(path) as source, open_regular(path) as file:
        check_headers(source, GPU_CODECS if gpu else CPU_CODECS)
        return read_timeline(file, source.info, gpu=gpu)


def remux(source: Path, target: Path, edit: Callable[[int, bytes], bytes]) -> Path:
    """Copy the packets of a file, each changed by `edit`."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = inside.streams.video[0]
        copy = outside.add_stream_from_template(stream)
        number = 0
        for packet in inside.demux(stream):
            if packet.size:
                changed = av.Packet(edit(number, bytes(packet)))
                changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
                changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
                changed.stream = copy
                outside.mux(changed)
                number += 1
    return target


def large(codec: str = "libx264", **more: Any) -> Clip:
    """Pictures that are large enough for NVDEC, whatever the codec."""
    return Clip(codec, width=256, height=144, **more)


ACCEPTED = {
    "x264.mp4": (large(options={"g": "12", "bf": "3", "sc_threshold": "0"}), True),
    "x264.mkv": (large(options={"bf": "3"}), True),
    "x264_open.mp4": (
        large(options={"g": "12", "x264-params": "open-gop=1:bframes=3:scenecut=0"}),
        False,
    ),
    "x264_rotated.mp4": (large(rotation=90), True),
    "x264_aspect.mp4": (large(aspect=Fraction(4, 3)), True),
    "x264_cropped.mp4": (Clip(width=256, height=150), True),
    "x264_full.mp4": (large(color={"color_range": 2, "colorspace": 1}), True),
    "x264_sound.mp4": (large(frames=24, audio=True), True),
    "x265_open.mp4": (
        large("libx265", options={"x265-params": X265 + "keyint=12:bframes=3:open-gop=1"}),
        False,
    ),
    "x265_closed.mp4": (
        large("libx265", options={"x265-params": X265 + "keyint=12:bframes=3:open-gop=0"}),
        True,
    ),
    "vp8.webm": (large("libvpx", options=REALTIME), True),
    "vp9.webm": (large("libvpx-vp9", options=REALTIME), True),
    "vp9.ivf": (large("libvpx-vp9", options=REALTIME), False),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted(make_clip: Any, name: str) -> None:
    clip, seekable = ACCEPTED[name]
    path = make_clip(f"accepted_{name}", clip)
    found = timeline(path)
    assert len(found.ticks) == clip.frames
    assert found.seekable == seekable
    for selector in (TimeGrid(2, burst=2), UniformCount(5), EveryFrame(2)):
        with PyAVSource(path) as source:
            truth = [(s.k, s.frames[0].index, s.frames[0].pts) for s in source.frames(selector)]
        chooser = found.chooser(selector)
        entries = [chooser.admit(int(raw)) for raw in found.ticks]
        assert [(e.k, e.index, e.seconds) for e in entries if e.k is not None] == truth
        ranges = found.ranges(selector)
        covered = {n for first, last in ranges for n in range(first, last)}
        wanted = {e.index for e in entries if e.wanted}
        if seekable:
            assert covered == wanted
        else:
            assert ranges == [(0, max(wanted) + 1)]


REFUSED = {
    "x264_deep.mp4": (Clip(pix_fmt="yuv420p10le"), "4:2:0 in 8 bits, got yuv420p10le"),
    "x264_422.mp4": (Clip(pix_fmt="yuv422p"), "4:2:0 in 8 bits, got yuv422p"),
    "x264_444.mp4": (Clip(pix_fmt="yuv444p"), "4:2:0 in 8 bits, got yuv444p"),
    "vp9_rgb.webm": (Clip("libvpx-vp9", frames=3, pix_fmt="gbrp"), "4:2:0 in 8 bits"),
    "x264_tff.mp4": (Clip(options={"x264-params": "tff=1"}), "interlaced"),
    "x264.ts": (Clip(), "container must be MP4, Matroska or IVF, got mpegts"),
    "x264.flv": (Clip(), "container must be"),
    "x264.avi": (Clip(), "container must be"),
    "raw.h264": (Clip(), "container must be"),
    "mpeg4.mp4": (Clip("mpeg4"), "codec must be one of h264, hevc, vp8, vp9, got mpeg4"),
    "av1.mp4": (Clip("libsvtav1", frames=12), "got av1"),
    "odd.webm": (Clip("libvpx-vp9", frames=3, width=161, height=97), "must be even, got 161x97"),
    "hidden.mp4": (
        Clip(times=list(range(-5, 43)), options={"bf": "0"}),
        "an edit list hides frames",
    ),
    "negative.mkv": (
        large(
            "libvpx-vp9",
            frames=24,
            times=list(range(-5, 19)),
            options=REALTIME,
            muxer={"avoid_negative_ts": "disabled"},
        ),
        "a negative timestamp",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(make_clip: Any, name: str) -> None:
    clip, reason = REFUSED[name]
    with pytest.raises(NotForDali, match=reason):
        timeline(make_clip(f"refused_{name}", clip))


def test_fewer_codecs_on_the_cpu(h264_mp4: Path, vp9_webm: Path) -> None:
    assert len(timeline(vp9_webm, gpu=False).ticks) == 48
    with pytest.raises(NotForDali, match="one of vp8, vp9, got h264"):
        timeline(h264_mp4, gpu=False)


def test_files_that_are_cut_off(tmp_path: Path, h264_mp4: Path, vp9_webm: Path) -> None:
    for whole in (h264_mp4, vp9_webm):
        path = tmp_path / whole.name
        clips.cut(whole, path, 0.6)
        with pytest.raises(NotForDali, match=r"ends before its declared end|last packet is cut off"):
            timeline(path, gpu=whole == h264_mp4)


def test_packets_that_are_no_pictures(tmp_path: Path, make_clip: Any, vp9_webm: Path) -> None:
    vp8 = make_clip("accepted_vp8.webm", ACCEPTED["vp8.webm"][0])
    larger = make_clip("larger.webm", Clip("libvpx-vp9", frames=3, width=320, height=192, options=REALTIME))
    with av.open(str(larger)) as container:
        others = [bytes(p) for p in container.demux(video=0) if p.size]

    def hide(number: int, data: bytes) -> bytes:
        return bytes([data[0] & ~16]) + data[1:] if number == 30 else data

    def repeat(number: int, data: bytes) -> bytes:
        return b"\x88" if number == 30 else data

    def grow(number: int, data: bytes) -> bytes:
        return others[number - 24] if 24 <= number < 27 else data

    def noise(number: int, data: bytes) -> bytes:
        return bytes(20) if number == 30 else data

    for source, edit, reason in (
        (vp8, hide, "a packet must show one picture, got 0"),
        (vp9_webm, repeat, "shows an earlier picture again"),
        (vp9_webm, grow, "the picture size changes"),
        (vp9_webm, noise, "a packet is no vp9 of 8 bits"),
    ):
        with pytest.raises(NotForDali, match=reason):
            timeline(remux(source, tmp_path / "edited.webm", edit), gpu=False)


def test_vp8_headers(make_clip: Any) -> None:
    path = make_clip("accepted_vp8.webm", ACCEPTED["vp8.webm"][0])
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    for packet in packets:
        size = (256, 144) if packet.is_keyframe else None
        assert read_vp8(memoryview(packet)) == [CodedPicture(True, False, size)]
    for broken in (b"", b"\x10\0", b"\x10\0\0\0\0\0\xa0\0\x60\0"):
        assert read_vp8(memoryview(broken)) is None


def test_vp9_headers(vp9_webm: Path) -> None:
    with av.open(str(vp9_webm)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    for packet in packets:
        size = (160, 96) if packet.is_keyframe else None
        assert read_vp9(memoryview(packet)) == [CodedPicture(True, False, size)]


def bits(*fields: tuple[int, int]) -> bytes:
    """Fields of (value, width), the rest of the last byte zero."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    return bytes(int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8))


def vp9_header(*, inter: int, shown: int, after: tuple[tuple[int, int], ...]) -> bytes:
    return bits((2, 2), (0, 2), (0, 1), (inter, 1), (shown, 1), (0, 1), *after)


SIZE = ((319, 16), (179, 16))
LARGE = (320, 180)
SYNC = (0x498342, 24)
REFERENCES = ((255, 8), (0, 12))


@pytest.mark.parametrize(
    ("data", "picture"),
    [
        (vp9_header(inter=0, shown=1, after=(SYNC, (2, 3), (1, 1), *SIZE)), (True, False, LARGE)),
        (vp9_header(inter=0, shown=0, after=(SYNC, (2, 3), (0, 1), *SIZE)), (False, False, LARGE)),
        (vp9_header(inter=1, shown=0, after=((1, 1), (0, 2), SYNC, (1, 8), *SIZE)), (False, False, LARGE)),
        (vp9_header(inter=1, shown=0, after=((0, 1), (0, 2), *REFERENCES, (1, 1))), (False, False, None)),
        (vp9_header(inter=1, shown=1, after=((0, 2), *REFERENCES, (0, 1), (1, 1))), (True, False, None)),
        (vp9_header(inter=1, shown=1, after=((0, 2), *REFERENCES, (0, 3), *SIZE)), (True, False, LARGE)),
        (bits((2, 2), (0, 2), (1, 1), (3, 3)), (True, True, None)),
    ],
)
def test_vp9_headers_by_hand(data: bytes, picture: tuple[Any, ...]) -> None:
    assert read_vp9(memoryview(data)) == [CodedPicture(*picture)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(8),
        bits((2, 2), (2, 2)),  # 4:2:2 or 4:4:4
        vp9_header(inter=0, shown=1, after=((0x498341, 24), (2, 3), (1, 1), *SIZE)),
        vp9_header(inter=0, shown=1, after=(SYNC, (7, 3), *SIZE)),
    ],
)
def test_what_is_no_vp9(data: bytes) -> None:
    assert read_vp9(memoryview(data)) is None


@pytest.mark.parametrize("length", [1, 2, 4])
def test_vp9_superframes(length: int) -> None:
    hidden = vp9_header(inter=1, shown=0, after=((0, 1), (0, 2), *REFERENCES, (1, 1)))
    shown = vp9_header(inter=1, shown=1, after=((0, 2), *REFERENCES, (1, 1)))
    marker = bytes([0b110_00_000 | length - 1 << 3 | 1])
    sizes = b"".join(len(part).to_bytes(length, "little") for part in (hidden, shown))
    pictures = read_vp9(memoryview(hidden + shown + marker + sizes + marker))
    assert pictures == [CodedPicture(False, False, None), CodedPicture(True, False, None)]


@pytest.mark.parametrize(
    ("wanted", "most", "ranges"),
    [
        ([0], 4, [(0, 1)]),
        ([3, 4, 5], 4, [(3, 6)]),
        ([0, 1, 12, 13, 24, 25], 3, [(0, 2), (12, 14), (24, 26)]),
        ([0, 1, 12, 13, 30, 31], 2, [(0, 14), (30, 32)]),
        ([0, 10, 20, 30], 1, [(0, 31)]),
        ([0, 10, 20, 30], 2, [(0, 1), (10, 31)]),
    ],
)
def test_merged_ranges(wanted: list[int], most: int, ranges: list[tuple[int, int]]) -> None:
    assert merged_ranges(np.array(wanted), most) == ranges


def doubled(plane: np.ndarray) -> np.ndarray:
    """Chroma at the size of luma as DALI makes it: bilinear, sited in the middle, edges repeated."""
    for axis in (-2, -1):
        length = plane.shape[axis]
        at = (np.arange(2 * length) + 0.5) / 2 - 0.5
        low = np.floor(at).astype(int)
        weight = (at - low).reshape((-1, 1) if axis == -2 else (1, -1))
        before, after = (np.take(plane, np.clip(i, 0, length - 1), axis) for i in (low, low + 1))
        plane = before * (1 - weight) + after * weight
    return plane


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (16, 24)])
def test_the_doubling_of_chroma_is_undone(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(float)
    np.testing.assert_allclose(native_chroma(doubled(plane)) / 16, plane, atol=1e-9)


def test_rounded_chroma_is_undone_to_a_level() -> None:
    """Of samples that are anything at all; pictures are smoother."""
    torch = pytest.importorskip("torch")
    plane = np.random.default_rng(1).integers(0, 256, (3, 64, 96))
    rounded = np.rint(doubled(plane.astype(float))).astype(np.int16)
    sums = native_chroma(rounded)
    error = np.abs(((sums + 8) >> 4).clip(0, 255) - plane)
    assert error.max() <= 1
    assert error.mean() < 0.2
    np.testing.assert_array_equal(native_chroma(torch.from_numpy(rounded)).numpy(), sums)


def test_planes_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """With streams that do nothing, what a GPU computes, on the CPU."""
    torch = pytest.importorskip("torch")
    idle = SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: idle)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    rng = np.random.default_rng(2)
    luma, chroma = rng.integers(0, 256, (4, 64, 96)), rng.integers(0, 256, (4, 2, 32, 48))
    large = np.rint(doubled(chroma.astype(float)))
    pixels = np.stack([luma, large[:, 0], large[:, 1]], axis=-1).astype(np.uint8)[:, None]
    found = planes_on_device(torch.from_numpy(pixels), 3, "cuda:0")
    assert len(found) == 3
    for at, planes in enumerate(found):
        assert [p.dtype for p in planes] == [torch.uint8] * 3
        assert all(p.is_contiguous() for p in planes)
        np.testing.assert_array_equal(planes[0].numpy(), luma[at])
        for plane, truth in zip(planes[1:], chroma[at], strict=True):
            assert np.abs(plane.numpy().astype(int) - truth).max() <= 1


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_devices_that_there_are_not(device: str) -> None:
    with pytest.raises(InvalidArgument, match="must be cpu, cuda or cuda:N"):
        DaliDecoder(device=device)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True])
def test_batch_must_be_a_number(batch: Any) -> None:
    with pytest.raises(InvalidArgument, match="batch: must be a whole number"):
        DaliDecoder(device="cpu", batch=batch)


def test_without_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(EngineUnavailable, match=r"nvidia\.dali cannot be imported.*vqafast\[dali\]"):
        DaliDecoder(device="cpu")


def test_without_a_driver() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    code = """
from vqafast.errors import EngineUnavailable
from vqafast.video.dali import DaliDecoder
try:
    DaliDecoder()
except EngineUnavailable as error:
    print(error)
import sys
print([name for name in ("torch", "nvidia.dali") if name in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    lines = run.stdout.splitlines()
    assert lines[0].startswith("DALI cannot decode on cuda:0: ")
    assert lines[1] == "[]"
