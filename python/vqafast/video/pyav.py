"""Frames of a file through PyAV, decoding no more than the selector needs."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import av
from av.codec.context import ThreadType
from av.error import FFmpegError

from vqafast.errors import CorruptVideo, Unsupported, UnsupportedCodec
from vqafast.video.bitstream_stats import read_packets
from vqafast.video.decoder import Decoder
from vqafast.video.formats import display_size, refuse_hdr
from vqafast.video.nvdec import NvdecFailed, on_device, open_on_gpu, picture_obstacle
from vqafast.video.open import check_size, open_regular, seekable
from vqafast.video.picture import PictureReader
from vqafast.video.run import Run
from vqafast.video.source import Closing, Counts, Marks, Sampled, VideoInfo, Warning_
from vqafast.video.timeline import Assembler, Chooser, Clock, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from vqafast.video.bitstream_stats import PacketRecords
    from vqafast.video.sampling import Selector

_DEFAULT_RATE = Fraction(25)


class PyAVSource(Closing):
    """Frames of a video file, in native planes and without copies.

    Parameters
    ----------
    source : path or binary file
        A regular file, opened here and closed by `close`; or an open binary file, which stays
        open (a pipe is spooled to a temporary file). FFmpeg sees nothing but its bytes: URLs,
        playlists and devices are refused.
    threads : int
        Decoder threads; 0 is one per CPU that this process may use.
    path : str, optional
        Name of a file object in messages and in `info`.
    owns_file : bool
        Close a given file object too.
    gpu : int, optional
        Index of the GPU whose NVDEC decodes, and keeps the planes in its memory. Where it cannot, the CPU
        does, and a warning ``decoder_fallback`` says why.
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
        path: str | None = None,
        owns_file: bool = False,
        gpu: int | None = None,
        selective: bool = True,
    ) -> None:
        if isinstance(source, (str, os.PathLike)):
            path = os.fspath(source)
            file, owned = open_regular(source), True
        else:
            path = path or str(getattr(source, "name", "<file object>"))
            file, spooled = seekable(source)
            owned = owns_file or spooled
        self.warnings: list[Warning_] = []
        self.counts = Counts()
        self.marks = Marks(keys=[])
        self._threads = threads or _usable_cpus()
        self._selective = selective
        self._used = self._closed = False
        self._length: int | None = None
        opened, obstacle = open_on_gpu(file, path, owns_file=owned, gpu=gpu)
        tag = _codec_tag(opened.stream)
        self._pictures = PictureReader(path, tag, opened.aspect, self.warnings)
        for code, message in opened.remarks:
            self._pictures.warn(code, message)
        self._decoder = Decoder(opened, self._threads, self._pictures.warn)
        try:
            refuse_hdr(self._decoder.context.color_trc, tag, path)
            if gpu is None or obstacle is not None:
                first = self._decoder.first_frame()
            else:
                first, obstacle = self._first_of_nvdec()
            if obstacle is not None:
                self._pictures.warn("decoder_fallback", f"decoded on the CPU: {obstacle}")
            self.info = self._describe(first)
        except BaseException:
            self.close()
            raise

    def _first_of_nvdec(self) -> tuple[VideoFrame, str | None]:
        """First frame, of the CPU where NVDEC cannot be used, and why it cannot."""
        decoder = self._decoder
        obstacle: str | None
        try:
            first = decoder.first_frame()
            obstacle = picture_obstacle(decoder.context, first)
        except (CorruptVideo, UnsupportedCodec, NvdecFailed) as error:
            if not decoder.hardware:
                raise
            # The CPU says whether the file is at fault.
            obstacle = f"NVDEC fails at the first picture ({error})"
        if obstacle is not None and decoder.hardware:
            first = self._leave_card()
        return first, obstacle

    def _leave_card(self) -> VideoFrame:
        """Start over on the CPU, and give its first frame."""
        self._pictures.restart()
        self._decoder.opened.hwaccel = None
        self._decoder.restart()
        return self._decoder.first_frame()

    def close(self) -> None:
        """Release the decoder and the file; frames already handed out stay valid."""
        if not self._closed:
            self._closed = True
            self._decoder.close()

    def cancel(self) -> None:
        """Let `frames`, in another thread, end before its next sample."""
        self._decoder.cancelled = True

    def _describe(self, frame: VideoFrame) -> VideoInfo:
        opened, context = self._decoder.opened, self._decoder.context
        stream, aspect = opened.stream, opened.aspect
        check_size(frame.width, frame.height, opened.path)
        first = self._pictures.read(frame, Entry(0, 0, 0.0, None, True))
        wide, high = display_size(frame.width, frame.height, aspect, first.rotation)
        tick, duration = stream.time_base, None
        if stream.duration and tick:
            duration = float(stream.duration * tick)
        elif opened.container.duration:
            duration = opened.container.duration / av.time_base
        version = getattr(av, "ffmpeg_version_info", "")
        if on_device(frame):
            how = f"NVDEC, FFmpeg {version}"
        else:
            kind = "frame" if context.thread_type & ThreadType.FRAME else "slice"
            how = f"FFmpeg {version}, {kind} threads {self._decoder.threads}"
        return VideoInfo(
            path=opened.path,
            container=opened.container.format.name,
            codec=context.codec.canonical_name,
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
            decoder=f"{context.name} ({how})",
        )

    def packet_records(self) -> PacketRecords:
        """Read every packet of the file once, before `frames`, for the statistics of its stream."""
        if self._used or self._closed:
            raise Unsupported("packets are read before frames: open another source")
        # What was read for the first frame would count as unread packets here.
        self._restart()
        try:
            records = read_packets(self._decoder)
        finally:
            self._restart()
        self._length = len(records.size)
        return records

    def _restart(self) -> None:
        try:
            self._decoder.restart()
        except NvdecFailed as error:
            self._pictures.correct("decoder_fallback", f"decoded on the CPU: {error}")
            self.info = self._describe(self._leave_card())

    def frames(self, selector: Selector) -> Iterator[Sampled]:
        """Yield the samples chosen by `selector`, in order of time; a source can be read once.

        Raises
        ------
        NoFrames, CorruptVideo
            When the stream ends without any frame.
        CudaError
            When this process cannot use the GPU any more.
        """
        if self._used or self._closed:
            raise Unsupported("a source can be read once: open another one")
        self._used = True
        last = -1
        failed = ""
        try:
            for sampled in self._pass(selector):
                last = sampled.k
                yield sampled
                # Not while the next one is decoded: a sample may be many pictures.
                del sampled
        except NvdecFailed as error:
            failed = str(error)
        # Outside of the handler, because the traceback would keep pictures, and so memory of the card.
        if failed:
            yield from self._rest(selector, last, failed)

    def _rest(self, selector: Selector, last: int, reason: str) -> Iterator[Sampled]:
        """Samples behind number `last` from the CPU, with the counts and marks of the whole file."""
        there = "" if last < 0 else " from there on"
        self._pictures.correct("decoder_fallback", f"decoded on the CPU{there}: {reason}")
        self.counts.restart()
        self.marks.restart()
        info = self._describe(self._leave_card())
        # What NVDEC gave has its layout.
        self.info = (
            info if last < 0 else replace(self.info, decoder=f"{self.info.decoder}, then {info.decoder}")
        )
        for sampled in self._pass(selector):
            if sampled.k > last:
                yield sampled
            del sampled

    def _pass(self, selector: Selector) -> Iterator[Sampled]:
        decoder = self._decoder
        length = None
        if selector.needs_length:
            # Each pass over the container opens it again.
            length = decoder.count_frames() if self._length is None else self._length
        tick = float(decoder.opened.stream.time_base or 0)
        step = float(1 / (self.info.frame_rate or _DEFAULT_RATE))
        chooser = Chooser(
            selector.begin(length=length), selector.burst, Clock(tick, step), selector.stride, self.marks.keys
        )
        run = Run(
            decoder,
            self._pictures,
            self.info,
            chooser,
            Assembler(selector.burst, self.counts, selector.stride),
            counts=self.counts,
            selective=self._selective,
            shots=self.marks.shots,
        )
        try:
            yield from run.samples()
        finally:
            run.count()
            self.marks.end = chooser.clock.last + step
        if not decoder.cancelled:
            run.conclude()


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _codec_tag(stream: VideoStream) -> str:
    try:
        return stream.codec_tag
    except FFmpegError:
        return ""
