"""What a container's packets tell of a video's quality without decoding it.

The numbers describe how many bits a pixel got and how coarse the quantiser was. They are one
definition for training and for scoring, and hardly depend on a clip's length: key frames and the
frames between them are measured apart, and the bits of the whole stream are those it would have
with a key frame every two seconds.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from av.codec.context import CodecContext, ThreadType
from av.error import FFmpegError

from vqafast.errors import InvalidArgument, NoFrames
from vqafast.video.formats import MAX_PIXELS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from vqafast.video.decoder import Decoder, VideoPacket

BITSTREAM_FEATURES: tuple[str, ...] = (
    "key_bits",
    "inter_bits",
    "inter_bits_p90",
    "stream_bits",
    "frame_rate",
    "coded_area",
    "display_scale",
    "codec_h264",
    "codec_hevc",
    "codec_av1",
    "codec_vp9",
    "codec_other",
    "intra_only",
    "qp_known",
    "qp",
    "qp_spread",
)
"""Names of the features, in order; `features` says what each is."""

CODECS = ("h264", "hevc", "av1", "vp9")
#: Key frames of which the quantiser is read; spread evenly over the video.
QP_PICTURES = 8
_KEY_INTERVAL = 2.0  # seconds
_RATES = (0.1, 1000.0)  # frames per second; beyond them timestamps are broken
# The largest quantiser by FFmpeg's AVVideoEncParamsType: VP9, H.264, and MPEG-1 to MPEG-4 Part 2,
# whose 31 steps are exported doubled.
_LARGEST_QP = {0: 255, 1: 51, 2: 62}


@dataclass(slots=True)
class PacketRecords:
    """The packets of one video stream; 17 bytes are kept of each.

    Attributes
    ----------
    codec : str
        FFmpeg's name of the codec.
    width, height : int
        Coded picture in pixels.
    rate : float or None
        Frames per second that the container declares.
    size, key, seconds : array
        Bytes, 1 for a key frame, and presentation time of each shown packet; NaN without a time.
    qp, qp_spread : float or None
        Mean quantiser and its standard deviation within a picture, both as a share of the codec's
        largest one, averaged over up to `QP_PICTURES` key frames; None where the decoder exports none.
    """

    codec: str
    width: int
    height: int
    rate: float | None
    size: array[int] = field(default_factory=lambda: array("L"))
    key: array[int] = field(default_factory=lambda: array("b"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    qp: float | None = None
    qp_spread: float | None = None

    def add(self, size: int, *, key: bool, seconds: float | None) -> None:
        """Take the next packet in decoding order."""
        self.size.append(size)
        self.key.append(int(key))
        self.seconds.append(math.nan if seconds is None else seconds)


def bitstream_features(path: str | os.PathLike[str], width: int, height: int) -> dict[str, float]:
    """Features of a file's first video stream, in the order of `BITSTREAM_FEATURES`.

    Parameters
    ----------
    path : path
        Any container that `vqafast.video` opens, with coded packets: not YUV4MPEG2.
    width, height : int
        Size in pixels at which the picture is scored: that of the display for a scaled one, else
        the coded size. Only their product matters.

    Raises
    ------
    VqafastError
        Those of opening the file; `NoFrames` if it holds no packet.
    """
    from vqafast.video.decoder import Decoder
    from vqafast.video.open import open_regular, open_video

    name = str(path)
    decoder = Decoder(open_video(open_regular(path), name, owns_file=True), 1, _ignore)
    try:
        return features(read_packets(decoder), width, height)
    finally:
        decoder.close()


def _ignore(_code: str, _message: str) -> None:
    return None


def read_packets(decoder: Decoder) -> PacketRecords:
    """Read all packets of a decoder that stands at the start; only some key frames are decoded."""
    stream, context = decoder.opened.stream, decoder.context
    rate = stream.guessed_rate or stream.average_rate
    records = PacketRecords(
        context.codec.canonical_name, context.width, context.height, float(rate) if rate else None
    )
    tick = float(stream.time_base or 0)
    some = _EvenlySpread(QP_PICTURES)
    for packet in decoder.packets():
        if packet.is_discard:
            continue
        seconds = None if packet.pts is None or tick <= 0 else packet.pts * tick
        records.add(packet.size, key=packet.is_keyframe, seconds=seconds)
        if packet.is_keyframe:
            some.add(packet)
    if not records.size:
        raise NoFrames(
            f"{decoder.opened.path}: the video stream must hold frames, got none", path=decoder.opened.path
        )
    found = _quantisers(context, some.kept)
    if found:
        records.qp, records.qp_spread = (float(v) for v in np.mean(found, axis=0))
    return records


class _EvenlySpread:
    """Keeps at most `limit` packets, evenly spread over all that were added."""

    def __init__(self, limit: int) -> None:
        self.kept: list[VideoPacket] = []
        self._limit = limit
        self._stride = 1
        self._seen = 0

    def add(self, packet: VideoPacket) -> None:
        if self._seen % self._stride == 0:
            if len(self.kept) == self._limit:
                self.kept = self.kept[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self.kept.append(packet)
        self._seen += 1


def _quantisers(like: VideoCodecContext, packets: Iterable[Packet[VideoStream]]) -> list[tuple[float, float]]:
    """Mean and spread of the quantiser of each key frame that decodes, as a share of the largest."""
    # A decoder of its own: what a damaged picture leaves behind must not reach the scored ones.
    context: VideoCodecContext = CodecContext.create(like.codec.name, "r")  # type: ignore[assignment]
    context.extradata = like.extradata
    context.thread_count = 1
    context.thread_type = ThreadType.SLICE
    context.options = {"export_side_data": "venc_params", "max_pixels": str(MAX_PIXELS)}
    found: list[tuple[float, float]] = []
    try:
        for packet in [*packets, None]:
            for frame in context.decode(packet):
                value = None if frame.is_corrupt else _quantiser(frame)
                if value is not None:
                    found.append(value)
    except FFmpegError:
        # Nothing is fed to a decoder after its error: see Decoder._send.
        pass
    return found


def _quantiser(frame: VideoFrame) -> tuple[float, float] | None:
    """AVVideoEncParams of one picture: the base quantiser plus each block's difference."""
    data: Any = frame.side_data.get("VIDEO_ENC_PARAMS")
    if data is None:
        return None
    largest = _LARGEST_QP.get(int(data.codec_type))
    if largest is None:
        return None
    base = data.qp
    if int(data.codec_type) == 1:
        # H.264 counts deeper samples from below 0, and FFmpeg adds the offset.
        base -= 6 * (max(c.bits for c in frame.format.components) - 8)
    blocks = np.zeros(1)
    if data.nb_blocks:
        raw = np.frombuffer(data, dtype=np.uint8)[data.blocks_offset :]
        table = raw[: data.nb_blocks * data.block_size].reshape(data.nb_blocks, data.block_size)
        # int32: src_x, src_y, w, h, delta_qp
        blocks = np.ascontiguousarray(table[:, 16:20]).view(np.int32)[:, 0].astype(np.float64)
    return float(base + blocks.mean()) / largest, float(blocks.std()) / largest


def features(records: PacketRecords, width: int, height: int) -> dict[str, float]:
    """Turn packets into numbers; a pure function of `records` and the size that is scored.

    Parameters
    ----------
    records : PacketRecords
        At least one packet.
    width, height : int
        See `bitstream_features`.

    Returns
    -------
    dict of str to float
        Keys are `BITSTREAM_FEATURES` in order, all values finite:

        - ``key_bits``: log2 of the median bits per coded pixel of key frames.
        - ``inter_bits``, ``inter_bits_p90``: log2 of the mean and of the 90th percentile of the bits
          per coded pixel of the other frames; of the key frames where there are no others.
        - ``stream_bits``: log2 of the bits per coded pixel of an average frame, if a key frame came
          every two seconds.
        - ``frame_rate``: log2 of frames per second, without gaps.
        - ``coded_area``: log2 of coded pixels.
        - ``display_scale``: log2 of the linear scale from coded to scored size.
        - ``codec_*``: 1 for the stream's codec, else 0.
        - ``intra_only``: 1 if every packet is a key frame.
        - ``qp_known``: 1 if the decoder exports quantisers, else 0, and then the next two are 0.
        - ``qp``, ``qp_spread``: see `PacketRecords`.
    """
    if min(width, height, records.width, records.height) < 1 or not records.size:
        raise InvalidArgument(
            "bitstream_features: sizes must be positive and packets must be there, got "
            f"{width}x{height} from {records.width}x{records.height}, {len(records.size)} packets"
        )
    area = records.width * records.height
    bits = np.frombuffer(records.size, dtype=np.dtype("L")).astype(np.float64) * 8 / area
    key = np.frombuffer(records.key, dtype=np.int8).astype(bool)
    if not key.any():
        # Streams with periodic refresh mark no key frame; the first picture still is one.
        key = np.arange(len(bits)) == 0
    alone = bool(key.all())
    inter = bits if alone else bits[~key]
    rate = _frame_rate(records)
    share = 1.0 if alone else min(1.0, 1.0 / (_KEY_INTERVAL * rate))
    average = share * bits[key].mean() + (1 - share) * inter.mean()
    codec = records.codec if records.codec in CODECS else "other"
    known = records.qp is not None and records.qp_spread is not None
    values = {
        "key_bits": math.log2(float(np.median(bits[key]))),
        "inter_bits": math.log2(float(inter.mean())),
        "inter_bits_p90": math.log2(float(np.percentile(inter, 90))),
        "stream_bits": math.log2(float(average)),
        "frame_rate": math.log2(rate),
        "coded_area": math.log2(area),
        "display_scale": 0.5 * math.log2(width * height / area),
        **{f"codec_{name}": float(codec == name) for name in (*CODECS, "other")},
        "intra_only": float(alone),
        "qp_known": float(known),
        "qp": records.qp or 0.0,
        "qp_spread": records.qp_spread or 0.0,
    }
    return {name: values[name] for name in BITSTREAM_FEATURES}


def _frame_rate(records: PacketRecords) -> float:
    """Frames per second from the typical interval, so that gaps do not count; else as declared."""
    times = np.frombuffer(records.seconds, dtype=np.float64)
    steps = np.diff(np.sort(times[np.isfinite(times)]))
    steps = steps[steps > 0]
    rate = records.rate or 25.0
    if len(steps):
        middle = float(np.median(steps))
        # The mean of the typical ones undoes the rounding of containers that count milliseconds.
        rate = 1.0 / float(steps[(steps > 0.5 * middle) & (steps < 1.5 * middle)].mean())
    return min(max(rate, _RATES[0]), _RATES[1])
