"""DALI as a decoder for many files: it decodes the frames that a selector chooses, several files at once.

A file that DALI cannot be trusted with, or at which it fails, is decoded by PyAV on the CPU, and its source
says so. The samples are the same either way.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from vqafast import video
from vqafast.errors import InvalidArgument, Unsupported, VqafastError
from vqafast.video.bitstream_stats import read_packets
from vqafast.video.dali_container import seeks_land
from vqafast.video.dali_pipeline import Backend, DaliFailed, RangeReader
from vqafast.video.dali_plan import CPU_CODECS, GPU_CODECS, NotForDali, Timeline, check_headers, read_timeline
from vqafast.video.decoder import Decoder
from vqafast.video.open import open_regular, open_video
from vqafast.video.pyav import PyAVSource
from vqafast.video.source import Closing, Counts, Marks, Sampled, VideoInfo, Warning_, plain_frame
from vqafast.video.timeline import Assembler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vqafast.video.bitstream_stats import PacketRecords
    from vqafast.video.sampling import Selector
    from vqafast.video.source import FrameSource

    Input = str | os.PathLike[str] | BinaryIO


class DaliDecoder:
    """Opens files for DALI on one device.

    Parameters
    ----------
    device : str
        "cuda" or "cuda:N", where NVDEC decodes and the planes are torch tensors. "cpu" is for trying the
        same code without a GPU: it decodes VP8 and VP9 only, and slower than `PyAVSource`.
    batch : int
        Files of `sources` that are decoded at once.
    threads : int
        Decoder threads of `PyAVSource`, which reads every file's headers and decodes what DALI does not; 0
        is one per CPU that this process may use.

    Raises
    ------
    InvalidArgument
    EngineUnavailable
        When DALI or the device cannot be used here; the message says why.

    Notes
    -----
    DALI does not say which pictures are damaged: a file whose container shows damage is decoded by PyAV,
    and damage inside of pictures that NVDEC conceals is not seen.

    By calculation each file under way holds about 0.5 GB of the device's memory at 4K and 1.4 GB at 8K,
    whatever its length: DALI keeps eight whole pictures besides those on their way. It also keeps up to 100
    idle NVDEC decoders for each GPU; each file of cropped pictures (1080p of H.264 is cropped) adds one. Its
    index of a file takes 16 to 18 bytes a frame of the process's memory, and stays.

    DALI and its FFmpeg write to standard error by themselves.
    """

    def __init__(self, *, device: str = "cuda:0", batch: int = 8, threads: int = 0) -> None:
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InvalidArgument(f"batch: must be a whole number of at least 1, got {batch!r}")
        self._backend = Backend.load(device)
        self._batch = batch
        self._threads = threads

    def open(self, source: Input, selector: Selector | None = None) -> FrameSource:
        """Open one file, and begin to decode it when the selector is known.

        Parameters
        ----------
        source : path or binary file
            As for `vqafast.video.open_source`; DALI decodes paths only.
        selector : Selector, optional
            That which `frames` will be given.

        Returns
        -------
        FrameSource
            When PyAV decodes it, a warning ``decoder_fallback`` in it says why.

        Raises
        ------
        VqafastError
            As `vqafast.video.open_source`.
        """
        plain = video.open_source(source, self._threads)
        if not isinstance(plain, PyAVSource):
            return plain  # YUV4MPEG2 needs no decoder
        file: BinaryIO | None = None
        try:
            if not isinstance(source, (str, os.PathLike)):
                raise NotForDali("the input is a file object, no path")
            gpu = self._backend.gpu is not None
            check_headers(plain, GPU_CODECS if gpu else CPU_CODECS)
            file = open_regular(source)
            timeline = read_timeline(file, plain.info, gpu=gpu)
            opened = DaliSource(self._backend, file, timeline, plain, self._threads)
            if selector is not None:
                opened.begin(selector)
        except (NotForDali, DaliFailed) as reason:
            if file is not None:
                file.close()
            plain.warnings.append(_fallback(self._backend, reason))
            return plain
        except BaseException:
            if file is not None:
                file.close()
            plain.close()
            raise
        plain.close()
        return opened

    def sources(
        self, paths: Iterable[Input], selector: Selector
    ) -> Iterator[tuple[Input, FrameSource | VqafastError]]:
        """Open files one after the other, and decode up to `batch` of them at once.

        Parameters
        ----------
        paths : iterable
            Read as the sources are taken, so it may be endless.
        selector : Selector
            That which the `frames` of every source will be given.

        Yields
        ------
        path, source
            In the order of `paths`; instead of a source, the error of a file that cannot be opened. The
            caller closes each source. Those behind it are being decoded meanwhile.
        """
        ahead: deque[tuple[Input, FrameSource | VqafastError]] = deque()
        try:
            for path in paths:
                ahead.append((path, self._attempt(path, selector)))
                if len(ahead) == self._batch:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for _, source in ahead:
                if not isinstance(source, VqafastError):
                    source.close()

    def _attempt(self, path: Input, selector: Selector) -> FrameSource | VqafastError:
        try:
            return self.open(path, selector)
        except VqafastError as error:
            return error


class DaliSource(Closing):
    """Frames of one file through DALI, in planes of 4:2:0 like the file's own.

    Luma is that of the file, and chroma at most a level of 255 from it. When DALI fails on the way, PyAV
    gives the samples that are missing, on the CPU.

    Parameters
    ----------
    file : binary file
        Open and regular; it belongs to the source from here on.
    plain : PyAVSource
        The same file, open: its headers and warnings are taken over.
    threads : int
        Of PyAV, should it come to that.
    """

    def __init__(
        self, backend: Backend, file: BinaryIO, timeline: Timeline, plain: PyAVSource, threads: int
    ) -> None:
        how = "CPU" if backend.gpu is None else "NVDEC"
        self.info: VideoInfo = replace(
            plain.info, decoder=f"{plain.info.codec} (DALI {backend.version}, {how})"
        )
        self.warnings: list[Warning_] = list(plain.warnings)
        self.counts = Counts()
        self.marks = Marks()
        self._backend = backend
        self._file = file
        self._timeline = timeline
        self._threads = threads
        self._reader: RangeReader | None = None
        self._begun: Selector | None = None
        self._plain: PyAVSource | None = None
        self._used = self._closed = self._cancelled = False

    def cancel(self) -> None:
        """Let `frames`, in another thread, end before its next sample where PyAV reads."""
        self._cancelled = True
        if self._plain is not None:
            self._plain.cancel()

    def close(self) -> None:
        """Release the decoder and the file; frames already handed out stay valid."""
        if not self._closed:
            self._closed = True
            self._stop()
            self._file.close()

    def _stop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def begin(self, selector: Selector) -> None:
        """Begin to decode what `selector` chooses.

        Raises
        ------
        DaliFailed
            At once for a file that DALI cannot open, else later, in `frames`, which takes care of it.
        """
        self._stop()
        self._begun = selector
        ranges = self._timeline.ranges(selector)
        keys = self._timeline.sought(ranges)
        if len(keys) and not seeks_land(self._file, self.info.container, keys):
            ranges = [(0, ranges[-1][1])]
        if ranges:
            self._reader = RangeReader(self._backend, self._file, self.info, self._timeline, ranges)

    def packet_records(self) -> PacketRecords:
        """Read every packet of the file once, before `frames`, for the statistics of its stream."""
        if self._used or self._closed:
            raise Unsupported("packets are read before frames: open another source")
        self._file.seek(0)
        opened = open_video(self._file, self.info.path, owns_file=False)
        decoder = Decoder(opened, 1, lambda _code, _message: None)
        try:
            return read_packets(decoder)
        finally:
            decoder.close()

    def frames(self, selector: Selector) -> Iterator[Sampled]:
        """Yield the samples chosen by `selector`, in order of time; a source can be read once."""
        if self._used or self._closed:
            raise Unsupported("a source can be read once: open another one")
        self._used = True
        last = -1
        failed: str | None = None
        try:
            if selector != self._begun:
                self.begin(selector)
            for sampled in self._decoded(selector):
                last = sampled.k
                yield sampled
                # Not while the next one is decoded: a sample may be many pictures.
                del sampled
        except DaliFailed as reason:
            failed = str(reason)
        # Outside of the handler, because the traceback would keep the pipeline and its memory.
        if failed is not None:
            self.warnings.append(_fallback(self._backend, failed, midway=last >= 0))
            self._stop()
            yield from self._rest(selector, last)

    def _decoded(self, selector: Selector) -> Iterator[Sampled]:
        counts = self.counts
        chooser = self._timeline.chooser(selector)
        assembler = Assembler(selector.burst, counts, selector.stride)
        entries = (chooser.admit(int(raw)) for raw in self._timeline.ticks)
        try:
            for number, planes in self._reader.frames() if self._reader is not None else ():
                counts.decoded += 1
                entry = next(entry for entry in entries if entry.index == number)
                if entry.wanted:
                    frame = plain_frame(self.info, planes, entry.seconds, number)
                    yield from assembler.add(entry, frame)
            yield from assembler.finish()
            for _ in entries:
                pass  # what is behind the last sample belongs to the clock's account too
        finally:
            counts.skipped = len(self._timeline.ticks) - counts.decoded
        gaps, absent = chooser.clock.gaps()
        if gaps:
            message = f"about {absent} frames are missing in {gaps} gaps of a regular video"
            self.warnings.append(Warning_("timestamp_gaps", message))

    def _rest(self, selector: Selector, last: int) -> Iterator[Sampled]:
        """Samples behind number `last`, from PyAV, whose counts and warnings are those of the whole file."""
        self._file.seek(0)
        with PyAVSource(self._file, self._threads, path=self.info.path) as plain:
            self.counts = plain.counts
            then = plain.info.decoder
            self.info = replace(self.info, decoder=then if last < 0 else f"{self.info.decoder}, then {then}")
            self._plain = plain
            if self._cancelled:
                plain.cancel()
            try:
                for sampled in plain.frames(selector):
                    if sampled.k > last:
                        yield sampled
                    del sampled
            finally:
                self._plain = None
                said = {warning.code for warning in self.warnings}
                self.warnings += [warning for warning in plain.warnings if warning.code not in said]


def _fallback(backend: Backend, reason: Exception | str, *, midway: bool = False) -> Warning_:
    rest = " from there on" if midway else ""
    return Warning_("decoder_fallback", f"DALI {backend.version}: {reason}; decoded on the CPU{rest}")
