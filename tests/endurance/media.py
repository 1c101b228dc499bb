"""Small files of every container and codec that FFmpeg writes here, and ways to damage them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests import clips

if TYPE_CHECKING:
    import random
    from pathlib import Path

#: Name and what it holds.
KINDS: dict[str, clips.Clip] = {
    "h264.mp4": clips.Clip(frames=30, audio=True),
    "h264_faststart.mp4": clips.Clip(frames=30, muxer={"movflags": "faststart"}),
    "h264_fragments.mp4": clips.Clip(
        frames=30, muxer={"movflags": "frag_keyframe+empty_moov"}, options={"g": "10"}
    ),
    "h264.mkv": clips.Clip(frames=30, options={"bf": "2", "g": "12"}),
    "h264.ts": clips.Clip(frames=30, options={"g": "10"}),
    "h264.flv": clips.Clip(frames=30),
    "h264.mov": clips.Clip(frames=30),
    "h264_10.mkv": clips.Clip(frames=30, pix_fmt="yuv420p10le"),
    "hevc.mp4": clips.Clip("libx265", frames=30),
    "hevc.mkv": clips.Clip("libx265", frames=30),
    "vp8.webm": clips.Clip("libvpx", frames=30, options={"deadline": "realtime", "cpu-used": "8"}),
    "vp9.webm": clips.Clip("libvpx-vp9", frames=30, options={"deadline": "realtime", "cpu-used": "8"}),
    "av1.mp4": clips.Clip("libsvtav1", frames=30),
    "mpeg2.ts": clips.Clip("mpeg2video", frames=30),
    "mpeg2.mpg": clips.Clip("mpeg2video", frames=30),
    "mpeg4.avi": clips.Clip("mpeg4", frames=30),
    "mjpeg.avi": clips.Clip("mjpeg", frames=12, pix_fmt="yuvj420p"),
    "prores.mov": clips.Clip("prores_ks", frames=8, pix_fmt="yuv422p10le"),
    "ffv1.mkv": clips.Clip("ffv1", frames=8),
}


def make(folder: Path) -> dict[str, bytes]:
    """Encode each of `KINDS` below `folder`, and give its bytes."""
    made = {}
    for i, (name, clip) in enumerate(KINDS.items()):
        path = folder / name
        clips.encode(path, replace(clip, first=50 * i))
        made[name] = path.read_bytes()
    planes = [
        [bytes((i * 7 + x) % 256 for x in range(96 * 96)), b"\x80" * 2304, b"\x80" * 2304] for i in range(12)
    ]
    raw = clips.y4m(planes, header="YUV4MPEG2 W96 H96 F25:1 Ip A1:1 C420jpeg")
    made["raw.y4m"] = raw
    return made


def flip(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Flip 1 bit in 10 to 10,000 bytes."""
    del others
    out = bytearray(data)
    for _ in range(max(1, int(len(out) / 10 ** rng.uniform(1, 4)))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def flip_head(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Flip up to 32 bits of the first 4 kB, where containers describe themselves."""
    del others
    out = bytearray(data)
    for _ in range(rng.randint(1, 32)):
        out[rng.randrange(min(4096, len(out)))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """End it anywhere."""
    del others
    return data[: rng.randrange(len(data))]


def splice(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Put the beginning of another file in front of the rest of this one."""
    other = rng.choice(others)
    return other[: rng.randrange(1, min(8192, len(other)))] + data[rng.randrange(len(data)) :]


def blank(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Zero a stretch, as a hole in a file does."""
    del others
    begin = rng.randrange(len(data))
    length = min(len(data) - begin, rng.randrange(1, 1 + len(data) // 2))
    return data[:begin] + bytes(length) + data[begin + length :]


def repeat(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Write a stretch twice, or leave it out."""
    del others
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:b] + data[a:] if rng.random() < 0.5 else data[:a] + data[b:]


#: Ways to damage a file, by name.
MUTATIONS = {f.__name__: f for f in (flip, flip_head, cut, splice, blank, repeat)}
