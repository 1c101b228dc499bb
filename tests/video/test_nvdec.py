"""NVDEC: the CPU's samples in the GPU's memory; and where there is no GPU, the CPU, by name."""

from __future__ import annotations

import subprocess
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips
from tests.ops.cuda import python, require, why_not

from vqafast import video
from vqafast.errors import NotAVideo, VqafastError
from vqafast.video import nvdec
from vqafast.video.display import Display, Scaler
from vqafast.video.picture import PictureReader
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount
from vqafast.video.timeline import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.video.source import Frame, Sampled

SELECTOR = TimeGrid(4, burst=2)
HARDWARE = {
    "h264": clips.Clip(width=320, height=192),
    "h264 closed gop": clips.Clip(width=320, height=192, options={"g": "12", "bf": "0"}),
    "h264 full range": clips.Clip(width=320, height=192, color={"color_range": 2, "colorspace": 1}),
    "h264 rotated": clips.Clip(width=320, height=192, rotation=90),
    "h264 odd height": clips.Clip(width=322, height=178),
    "hevc": clips.Clip("libx265", width=320, height=192),
    "hevc 10 bit": clips.Clip("libx265", width=320, height=192, pix_fmt="yuv420p10le"),
    "vp9": clips.Clip("libvpx-vp9", width=320, height=192),
    "vp8": clips.Clip("libvpx", width=320, height=192),
}
SOFTWARE = {
    "h264 high 10": clips.Clip(width=320, height=192, pix_fmt="yuv420p10le"),
    "h264 4:2:2": clips.Clip(width=320, height=192, pix_fmt="yuv422p"),
    "h264 lossless": clips.Clip(width=320, height=192, options={"qp": "0"}),
    "hevc 4:4:4": clips.Clip("libx265", width=320, height=192, pix_fmt="yuv444p"),
    "vp9 odd size": clips.Clip("libvpx-vp9", width=321, height=181),
    "mpeg2": clips.Clip("mpeg2video", width=320, height=192),
    "mpeg4": clips.Clip("mpeg4", width=320, height=192),
    "ffv1": clips.Clip("ffv1", width=320, height=192),
}


def write(folder: Path, name: str, clip: clips.Clip) -> str:
    extension = "mkv" if clip.codec in ("ffv1", "libvpx") else "mp4"
    path = folder / f"{name.replace(' ', '_').replace(':', '')}.{extension}"
    clips.encode(path, clip)
    return str(path)


def planar(frame: Frame) -> list[Any]:
    """Y, U, V as host arrays, whatever the layout; significant bits at the low end."""
    planes = [np.asarray(p) for p in nvdec.to_host(frame).planes]
    if frame.layout.semi_planar:
        planes = [planes[0], planes[1][..., 0], planes[1][..., 1]]
    return [p >> (16 - frame.layout.bit_depth) if frame.layout.msb_aligned else p for p in planes]


def read(path: str, gpu: int | None) -> tuple[PyAVSource, list[Sampled]]:
    with PyAVSource(path, gpu=gpu) as source:
        return source, list(source.frames(SELECTOR))


@pytest.mark.cuda
@pytest.mark.parametrize("name", HARDWARE)
def test_samples_are_those_of_the_cpu(name: str, tmp_path: Path) -> None:
    """The standards define every bit of a decoded picture, so the planes must be equal."""
    require()
    path = write(tmp_path, name, HARDWARE[name])
    (cpu, truth), (gpu, got) = read(path, None), read(path, 0)
    assert "NVDEC" in gpu.info.decoder
    assert gpu.warnings == cpu.warnings
    assert (gpu.info.color, gpu.info.rotation, gpu.info.width) == (
        cpu.info.color,
        cpu.info.rotation,
        cpu.info.width,
    )
    assert len(got) == len(truth) > 4
    for a, b in zip(got, truth, strict=True):
        assert a.k == b.k
        for mine, theirs in zip(a.frames, b.frames, strict=True):
            assert (mine.pts, mine.index, mine.rotation) == (theirs.pts, theirs.index, theirs.rotation)
            assert str(mine.planes[0].device) == "cuda:0"
            for p, q in zip(planar(mine), planar(theirs), strict=True):
                np.testing.assert_array_equal(p, q)
    assert (gpu.counts.decoded, gpu.counts.skipped) == (cpu.counts.decoded, cpu.counts.skipped)


@pytest.mark.cuda
@pytest.mark.parametrize("first", ["torch", "decoder"])
def test_torch_and_the_decoder_share_a_context_whoever_comes_first(first: str, tmp_path: Path) -> None:
    """In a fresh process: FFmpeg's own way to the primary context fails where torch was first."""
    require()
    path = write(tmp_path, "h264", HARDWARE["h264"])
    torch_first = "torch.zeros(1, device='cuda')" if first == "torch" else ""
    code = f"""
import torch
{torch_first}
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame
with PyAVSource({path!r}, gpu=0) as source:
    assert not source.warnings, source.warnings
    frames = [s.frames[0] for s in source.frames(EveryFrame(burst=1))]
print(sum(f.planes[0].long().sum().item() for f in frames))
"""
    got = subprocess.run(python(code), capture_output=True, text=True, check=False)
    assert got.returncode == 0, got.stderr
    with PyAVSource(path) as source:
        truth = sum(int(s.frames[0].planes[0].sum()) for s in source.frames(EveryFrame(burst=1)))
    assert int(got.stdout) == truth


@pytest.mark.cuda
def test_a_file_is_opened_again_in_another_thread(tmp_path: Path) -> None:
    """As scoring does: opened here, counted and decoded in a thread that has no CUDA context yet."""
    require()
    path = write(tmp_path, "h264", HARDWARE["h264"])
    found: list[Any] = []
    with PyAVSource(path, gpu=0) as source:
        thread = threading.Thread(target=lambda: found.extend(source.frames(UniformCount(5))))
        thread.start()
        thread.join()
        assert "NVDEC" in source.info.decoder
    with PyAVSource(path) as source:
        truth = list(source.frames(UniformCount(5)))
    assert len(found) == len(truth) == 5
    for a, b in zip(found, truth, strict=True):
        np.testing.assert_array_equal(planar(a.frames[0])[0], planar(b.frames[0])[0])


@pytest.mark.cuda
def test_frames_outlive_the_source(tmp_path: Path) -> None:
    require()
    path = write(tmp_path, "h264", HARDWARE["h264"])
    with PyAVSource(path, gpu=0) as source:
        kept = [s.frames[0] for s in source.frames(EveryFrame(burst=1))]
    with PyAVSource(path) as source:
        truth = [planar(s.frames[0]) for s in source.frames(EveryFrame(burst=1))]
    for frame, planes in zip(kept, truth, strict=True):
        np.testing.assert_array_equal(planar(frame)[0], planes[0])


@pytest.mark.cuda
@pytest.mark.parametrize("name", SOFTWARE)
def test_what_the_card_cannot_decode_goes_to_the_cpu(name: str, tmp_path: Path) -> None:
    require()
    path = write(tmp_path, name, SOFTWARE[name])
    source, got = read(path, 0)
    assert "NVDEC" not in source.info.decoder
    note = next(w for w in source.warnings if w.code == "decoder_fallback")
    assert note.message.startswith("decoded on the CPU: NVDEC ")
    _, truth = read(path, None)
    for a, b in zip(got, truth, strict=True):
        for p, q in zip(a.frames[0].planes, b.frames[0].planes, strict=True):
            np.testing.assert_array_equal(p, q)


@pytest.mark.cuda
def test_a_display_is_served_from_the_host(tmp_path: Path) -> None:
    require()
    path = write(tmp_path, "hevc", HARDWARE["hevc"])
    (_, truth), (_, got) = read(path, None), read(path, 0)
    a, b = (Scaler(Display(640, 384)).scale(s[1]).frames[0] for s in (got, truth))
    for mine, theirs in zip(planar(a), planar(b), strict=True):
        np.testing.assert_array_equal(mine, theirs)


no_gpu = pytest.mark.skipif(why_not() is None, reason="there is a GPU")


@no_gpu
def test_without_a_gpu_the_cpu_decodes_and_the_source_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "h264", HARDWARE["h264"])
    (plain, truth), (source, got) = read(path, None), read(path, 0)
    assert source.info == plain.info
    assert [w.code for w in source.warnings] == ["decoder_fallback"]
    assert source.warnings[0].message.startswith(
        "decoded on the CPU: NVDEC of GPU 0 cannot be used: libcuda.so.1 cannot be loaded"
    )
    for a, b in zip(got, truth, strict=True):
        np.testing.assert_array_equal(a.frames[0].planes[0], b.frames[0].planes[0])


def test_a_broken_file_is_refused_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"this is no video" * 100)
    with pytest.raises(NotAVideo) as caught:
        PyAVSource(str(path), gpu=0)
    with pytest.raises(NotAVideo, match=str(caught.value)):
        PyAVSource(str(path))


def test_y4m_needs_no_decoder(tmp_path: Path) -> None:
    path = tmp_path / "x.y4m"
    path.write_bytes(b"YUV4MPEG2 W32 H32 F25:1 C420\nFRAME\n" + bytes(32 * 32 * 3 // 2))
    with video.open_source(str(path), gpu=0) as source:
        assert source.warnings == []


def test_errors_of_the_selector_are_unchanged(tmp_path: Path) -> None:
    path = write(tmp_path, "h264", HARDWARE["h264"])
    with PyAVSource(path, gpu=0) as source:
        list(source.frames(SELECTOR))
        with pytest.raises(VqafastError, match="read once"):
            next(iter(source.frames(SELECTOR)))


@pytest.mark.parametrize("name", ["nv12", "p010le", "p016le", "yuv420p", "yuv444p", "yuv444p10le", "nv16"])
def test_planes_through_dlpack_are_those_of_the_buffer(name: str) -> None:
    """`device_planes` on pictures in the memory of the host, which PyAV hands over in the same way."""
    pytest.importorskip("torch")
    picture = av.VideoFrame(70, 38, "rgb24")
    for plane in picture.planes:
        plane.update(np.random.default_rng(1).integers(0, 255, plane.buffer_size, np.uint8))
    picture = picture.reformat(format=name)
    reader = PictureReader("x", "", Fraction(1), [])
    frame = reader.read(picture, Entry(0, 0, 0.0, None, True))
    got = nvdec.device_planes(picture)
    assert len(got) == len(frame.planes)
    for mine, theirs in zip(got, frame.planes, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs)
