"""Where the tests of NVDEC get their card: a GPU, or the emulated one of tests/card_emulation.

With the emulated one FFmpeg's own code runs as with a GPU.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from tests.ops.cuda import CARD_PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODECS = ("h264", "hevc", "vp8", "vp9")
_TO_ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


@cache
def library() -> ctypes.CDLL:
    """The emulated card, for its `card_...` functions."""
    loaded = ctypes.CDLL("libcuda.so.1")
    loaded.card_count.restype = ctypes.c_long
    loaded.card_hash.restype, loaded.card_hash.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    loaded.card_limit.argtypes = [ctypes.c_size_t]
    loaded.card_fail.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    return loaded


def mend() -> None:
    """Let all calls succeed again; counts start at 0, memory has no limit."""
    library().card_mend()


def forget() -> None:
    """Release what is left, as after an error that broke the context."""
    library().card_forget()


def limit(memory: int) -> None:
    """Let the card have so many bytes."""
    library().card_limit(memory)


def fail(function: str, after: int, status: int, *, breaks: bool = False) -> None:
    """Let a call of the driver fail once, behind `after` that succeed; perhaps with all calls behind it."""
    library().card_fail(function.encode(), after, status, breaks)


def broken() -> bool:
    """Whether a failure broke the context."""
    return count("broken") != 0


def kept() -> dict[str, int]:
    """Memory in bytes, decoders and mapped pictures that are in use."""
    return {what: count(what) for what in ("memory", "decoders", "mapped")}


def count(what: str) -> int:
    """``memory`` in bytes, ``decoders``, ``mapped`` or ``contexts`` there are, or calls of a function."""
    return int(library().card_count(what.encode()))


def encode_and_learn(encode: Any) -> Any:
    """`clips.encode`, whose files the emulated card can decode."""

    def wrapped(path: Any, *args: Any, **kwargs: Any) -> None:
        encode(path, *args, **kwargs)
        if isinstance(path, Path):
            learn(path)

    return wrapped


def learn(path: Path) -> None:
    """Let the emulated card decode the pictures of a file, with the pixels that the CPU decodes."""
    folder = Path(os.environ[CARD_PICTURES])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.codec.canonical_name not in _CODECS or "420" not in str(stream.pix_fmt):
            return
        # A raw stream has no times: what it codes is in the order of time.
        decoded = enumerate(container.decode(stream))
        pictures = {i if picture.pts is None else picture.pts: picture for i, picture in decoded}
    with av.open(str(path)) as container:
        for i, (pts, data) in enumerate(_coded(container, container.streams.video[0])):
            picture = pictures.get(i if pts is None else pts)
            if picture is not None:
                (folder / f"{library().card_hash(data, len(data)):016x}").write_bytes(_pixels(picture))


def _coded(container: Any, stream: Any) -> Iterator[tuple[int | None, bytes]]:
    """What FFmpeg gives the card of each packet: the slices of it, or all of it."""
    codec = stream.codec_context.codec.canonical_name
    if codec == "vp9":
        split = BitStreamFilterContext("vp9_superframe_split", stream)
        for packet in container.demux(stream):
            for part in split.filter(packet if packet.size else None):
                yield part.pts, bytes(part)
        return
    change = BitStreamFilterContext(_TO_ANNEX_B[codec], stream) if codec in _TO_ANNEX_B else None
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if change is None:
            yield packet.pts, bytes(packet)
            continue
        (packet,) = change.filter(packet)
        units = (unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")[1:])
        yield packet.pts, b"".join(b"\0\0\1" + unit for unit in units if _is_slice(codec, unit))


def _is_slice(codec: str, unit: bytes) -> bool:
    return unit[0] & 31 in (1, 5) if codec == "h264" else unit[0] >> 1 & 63 < 32


def _pixels(picture: Any) -> bytes:
    """Samples as NVDEC gives them: NV12, or P016 with the bits at the high end."""
    depth = picture.format.components[0].bits
    item = 1 if depth == 8 else 2
    planes = []
    for plane in picture.planes:
        rows = np.frombuffer(plane, np.uint8 if item == 1 else np.uint16).reshape(plane.height, -1)
        planes.append(rows[:, : plane.width] << (0 if item == 1 else 16 - depth))
    luma, chroma = planes[0], np.stack(planes[1:], axis=-1)
    shape = np.array([picture.width, picture.height, item], np.uint32)
    return shape.tobytes() + luma.tobytes() + chroma.tobytes()
