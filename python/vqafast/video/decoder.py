"""Packets and pictures of one stream: PyAV's demuxer and decoder, made to outlive damage."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from av.codec.context import ThreadType
from av.error import ExternalError, FFmpegError

from vqafast.errors import (
    CorruptVideo,
    CudaError,
    NoFrames,
    Unsupported,
    UnsupportedCodec,
    VqafastError,
)
from vqafast.video.formats import MAX_PIXELS
from vqafast.video.nvdec import NvdecFailed, on_device
from vqafast.video.vpx import read_vp8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from vqafast.video.nvdec import Card
    from vqafast.video.open import Opened

# A string: av.Packet takes its parameter in the stubs only.
VideoPacket: TypeAlias = "Packet[VideoStream]"
# Width and height.
_Size: TypeAlias = tuple[int, int]

_PROBE_PACKETS = 600
_PROBE_BYTES = 64 << 20
_DEMUX_RETRIES = 16


class Decoder:
    """Reads an opened file from its start.

    Parameters
    ----------
    opened : Opened
        Belongs to the decoder from here on.
    threads : int
        Decoder threads; a hardware decoder has one.
    warn : callable
        Takes a code and a message.

    Attributes
    ----------
    threads : int
        Decoder threads in use.
    errors : int
        Packets that the decoder refused.
    unread : int
        Packets given up at the start, because nothing decodes for too long.
    cancelled : bool
        Set by another thread, it lets `packets` end at the next one.
    """

    def __init__(self, opened: Opened, threads: int, warn: Callable[[str, str], None]) -> None:
        self._opened: Opened | None = opened
        self._path = opened.path
        self.errors = 0
        self.unread = 0
        self.cancelled = False
        self._threads = threads
        self._warn = warn
        self._begin()

    @property
    def opened(self) -> Opened:
        """The file; `Unsupported` once the decoder is closed."""
        if self._opened is None:
            raise Unsupported(f"{self._path}: nothing can be read after close", path=self._path)
        return self._opened

    @property
    def context(self) -> VideoCodecContext:
        """FFmpeg's decoder; nothing may keep it, or `close` does not end it."""
        return self.opened.stream.codec_context

    @property
    def hardware(self) -> bool:
        """Whether a card was given to the decoder, which goes on without it where the card refuses."""
        return self.context.is_hwaccel

    def _begin(self) -> None:
        context = self.context
        # A hardware decoder works by itself; each thread would take pictures of the card's memory.
        self.threads = 1 if self.hardware else self._threads
        context.thread_count = self.threads
        context.thread_type = ThreadType.AUTO
        context.options = {"max_pixels": str(MAX_PIXELS)}
        self._ahead: deque[VideoPacket] = deque()
        self._early: list[VideoFrame] = []
        # By identity: a packet stays alive while it is here.
        self._sent: dict[int, VideoPacket] = {}
        self._ended = self._wait_for_key = False
        # Of the stream, as it is now and as it was before it last changed: shown, and coded.
        self._sizes: list[tuple[_Size, _Size]] = []
        self._vp8_size: _Size | None = None
        self._demuxed = self._demux()

    def close(self) -> None:
        """End the decoder and close the file; frames that were given out stay valid."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        # The demuxer's generator goes before the container that it reads. Packets hold the decoder, and a
        # hardware decoder holds memory of the card.
        self._demuxed = iter(())
        self._ahead.clear()
        self._early = []
        self._sent.clear()
        opened.close()

    def _demux(self) -> Iterator[VideoPacket]:
        """Packets of the stream; damage in the container is stepped over."""
        failures = 0
        while True:
            try:
                for packet in self.opened.container.demux(self.opened.stream):
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
            except IndexError:
                # PyAV at the end of the file, when streams have appeared that were not there at
                # the start.
                return

    def packets(self) -> Iterator[VideoPacket]:
        """Packets from the start, those of the probe included; a packet cut off by the end is not."""
        last: VideoPacket | None = None
        while not self.cancelled:
            packet = self._ahead.popleft() if self._ahead else next(self._demuxed, None)
            if last is not None:
                if packet is None and last.is_corrupt:
                    # Its error would come in the decoder's last drain, where PyAV loses the good
                    # frames behind it.
                    self.unread += 1
                else:
                    yield last
            if packet is None:
                return
            last = packet

    def decode(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Decode, stepping over packets that the decoder cannot read.

        Packets that the search for the first frame has sent already are not sent again; their
        frames come with the first packet after them.
        """
        if packet is not None and self._sent.pop(id(packet), None) is not None:
            return []
        self._sent.clear()
        early, self._early = self._early, []
        frames = early + self._send(packet)
        if self.hardware:
            self._refuse_other_sizes(frames)
            if not all(map(on_device, frames)):
                self._warn(
                    "decoder_fallback",
                    "decoded on the CPU in part: the stream changes to what NVDEC does not decode, or the "
                    "GPU has no memory left for it",
                )
        return frames

    def _send(self, packet: VideoPacket | None) -> list[VideoFrame]:
        if self._wait_for_key and packet is not None:
            if not packet.is_keyframe:
                self.errors += 1
                return []
            self._wait_for_key = False
        if self._ended:
            return []
        if packet is not None and self.hardware and self.context.codec.canonical_name == "vp8":
            self._refuse_another_vp8_size(packet)
        try:
            return self.context.decode(packet)
        except BlockingIOError:
            # The decoder reported an error and kept a packet. Empty it and start it again, at a
            # key frame: FFmpeg 8.1's VP9 decoder crashes when another frame follows a flush that
            # follows an error. For the same reason nothing else here ever flushes.
            frames = self._send(None)
            self.context.flush_buffers()
            self._wait_for_key = True
            return frames + self._send(packet)
        except FFmpegError as error:
            self._refuse_failed_card(error)
            self.errors += 1
            return []

    def _refuse_another_vp8_size(self, packet: VideoPacket) -> None:
        """Raise before FFmpeg 8.1 gives a picture of another size to a decoder of the size before."""
        pictures = read_vp8(memoryview(packet))
        size = pictures[0].size if pictures else None
        if size is None:
            return
        before, self._vp8_size = self._vp8_size, size
        if before not in (None, size):
            raise NvdecFailed(f"the stream changes to {size[0]}x{size[1]} pixels, which VP8 cannot on NVDEC")

    def _refuse_other_sizes(self, frames: list[VideoFrame]) -> None:
        """Raise where the pictures may not be what the stream shows: see `picture_obstacle`.

        A stream that changes gives pictures of its old size for a while: those that are put in order.
        """
        context = self.context
        now = (context.width, context.height), (context.coded_width, context.coded_height)
        if self._sizes[-1:] != [now]:
            before = self._sizes[-1:]
            self._sizes = [*before, now]
            (width, height), coded = now
            # Where nothing but the crop is another one, it may be one at the left or the top.
            if before and (width % 2 or height % 2 or before[0][1] == coded):
                raise NvdecFailed(f"the stream changes to {width}x{height} pixels by odd sides or a crop")
        shown = [size for size, _ in self._sizes]
        for frame in frames:
            if on_device(frame) and (frame.width, frame.height) not in shown:
                width, height = shown[-1]
                raise NvdecFailed(f"NVDEC gives {frame.width}x{frame.height} of {width}x{height} pixels")

    def _refuse_failed_card(self, error: FFmpegError) -> None:
        """Raise where a packet was not refused for what is in it."""
        card = self.opened.hwaccel
        # FFmpeg's words for whatever a library of the driver answers, a call for memory too. It gives out the
        # picture all the same.
        if card is None or not isinstance(error, (ExternalError, MemoryError)):
            return
        self._refuse_lost_card(card, error)
        if isinstance(error, MemoryError):
            raise NvdecFailed("the GPU's memory is full; score fewer videos at once") from error
        raise NvdecFailed("NVDEC refused a picture") from error

    def _refuse_lost_card(self, card: Card, error: Exception) -> None:
        """Raise CudaError where `error` came from a card that this process cannot use any more."""
        failure = card.failure()
        if failure is not None:
            raise CudaError(
                f"{self._path}: GPU {card.gpu} cannot be used by this process any more: {failure}",
                path=self._path,
            ) from error

    def first_frame(self) -> VideoFrame:
        """Decode up to the first frame, which knows more than the headers.

        Nothing is lost: `packets` still starts at the first packet, and `decode` goes on from here.
        """
        seen = held = 0
        try:
            for packet in self._demuxed:
                seen += 1
                held += packet.size
                self._ahead.append(packet)
                self._sent[id(packet)] = packet
                while len(self._ahead) > _PROBE_PACKETS or held > _PROBE_BYTES:
                    given_up = self._ahead.popleft()
                    del self._sent[id(given_up)]
                    held -= given_up.size
                    self.unread += 1
                self._early = self._send(packet)
                if self._early:
                    return self._early[0]
        except FFmpegError as error:
            raise UnsupportedCodec(f"{self._path}: the decoder failed: {error}", path=self._path) from error
        # The end of the file came first: the decoder is empty after this, and holds all frames.
        self._early = self._send(None)
        self._ended = True
        if self._early:
            return self._early[0]
        raise self.nothing(seen)

    def nothing(self, packets: int) -> NoFrames | CorruptVideo | NvdecFailed:
        """Error for a stream of which no frame was decoded."""
        path = self._path
        if packets == 0:
            return NoFrames(f"{path}: the video stream must hold frames, got none", path=path)
        if self.hardware:
            # The file may be sound: the CPU has not tried it.
            return NvdecFailed(f"NVDEC gave no frame from {packets} packets of {self.context.name}")
        return CorruptVideo(
            f"{path}: at least one frame must decode, got none from {packets} packets of {self.context.name}",
            path=path,
        )

    def count_frames(self) -> int:
        """Count shown packets in a pass over the container, then start over."""
        shown = sum(not packet.is_discard for packet in self.packets())
        self.restart()
        return shown

    def restart(self) -> None:
        """Go back to the first packet, with nothing decoded."""
        self.unread = self.errors = 0
        self._demuxed = iter(())
        try:
            self.opened.reopen()
        except VqafastError as error:
            card = self.opened.hwaccel
            if card is None:
                raise
            self._refuse_lost_card(card, error)
            # What it says is of the file, and the same bytes were opened before.
            raise NvdecFailed("the file cannot be opened with NVDEC any more") from error
        self._begin()
