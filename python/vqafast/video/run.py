"""One pass over a video: packets in, samples out, and what was seen on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqafast.video.bitstream import NalReader, read_av1, read_plain, read_vp9
from vqafast.video.reorder import REORDER_WINDOW, Planner, Step, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av.video.frame import VideoFrame

    from vqafast.video.bitstream import Coded
    from vqafast.video.decoder import Decoder, VideoPacket
    from vqafast.video.picture import PictureReader
    from vqafast.video.shots import ShotDetector
    from vqafast.video.source import Counts, Sampled, VideoInfo
    from vqafast.video.timeline import Assembler, Chooser

# Codecs in which the decoder's NONREF rule was tested to leave all other pictures unchanged.
_NONREF = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
# Decode order is presentation order, and one packet is one shown frame.
_IN_ORDER = frozenset({"vp9", "av1"})
# Every packet stands alone. FFV1 is absent: it carries its statistics from frame to frame.
_INTRA = frozenset(
    {"mjpeg", "prores", "dnxhd", "huffyuv", "ffvhuff", "rawvideo", "v210", "jpeg2000", "utvideo",
     "magicyuv", "cfhd", "hap", "png"}
)  # fmt: skip
# Containers that declare a duration and no number of frames.
_TIMED = frozenset({"matroska,webm", "flv", "asf"})


class Run:
    """One pass of a source over its packets."""

    def __init__(
        self,
        decoder: Decoder,
        pictures: PictureReader,
        info: VideoInfo,
        chooser: Chooser,
        assembler: Assembler,
        *,
        counts: Counts,
        selective: bool,
        shots: ShotDetector | None = None,
    ) -> None:
        self._decoder = decoder
        self._pictures = pictures
        self._info = info
        self._chooser = chooser
        self._assembler = assembler
        self._counts = counts
        self._selective = selective
        self._shots = shots
        self._warn = pictures.warn
        self._lost_wanted = 0
        self._packets = 0
        self._parameters = b""
        self._planner: Planner[VideoPacket] | None = None
        codec = decoder.context.codec.canonical_name
        self._read = _header_reader(codec, decoder.context.extradata)
        # AVI has no presentation times, and those that FFmpeg invents for it are out of order.
        self._untimed = info.container == "avi" and codec in ("h264", "hevc")

    def _plan(self, first: VideoPacket) -> Planner[VideoPacket]:
        codec, container = self._decoder.context.codec.canonical_name, self._info.container
        field_order = self._decoder.context.field_order
        intra = codec in _INTRA
        known = intra or codec in _NONREF or codec in _IN_ORDER
        # Both fields of a picture may come as packets of their own.
        paired = codec in ("h264", "hevc", "mpeg1video", "mpeg2video") and field_order > 1
        # AVI stores decode order only, and packs two pictures into one packet.
        packed = container == "avi" and not intra
        ordered = self._selective and known and not paired and not packed and first.is_keyframe
        return Planner(
            self._chooser,
            window=0 if intra or codec in _IN_ORDER else REORDER_WINDOW,
            skip_nonref=codec in _NONREF,
            intra_only=intra,
            ordered=ordered,
        )

    def _units(self) -> Iterator[Unit[VideoPacket]]:
        for packet in self._decoder.packets():
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
                key=packet.is_keyframe,
                must_feed=changed or packet.has_sidedata("new_extradata"),
            )

    def samples(self) -> Iterator[Sampled]:
        """Read to the end, or until the decoder is called off."""
        planner: Planner[VideoPacket] | None = None
        for unit in self._units():
            if planner is None:
                planner = self._planner = self._plan(unit.item)
            for step in planner.push(unit):
                yield from self._send(step)
        if self._decoder.cancelled:
            return
        if planner is not None:
            for step in planner.finish():
                yield from self._send(step)
            self._decoder.context.skip_frame = "DEFAULT"
            yield from self._take(self._decoder.decode(None))
            while planner.entries:
                yield from self._pass_over()
        yield from self._assembler.finish()

    def _send(self, step: Step[VideoPacket]) -> Iterator[Sampled]:
        self._decoder.context.skip_frame = "NONREF" if step.nonref else "DEFAULT"
        yield from self._take(self._decoder.decode(step.item))

    def _take(self, frames: list[VideoFrame]) -> Iterator[Sampled]:
        planner, counts = self._planner, self._counts
        assert planner is not None
        for picture in frames:
            raw = None if self._untimed else picture.pts
            entries = planner.entries
            while entries and raw is not None and (entries[0].raw or 0) < raw:
                yield from self._pass_over()
            if entries and entries[0].raw == raw:
                entry = entries.popleft()
            elif not planner.ordered:
                entry = self._chooser.admit(raw, key=bool(picture.key_frame))
            else:
                # After damage a decoder may give a frame behind its turn: it was counted as lost.
                continue
            counts.decoded += 1
            counts.corrupt += picture.is_corrupt
            if self._shots is not None and not picture.is_corrupt:
                self._shots.see(entry.seconds, *self._pictures.luma(picture))
            if entry.wanted:
                frame = None
                if not picture.is_corrupt:
                    frame = self._pictures.read(picture, entry)
                yield from self._assembler.add(entry, frame)

    def _pass_over(self) -> Iterator[Sampled]:
        """Give up the first entry: it will not come out any more."""
        assert self._planner is not None
        entry = self._planner.entries.popleft()
        if entry.wanted:
            self._lost_wanted += 1
            yield from self._assembler.add(entry, None)

    def count(self) -> None:
        """Settle the counts; also right when the consumer stops early."""
        counts = self._counts
        missing = max(0, self._chooser.count - counts.decoded)
        lost = max(min(self._decoder.errors, missing), self._lost_wanted)
        counts.skipped = missing - min(lost, missing)
        counts.lost = lost + self._decoder.unread

    def conclude(self) -> None:
        """Say what the whole pass has shown."""
        counts, clock = self._counts, self._chooser.clock
        if counts.decoded == 0:
            raise self._decoder.nothing(self._packets)
        if counts.corrupt:
            self._warn("corrupt_frames", f"damaged frames: {counts.corrupt}")
        if counts.lost:
            self._warn("lost_frames", f"frames that could not be decoded: {counts.lost}")
        if counts.dropped_samples:
            self._warn(
                "dropped_samples",
                f"samples left out because a frame of theirs was damaged or lost: {counts.dropped_samples}",
            )
        if clock.missing:
            self._warn(
                "missing_timestamps",
                f"{clock.missing} frames have no timestamp; they are taken to be {clock.step:.6g} s apart",
            )
        if clock.jumps:
            self._warn("timestamp_jumps", f"the timestamps go back {clock.jumps} times")
        gaps, absent = clock.gaps()
        if gaps:
            self._warn(
                "timestamp_gaps", f"about {absent} frames are missing in {gaps} gaps of a regular video"
            )
        self._note_truncation()

    def _note_truncation(self) -> None:
        info, clock = self._info, self._chooser.clock
        declared, end = info.declared_frames, clock.last + clock.step
        found = self._packets + self._decoder.unread
        if declared is not None and found < declared:
            self._warn("truncated", f"the container declares {declared} frames, and {found} are there")
        elif declared is None and info.duration is not None and info.container in _TIMED:
            # A container's duration is that of its longest stream, which may be sound.
            alone = len(self._decoder.opened.container.streams) == 1
            slack = (0.1 if alone else max(1.0, 0.05 * info.duration)) + 2 * clock.step
            if end < info.duration - slack:
                self._warn(
                    "truncated",
                    f"the container declares {info.duration:.3f} s, and the video ends at {end:.3f} s",
                )


def _header_reader(codec: str, extradata: bytes | None) -> Callable[[memoryview], Coded]:
    if codec in ("h264", "hevc"):
        return NalReader(codec, extradata).read
    if codec == "vp9":
        return read_vp9
    if codec == "av1":
        return read_av1
    return read_plain
