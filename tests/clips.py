"""Every clip of the tests, made on the fly: procedural moving content, seeded, encoded by PyAV."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

if TYPE_CHECKING:
    import io

    from numpy.typing import NDArray

Times = list[int]


def content(index: int, width: int, height: int, seed: int = 7) -> NDArray[np.uint8]:
    """Picture `index`: a drifting texture, a faster square and fresh noise, ``(h, w, 3)`` RGB."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = 0.11 * index
    red = np.sin(0.13 * (x + 2.3 * index)) * np.cos(0.09 * (y - 1.7 * index))
    green = np.sin(0.031 * (x + y) + phase) + 0.4 * np.sin(0.7 * x)
    blue = np.cos(0.05 * (x - 2 * y) - phase)
    picture = 128 + 70 * np.stack([red, green, blue], axis=-1) / 1.4
    side = max(8, height // 5)
    left, top = (5 * index) % max(1, width - side), (3 * index) % max(1, height - side)
    picture[top : top + side, left : left + side] = (235, 40, 90)
    noise = np.random.default_rng((seed, index)).normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Clip:
    """What to encode.

    `times` are timestamps in `tick`; without them frames are one `1 / fps` apart. `color` holds
    attributes of the codec context: colorspace, color_range, color_trc, color_primaries.
    """

    codec: str = "libx264"
    frames: int = 48
    width: int = 160
    height: int = 96
    fps: int = 24
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    times: Times | None = None
    tick: Fraction | None = None
    aspect: Fraction | None = None
    rotation: int | None = None
    color: dict[str, int] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    audio: bool = False
    first: int = 0


# One thread: with more its packets, and once in a while their times, change from run to run.
SVT_AV1 = {"preset": "12", "svtav1-params": "lp=1"}


def encode(path: Path | io.BytesIO, clip: Clip, container: str | None = None) -> None:
    """Write `clip` to `path`."""
    target: Any = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=container, options=clip.muxer) as out:
        stream: Any = out.add_stream(clip.codec, rate=clip.fps)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pix_fmt
        quiet = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": SVT_AV1}
        stream.options = {**quiet.get(clip.codec, {}), **clip.options}
        stream.codec_context.thread_count = 1
        for name, value in clip.color.items():
            setattr(stream.codec_context, name, value)
        tick = clip.tick or Fraction(1, clip.fps)
        stream.codec_context.time_base = tick
        if clip.aspect is not None:
            stream.codec_context.sample_aspect_ratio = clip.aspect
        if clip.rotation is not None:
            stream.set_display_rotation(clip.rotation)
        sound: Any = out.add_stream("aac", rate=8000, layout="mono") if clip.audio else None
        for position in range(clip.frames):
            rgb = content(clip.first + position, clip.width, clip.height)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=clip.pix_fmt)
            frame.pts = clip.times[position] if clip.times else position
            frame.time_base = tick
            for name, value in clip.color.items():
                setattr(frame, name, value)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            mux_silence(out, sound, clip.frames / clip.fps)


def mux_silence(out: Any, stream: Any, seconds: float) -> None:
    for position in range(0, int(seconds * 8000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, position
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as out:
        mux_silence(out, out.add_stream("aac", rate=8000, layout="mono"), 1.0)


def y4m(
    frames: list[list[bytes]],
    header: str = "YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg",
) -> bytes:
    """YUV4MPEG2 bytes from planes."""
    return header.encode() + b"\n" + b"".join(b"FRAME\n" + b"".join(f) for f in frames)


def cut(source: Path, target: Path, share: float) -> None:
    """Keep the first `share` of the bytes."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])


def damage(source: Path, target: Path, start: float, length: int, seed: int = 3) -> None:
    """Overwrite `length` bytes from `start` (a share of the file) with noise."""
    data = bytearray(source.read_bytes())
    at = int(len(data) * start)
    data[at : at + length] = np.random.default_rng(seed).bytes(length)
    target.write_bytes(data)


def retag(source: Path, target: Path, old: bytes, new: bytes) -> None:
    """Replace a four-character code everywhere."""
    target.write_bytes(source.read_bytes().replace(old, new))


def declare_size(source: Path, target: Path, width: int, height: int) -> None:
    """Write another picture size into the sample entry of an mp4 (avc1, mp4v, jpeg)."""
    data = bytearray(source.read_bytes())
    entry = max(data.find(b"avc1", data.find(b"stsd")), data.find(b"mp4v", data.find(b"stsd")))
    struct.pack_into(">HH", data, entry + 4 + 24, width, height)
    target.write_bytes(data)
