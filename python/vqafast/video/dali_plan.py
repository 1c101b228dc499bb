"""What DALI is trusted with: known from a file's headers and packets, before anything is decoded.

DALI numbers frames by its own index of the packets. Where packets and shown pictures are not one to one,
or a timestamp is missing, its numbers are wrong without a word; so such files never reach it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vqafast.video.bitstream import NalReader
from vqafast.video.dali_container import declared_size
from vqafast.video.dali_nvdec import beyond_nvdec
from vqafast.video.decoder import Decoder
from vqafast.video.nvdec import codec_obstacle
from vqafast.video.open import open_video
from vqafast.video.timeline import Chooser, Clock
from vqafast.video.vpx import read_vp8, read_vp9

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from vqafast.video.decoder import VideoPacket
    from vqafast.video.pyav import PyAVSource
    from vqafast.video.sampling import Selector
    from vqafast.video.source import VideoInfo
    from vqafast.video.vpx import CodedPicture

# AV1 and MPEG-4 are absent because a packet may show an earlier picture again, for which DALI's queue of
# timestamps has no entry; MJPEG because NVDEC's inverse transform has other bits than FFmpeg's.
GPU_CODECS = ("h264", "hevc", "vp8", "vp9")
CPU_CODECS = ("vp8", "vp9")
_MP4, _MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
# Each is known by the first bytes of the file. DALI's FFmpeg has every demuxer and opens what a playlist
# or script names; a container that is found by likeness, as MPEG-TS is, may be such a script to it.
_CONTAINERS = frozenset({_MP4, _MATROSKA, "ivf"})
# Those in which FFmpeg seeks by an index of key frames.
_INDEXED = frozenset({_MP4, _MATROSKA})
# On a GPU DALI keeps the timestamp of a picture that waits for its turn as int32.
_MOST_TICKS = 1 << 31
# DALI reads frame numbers as float32.
_MOST_FRAMES = 1 << 24
_DEFAULT_RATE = 25.0  # as PyAVSource takes it
# DALI opens the file once for each range.
_MOST_RANGES = 64


class NotForDali(Exception):  # noqa: N818 - it is no error: another decoder takes the file
    """Why a file is left to the ordinary decoder."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The shown frames of a file, in presentation order.

    Attributes
    ----------
    ticks : ndarray of int64
        Timestamps, strictly ascending.
    tick : float
        Seconds per unit of `ticks`.
    step : float
        Nominal interval of frames in seconds.
    keys : ndarray of int64
        Timestamps of the key frames.
    seekable : bool
        Whether decoding may begin at any key frame, where the container leads to it.
    coded : (int, int) or None
        Width and height of the pictures before they are cropped; read for a GPU only.
    """

    ticks: NDArray[np.int64]
    tick: float
    step: float
    keys: NDArray[np.int64]
    seekable: bool
    coded: tuple[int, int] | None

    def chooser(self, selector: Selector) -> Chooser:
        """Make the chooser of `PyAVSource.frames`, to be shown `ticks` in order."""
        picker = selector.begin(length=len(self.ticks))
        return Chooser(picker, selector.burst, Clock(self.tick, self.step), selector.stride)

    def seconds(self, index: int) -> float:
        """Time of frame `index` after the first."""
        return float(self.ticks[index] - self.ticks[0]) * self.tick

    def ranges(self, selector: Selector) -> list[tuple[int, int]]:
        """Frames ``first .. last - 1`` to decode, with few frames between them that nobody wants."""
        chooser = self.chooser(selector)
        entries = (chooser.admit(int(raw)) for raw in self.ticks)
        wanted = np.fromiter((entry.index for entry in entries if entry.wanted), np.int64)
        if not len(wanted):
            return []
        if not self.seekable:
            return [(0, int(wanted[-1]) + 1)]
        return merged_ranges(wanted, _MOST_RANGES)

    def sought(self, ranges: list[tuple[int, int]]) -> NDArray[np.int64]:
        """Timestamps of the key frames to which DALI may seek for `ranges`, ascending."""
        begins = self.ticks[[first for first, _ in ranges]]
        before = np.searchsorted(self.keys, begins, side="right") - 1
        return self.keys[np.unique(before[before > 0])]


def merged_ranges(wanted: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """At most `most` ranges ``first .. last - 1`` that cover `wanted`, split at the largest gaps."""
    gaps = np.diff(wanted)
    splits = np.flatnonzero(gaps > 1)
    if len(splits) >= most:
        largest = np.argsort(-gaps[splits], kind="stable")[: most - 1]
        splits = np.sort(splits[largest])
    first = wanted[np.concatenate([[0], splits + 1]).astype(np.int64)]
    last = wanted[np.concatenate([splits, [len(wanted) - 1]]).astype(np.int64)]
    return [(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)]


def check_headers(source: PyAVSource, codecs: tuple[str, ...]) -> None:
    """Raise `NotForDali` for what the headers and the first picture already tell."""
    info, said = source.info, {warning.code for warning in source.warnings}
    if info.codec not in codecs:
        raise NotForDali(f"the codec must be one of {', '.join(codecs)}, got {info.codec}")
    if info.container not in _CONTAINERS:
        raise NotForDali(f"the container must be MP4, Matroska or IVF, got {info.container}")
    if info.layout.name != "yuv420p" or "pixel_format_converted" in said:
        raise NotForDali(f"pictures must be 4:2:0 in 8 bits, got {info.layout.name}")
    if info.width % 2 or info.height % 2:
        raise NotForDali(f"width and height must be even, got {info.width}x{info.height}")
    if "interlaced" in said:
        raise NotForDali("the video is interlaced")


def read_timeline(file: BinaryIO, info: VideoInfo, *, gpu: bool) -> Timeline:
    """Read every packet of an open file, decoding nothing; `file` stays open.

    Raises
    ------
    NotForDali
    VqafastError
        Those of opening a file.
    """
    faults: list[str] = []
    # DALI makes room for pictures of the size that the container has, and fills it with those of the stream.
    declared, size = declared_size(file, info.container), (info.width, info.height)
    if declared != size:
        raise NotForDali(
            f"pictures must be {declared[0]}x{declared[1]} as the container says, got {size[0]}x{size[1]}"
        )
    file.seek(0)
    opened = open_video(file, info.path, owns_file=False)
    decoder = Decoder(opened, 1, lambda _code, message: faults.append(message))
    try:
        if len(opened.container.streams.video) > 1:
            raise NotForDali("the file holds several video streams")
        if decoder.context.field_order > 1:
            raise NotForDali("the video is interlaced")
        obstacle = codec_obstacle(decoder.context) if gpu else None
        if obstacle is not None:
            raise NotForDali(obstacle)
        coded = _coded_size(decoder, info.codec) if gpu else None
        packets = _Packets(info, decoder.context.extradata, gpu=gpu)
        for packet in decoder.packets():
            packets.add(packet)
        if faults or decoder.unread:
            raise NotForDali(faults[0] if faults else "the last packet is cut off")
        tick = float(opened.stream.time_base or 0)
        step = float(1 / info.frame_rate) if info.frame_rate else 1 / _DEFAULT_RATE
        alone = len(opened.container.streams) == 1
        return packets.timeline(tick, step, coded, alone=alone)
    finally:
        decoder.close()


def _coded_size(decoder: Decoder, codec: str) -> tuple[int, int]:
    """Width and height of the first picture before it is cropped, within NVDEC's limits."""
    decoder.first_frame()
    coded = decoder.context.coded_width, decoder.context.coded_height
    obstacle = beyond_nvdec(codec, coded)
    if obstacle is not None:
        raise NotForDali(obstacle)
    return coded


class _Packets:
    """Takes packets in decoding order, and refuses a stream at the first that DALI would miscount."""

    def __init__(self, info: VideoInfo, extradata: bytes | None, *, gpu: bool) -> None:
        self._info = info
        self._gpu = gpu
        self._check = _header_check(info, gpu=gpu)
        self._nal = NalReader(info.codec, extradata) if info.codec in ("h264", "hevc") else None
        self._raw = array("q")
        self._keys = array("q")
        self._parameters = b""
        self._seekable = info.container in _INDEXED

    def add(self, packet: VideoPacket) -> None:
        """Take the next packet."""
        raw = packet.pts
        if packet.is_discard:
            raise NotForDali("an edit list hides frames")
        if packet.is_corrupt:
            raise NotForDali("a packet is damaged")
        if raw is None or raw < 0:
            raise NotForDali("a frame has a negative timestamp" if raw else "a frame has no timestamp")
        if self._gpu and raw >= _MOST_TICKS:
            raise NotForDali(f"timestamps must be less than {_MOST_TICKS} ticks, got {raw}")
        if not self._raw and not packet.is_keyframe:
            raise NotForDali("the first frame is no key frame")
        if self._raw and raw <= self._raw[0]:
            raise NotForDali("frames precede the first key frame")
        if len(self._raw) >= _MOST_FRAMES:
            raise NotForDali(f"the video must have at most {_MOST_FRAMES} frames")
        if packet.has_sidedata("new_extradata"):
            raise NotForDali("the coding parameters change")
        data = memoryview(packet)
        self._check(data)
        if self._nal is not None:
            coded = self._nal.read(data)
            if self._gpu and not self._nal.found_picture:
                # Its timestamp would go to the next picture, and so on to the end.
                raise NotForDali("a packet holds no picture")
            if coded.parameters and self._parameters not in (b"", coded.parameters):
                raise NotForDali("the coding parameters change")
            self._parameters = coded.parameters or self._parameters
            # Pictures may follow such a key frame that refer to what is before it, and NVDEC leaves them
            # out after a seek.
            self._seekable &= coded.reset or not packet.is_keyframe
        elif self._raw and raw <= self._raw[-1]:
            raise NotForDali("the timestamps go back")
        self._raw.append(raw)
        if packet.is_keyframe:
            self._keys.append(raw)

    def timeline(self, tick: float, step: float, coded: tuple[int, int] | None, *, alone: bool) -> Timeline:
        """Give what was collected; `alone` when the container holds nothing else."""
        ticks = np.sort(np.frombuffer(self._raw, np.int64))
        if not len(ticks) or tick <= 0:
            raise NotForDali("the video has no frames with timestamps")
        if (np.diff(ticks) == 0).any():
            raise NotForDali("frames share a timestamp")
        self._refuse_truncated(float(ticks[-1] - ticks[0]) * tick + step, step, alone=alone)
        keys = np.sort(np.frombuffer(self._keys, np.int64))
        return Timeline(ticks, tick, step, keys, self._seekable, coded)

    def _refuse_truncated(self, end: float, step: float, *, alone: bool) -> None:
        """Leave to PyAVSource whatever it could call truncated, at the least."""
        declared, duration = self._info.declared_frames, self._info.duration
        if declared is not None:
            short = len(self._raw) < declared
        else:
            short = duration is not None and end < duration - (0.1 if alone else 1.0) - 2 * step
        if short:
            raise NotForDali("the video ends before its declared end")


def _header_check(info: VideoInfo, *, gpu: bool) -> Callable[[memoryview], None]:
    """Make the function that refuses a packet of VP8 or VP9 by its headers."""
    readers = {"vp8": read_vp8, "vp9": read_vp9}
    read = readers.get(info.codec)
    size = (info.width, info.height)

    def check(data: memoryview) -> None:
        if read is None:
            return
        pictures = read(data)
        if pictures is None:
            raise NotForDali(f"a packet is no {info.codec} of 8 bits and 4:2:0")
        _check_pictures(pictures, size, gpu=gpu)

    return check


def _check_pictures(pictures: Iterable[CodedPicture], size: tuple[int, int], *, gpu: bool) -> None:
    shown = [picture.shown for picture in pictures]
    if any(picture.repeated for picture in pictures):
        raise NotForDali("a packet shows an earlier picture again")
    if any(picture.size not in (None, size) for picture in pictures):
        raise NotForDali("the picture size changes")
    if shown.count(True) != 1:
        raise NotForDali(f"a packet must show one picture, got {shown.count(True)}")
    if gpu and len(shown) > 1:
        # Each decoded picture takes a timestamp out of DALI's queue, and a hidden one has none in it.
        raise NotForDali("packets hold hidden pictures")
