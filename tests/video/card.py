"""Where the tests of NVDEC get their card: a GPU, or the emulated one of tests/card_emulation.

With the emulated one FFmpeg's own code runs as with a GPU. Pictures "on the card" are in this machine's
memory, and torch gets them as tensors of the CPU.
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
from tests.ops.cuda import require

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = "VQAFAST_CARD_PICTURES"
EMULATED = PICTURES in os.environ
#: Of the tensors that it gives, for torch.
DEVICE = "cpu" if EMULATED else "cuda:0"
_CPU, _CUDA = 1, 2  # DLPack's kDLCPU, kDLCUDA
_AFTER_DATA = 8  # bytes into a DLManagedTensor
_BASIS, _PRIME = 0xCBF29CE484222325, 0x100000001B3  # FNV-1a, 64 bits
_TO_ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


def require_card() -> None:
    """A GPU or the emulated card; else a skip, or with FAIL_WITHOUT_CUDA=1 a failure."""
    if not EMULATED:
        require()
    else:
        _torch_takes_its_pictures()


@cache
def library() -> ctypes.CDLL:
    """The emulated card, for its `card_...` functions."""
    loaded = ctypes.CDLL("libcuda.so.1")
    loaded.card_count.restype = ctypes.c_long
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


@cache
def _torch_takes_its_pictures() -> None:
    """A torch without CUDA refuses what says that it is on a card."""
    import torch

    take = torch.utils.dlpack.from_dlpack
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

    def from_dlpack(capsule: Any) -> Any:
        if type(capsule).__name__ == "PyCapsule":
            kind = ctypes.c_int32.from_address(pointer(capsule, b"dltensor") + _AFTER_DATA)
            assert kind.value in (_CPU, _CUDA)
            kind.value = _CPU
        return take(capsule)

    torch.utils.dlpack.from_dlpack = from_dlpack


def learn(path: str) -> None:
    """Let the emulated card decode the pictures of a file, with the pixels that the CPU decodes."""
    if not EMULATED:
        return
    folder = Path(os.environ[PICTURES])
    with av.open(path) as container:
        pictures = {p.pts if p.pts is not None else i: p for i, p in enumerate(container.decode(video=0))}
    with av.open(path) as container:
        stream = container.streams.video[0]
        for i, (pts, data) in enumerate(_coded(container, stream)):
            # A raw stream has no times: the order must be the same.
            pts = i if pts is None else pts
            if pts in pictures:
                (folder / f"{_hash(data):016x}").write_bytes(_pixels(pictures[pts]))


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


def _hash(data: bytes) -> int:
    value = _BASIS
    for byte in data:
        value = (value ^ byte) * _PRIME & 0xFFFFFFFFFFFFFFFF
    return value


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
