"""Frames of a file through PyAV, decoding no more than the selector needs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeAlias

import av
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vqafast.errors import CorruptVideo, NoFrames, Unsupported, UnsupportedCodec, VqafastError
from vqafast.video.bitstream import NOTHING, Coded, NalReader, read_av1, read_vp9
from vqafast.video.formats import MAX_PIXELS, display_size, refuse_hdr
from vqafast.video.open import Opened, check_size, open_regular, open_video, seekable
from vqafast.video.picture import PictureReader
from vqafast.video.reorder import REORDER_WINDOW, Planner, Step, Unit
from vqafast.video.sampling import Selector
from vqafast.video.source import Counts, Sampled, VideoInfo, Warning_
from vqafast.video.timeline import Assembler, Chooser, Clock

# A string: av.Packet takes its parameter in the stubs only.
VideoPacket: TypeAlias = "Packet[VideoStream]"

# Codecs in which the decoder's NONREF rule was tested to leave all other pictures unchanged.
_NONREF = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
# Decode order is presentation order, and one packet is one shown frame.
_IN_ORDER = frozenset({"vp9", "av1"})
_INTRA = frozenset(
    {"mjpeg", "prores", "dnxhd", "huffyuv", "ffvhuff", "rawvideo", "v210", "jpeg2000", "utvideo",
     "magicyuv", "cfhd", "hap", "png"}
)  # fmt: skip
_DEFAULT_RATE = Fraction(25)
_PROBE_PACKETS = 600
_PROBE_BYTES = 64 << 20
_DEMUX_RETRIES = 16


class PyAVSource:
    """Frames of a video file, in native planes and without copies.

    Parameters
    ----------
    source : path or seekable binary file
        A regular file, opened here and closed by `close`; or an open binary file, which stays
        open. FFmpeg sees nothing but its bytes: URLs, playlists and devices are refused.
    threads : int
        Decoder threads; 0 is one per CPU that this process may use.
    selective : bool
        Leave out what no sample needs. The samples are the same without it; it is a switch for
        tests and for measuring.

    Raises
    ------
    VqafastError
        One of the typed errors of `vqafast.errors`, with the path. Whatever can be known from the
        headers and the first frame is raised here, not in `frames`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        threads: int = 0,
        *,
        selective: bool = True,
    ) -> None:
        if isinstance(source, (str, os.PathLike)):
            path = os.fspath(source)
            file, owned = open_regular(source), True
        else:
            path = str(getattr(source, "name", "<file object>"))
            file, owned = seekable(source)
        self.warnings: list[Warning_] = []
        self.counts = Counts()
        self._threads = threads or len(os.sched_getaffinity(0))
        self._selective = selective
        self._used = False
        self._closed = False
        self._errors = 0
        self._opened: Opened = open_video(file, path, owns_file=owned)
        try:
            self._begin()
            self.info = self._probe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            # Frees the demuxer's generator before the container that it reads.
            self._packets: Iterator[VideoPacket] = iter(())
            self._ahead: deque[VideoPacket] = deque()
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> None:
        """Set up the decoder and the demuxer at the start of the file."""
        self._context: VideoCodecContext = self._opened.stream.codec_context
        self._context.thread_count = self._threads
        self._context.thread_type = ThreadType.AUTO
        self._context.options = {"max_pixels": str(MAX_PIXELS)}
        self._ahead = deque()
        self._packets = self._demux()

    def _demux(self) -> Iterator[VideoPacket]:
        """Packets of the stream; damage in the container is stepped over."""
        failures = 0
        while True:
            try:
                for packet in self._opened.container.demux(self._opened.stream):
                    # An empty packet would put the decoder into its final drain.
                    if packet.size:
                        failures = 0
                        yield packet
                return
            except FFmpegError as error:
                failures += 1
                self._warn("container_damaged", f"the container is damaged: {error.strerror}")
                if failures > _DEMUX_RETRIES:
                    return

    def _warn(self, code: str, message: str) -> None:
        if all(w.code != code for w in self.warnings):
            self.warnings.append(Warning_(code, message))

    def _decode(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Decode, stepping over packets that the decoder cannot read."""
        try:
            return self._context.decode(packet)
        except BlockingIOError:
            # The decoder reported an error and kept a packet: empty it, then go on.
            frames = self._drain()
            return frames + self._decode(packet)
        except FFmpegError:
            self._errors += 1
            return []

    def _drain(self) -> list[VideoFrame]:
        frames = self._decode(None)
        self._context.flush_buffers()
        return frames

    def _probe(self) -> VideoInfo:
        """Decode the first frame, which knows more than the headers; packets are kept."""
        path = self._opened.path
        frame: VideoFrame | None = None
        seen = held = 0
        try:
            for packet in self._packets:
                seen += 1
                held += packet.size
                self._ahead.append(packet)
                while len(self._ahead) > _PROBE_PACKETS or held > _PROBE_BYTES:
                    held -= self._ahead.popleft().size
                    self.counts.lost += 1
                frames = self._decode(packet)
                if seen == 1 and not frames:
                    # A key frame alone comes out at once; the delay of frame threads is skipped.
                    frames = self._drain()
                if frames:
                    frame = frames[0]
                    break
            else:
                frame = next(iter(self._decode(None)), None)
        except FFmpegError as error:
            raise UnsupportedCodec(f"{path}: the decoder failed: {error}", path=path) from error
        if frame is None:
            codec = self._context.name
            if seen == 0:
                raise NoFrames(f"{path}: the video stream must hold frames, got none", path=path)
            raise CorruptVideo(
                f"{path}: at least one frame must decode, got none from {seen} packets of {codec}",
                path=path,
            )
        self._context.flush_buffers()
        self._errors = 0
        return self._describe(frame)

    def _describe(self, frame: VideoFrame) -> VideoInfo:
        opened, stream = self._opened, self._opened.stream
        check_size(frame.width, frame.height, opened.path)
        refuse_hdr(self._context.color_trc, _codec_tag(stream), opened.path)
        for code, message in opened.remarks:
            self._warn(code, message)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if not Fraction(1, 16) <= aspect <= 16:
            self._warn("aspect_ignored", f"the sample aspect ratio {aspect} is taken as 1")
            aspect = Fraction(1)
        self._pictures = PictureReader(opened.path, _codec_tag(stream), aspect, self.warnings)
        first = self._pictures.read(frame, Chooser(_Nothing(), 1, Clock(0.0, 0.0)).admit(0))
        wide, high = display_size(frame.width, frame.height, aspect, first.rotation)
        tick, duration = stream.time_base, None
        if stream.duration and tick:
            duration = float(stream.duration * tick)
        elif opened.container.duration:
            duration = opened.container.duration / av.time_base
        kind = "frame" if self._context.thread_type & ThreadType.FRAME else "slice"
        version = getattr(av, "ffmpeg_version_info", "")
        return VideoInfo(
            path=opened.path,
            container=opened.container.format.name,
            codec=self._context.codec.canonical_name,
            width=frame.width,
            height=frame.height,
            display_width=wide,
            display_height=high,
            rotation=first.rotation,
            sample_aspect_ratio=aspect,
            layout=first.layout,
            color=first.color,
            frame_rate=stream.guessed_rate or stream.average_rate,
            duration=duration,
            declared_frames=stream.frames or None,
            decoder=f"{self._context.name} (FFmpeg {version}, {kind} threads {self._threads})",
        )

    def frames(self, selector: Selector) -> Iterator[Sampled]:
        """Samples chosen by `selector`, in order of time; a source can be read once.

        Raises
        ------
        NoFrames, CorruptVideo
            When the stream ends without any frame.
        """
        if self._used or self._closed:
            raise Unsupported("a source can be read once: open another one")
        self._used = True
        length = self._count_frames() if selector.needs_length else None
        tick = float(self._opened.stream.time_base or 0)
        step = float(1 / (self.info.frame_rate or _DEFAULT_RATE))
        clock = Clock(tick, step)
        chooser = Chooser(selector.begin(tick=tick, length=length), selector.burst, clock)
        run = _Run(self, chooser, Assembler(selector.burst, self.counts))
        try:
            yield from run.samples()
        finally:
            run.count()
        run.conclude()

    def _count_frames(self) -> int:
        """Count shown packets in a pass over the container, then start over."""
        shown = sum(not p.is_discard for p in self._ahead)
        shown += sum(not p.is_discard for p in self._packets)
        self._packets = iter(())
        self._opened.reopen()
        self._begin()
        return shown


def _codec_tag(stream: VideoStream) -> str:
    try:
        return stream.codec_tag
    except FFmpegError:
        return ""


class _Nothing:
    def start(self, index: int, pts: float) -> int | None:
        return None


class _Run:
    """One pass of a source over its packets."""

    def __init__(self, source: PyAVSource, chooser: Chooser, assembler: Assembler) -> None:
        self._source = source
        self._context = source._context
        self._chooser = chooser
        self._assembler = assembler
        self._lost_wanted = 0
        self._packets = 0
        self._read = _header_reader(self._context)
        self._parameters = b""
        self._planner: Planner[VideoPacket] | None = None
        self._annotated: Any = None

    def _plan(self, first: VideoPacket) -> Planner[VideoPacket]:
        source, context = self._source, self._context
        codec, container = context.codec.canonical_name, source.info.container
        intra = codec in _INTRA
        known = intra or codec in _NONREF or codec in _IN_ORDER
        # Both fields of a picture may come as packets of their own.
        paired = codec in ("h264", "hevc", "mpeg1video", "mpeg2video") and context.field_order > 1
        # AVI stores decode order only, and packs two pictures into one packet.
        packed = container == "avi" and not intra
        ordered = source._selective and known and not paired and not packed and first.is_keyframe
        return Planner(
            self._chooser,
            window=0 if intra or codec in _IN_ORDER else REORDER_WINDOW,
            skip_nonref=codec in _NONREF,
            intra_only=intra,
            ordered=ordered,
        )

    def _units(self) -> Iterator[Unit[VideoPacket]]:
        source = self._source
        while source._ahead or source._packets:
            if source._ahead:
                packet = source._ahead.popleft()
            else:
                following = next(source._packets, None)
                if following is None:
                    return
                packet = following
            self._packets += 1
            coded = self._read(memoryview(packet))
            changed = bool(coded.parameters) and coded.parameters != self._parameters
            if coded.parameters:
                self._parameters = coded.parameters
            yield Unit(
                packet,
                packet.pts,
                packet.size,
                coded,
                hidden=packet.is_discard,
                must_feed=changed or packet.has_sidedata("new_extradata"),
            )

    def samples(self) -> Iterator[Sampled]:
        planner: Planner[VideoPacket] | None = None
        for unit in self._units():
            if planner is None:
                planner = self._planner = self._plan(unit.item)
            for step in planner.push(unit):
                yield from self._send(step)
        if planner is not None:
            for step in planner.finish():
                yield from self._send(step)
            self._context.skip_frame = "DEFAULT"
            yield from self._take(self._source._decode(None))
            while planner.entries:
                yield from self._pass_over()
        yield from self._assembler.finish()

    def _send(self, step: Step[VideoPacket]) -> Iterator[Sampled]:
        if step.drain:
            yield from self._take(self._source._drain())
        self._context.skip_frame = "NONREF" if step.nonref else "DEFAULT"
        yield from self._take(self._source._decode(step.item))

    def _take(self, frames: list[VideoFrame]) -> Iterator[Sampled]:
        planner, counts = self._planner, self._source.counts
        assert planner is not None
        for picture in frames:
            counts.decoded += 1
            counts.corrupt += picture.is_corrupt
            raw, entries = picture.pts, planner.entries
            while entries and raw is not None and (entries[0].raw or 0) < raw:
                yield from self._pass_over()
            if entries and entries[0].raw == raw:
                entry = entries.popleft()
            elif not planner.ordered:
                entry = self._chooser.admit(raw)
            else:
                continue
            if entry.wanted:
                frame = None
                if not picture.is_corrupt:
                    frame = self._source._pictures.read(picture, entry)
                yield from self._assembler.add(entry, frame)

    def _pass_over(self) -> Iterator[Sampled]:
        """The first entry will not come out any more."""
        assert self._planner is not None
        entry = self._planner.entries.popleft()
        if entry.wanted:
            self._lost_wanted += 1
            yield from self._assembler.add(entry, None)

    def count(self) -> None:
        counts = self._source.counts
        counts.lost += max(self._source._errors, self._lost_wanted)
        if self._planner is not None and self._planner.ordered:
            counts.skipped = max(0, self._chooser.count - counts.decoded - counts.lost)

    def conclude(self) -> None:
        """Say what the whole pass has shown."""
        source, counts, clock = self._source, self._source.counts, self._chooser.clock
        path = source.info.path
        if counts.decoded == 0:
            error: VqafastError = NoFrames(f"{path}: no frame was decoded", path=path)
            raise error
        if counts.corrupt:
            source._warn("corrupt_frames", f"{counts.corrupt} frames are damaged")
        if counts.lost:
            source._warn("lost_frames", f"{counts.lost} frames could not be decoded")
        if counts.dropped_samples:
            source._warn(
                "dropped_samples",
                f"{counts.dropped_samples} samples were dropped because a frame of them was damaged or lost",
            )
        if clock.missing:
            source._warn(
                "missing_timestamps",
                f"{clock.missing} frames have no timestamp; they are taken to be {clock.step:.6g} s apart",
            )
        if clock.jumps:
            source._warn("timestamp_jumps", f"the timestamps go back {clock.jumps} times")
        self._note_truncation()

    def _note_truncation(self) -> None:
        source, info, clock = self._source, self._source.info, self._chooser.clock
        declared, end = info.declared_frames, clock.last + clock.step
        if declared is not None and self._packets < declared:
            source._warn(
                "truncated",
                f"the container declares {declared} frames, and {self._packets} are there",
            )
        elif declared is None and info.duration is not None and self._planner is not None:
            slack = max(1.0, 0.05 * info.duration) + 2 * clock.step
            if end < info.duration - slack:
                source._warn(
                    "truncated",
                    f"the container declares {info.duration:.3f} s, and the video ends at {end:.3f} s",
                )


def _header_reader(context: VideoCodecContext) -> Any:
    codec = context.codec.canonical_name
    if codec in ("h264", "hevc"):
        return NalReader(codec, context.extradata).read
    if codec == "vp9":
        return read_vp9
    if codec == "av1":
        return read_av1
    if codec in _NONREF:
        return lambda data: Coded(False, True, b"")
    return lambda data: NOTHING
