"""YUV4MPEG2 from any binary stream, one frame at a time."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vqafast.errors import InvalidArgument, NoFrames, NotAVideo, Unsupported, UnsupportedPixelFormat
from vqafast.video.formats import LAYOUTS, display_size, peak_of, plane_shapes, sane_aspect
from vqafast.video.open import check_size
from vqafast.video.sniff import Y4M_MAGIC
from vqafast.video.source import (
    Closing,
    ColorSpec,
    Counts,
    Marks,
    PixelLayout,
    Plane,
    Sampled,
    VideoInfo,
    Warning_,
    plain_frame,
)
from vqafast.video.timeline import Assembler, Chooser, Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vqafast.video.sampling import Selector

_FRAME = b"FRAME"
_LINE = 1024  # bytes: no writer comes near it
_DEFAULT_RATE = Fraction(25)
# Sampling, then chroma siting (which is not used), alpha, or p and the bit depth.
_COLORSPACE = re.compile(r"(420|422|444|440|411|410)(jpeg|mpeg2|paldv|alpha)?(?:p(\d+))?$")
_MONO = re.compile(r"mono(\d+)?$")


class Y4MSource(Closing):
    """Frames of a YUV4MPEG2 stream; works on a pipe and reads one frame at a time.

    Parameters
    ----------
    stream : binary file object
        Positioned at the header. It is not closed, unless `owns_stream`.
    path : str
        For messages.

    Raises
    ------
    NotAVideo
        The header is no valid YUV4MPEG2 header.
    UnsupportedPixelFormat, TooSmall, TooLarge
        The header asks for something that cannot be scored; nothing was allocated.
    NoFrames
        Raised by `frames` when not even one whole frame follows.
    """

    def __init__(self, stream: BinaryIO, path: str = "-", *, owns_stream: bool = False) -> None:
        self.warnings: list[Warning_] = []
        self.counts = Counts()
        self.marks = Marks()
        self._stream = stream
        self._path = path
        self._owns = owns_stream
        self._used = False
        self._alpha = 0
        try:
            magic = self._read(len(Y4M_MAGIC))
            rest = self._line() if magic == Y4M_MAGIC else None
            if rest is None or rest[:1] not in (b"", b" "):
                raise self._bad(f"must start with YUV4MPEG2 and end within {_LINE} bytes, got {magic!r}")
            self.info = self._parse(rest)
        except BaseException:
            self.close()
            raise
        self._shapes = plane_shapes(self.info.layout, self.info.width, self.info.height)

    def close(self) -> None:
        """Close the stream when it belongs to the source."""
        if self._owns:
            self._stream.close()

    def frames(self, selector: Selector) -> Iterator[Sampled]:
        """Yield the samples chosen by `selector`, in order of time; a source can be read once."""
        if self._used:
            raise Unsupported("a source can be read once: open another one")
        self._used = True
        length = self._remaining_frames() if selector.needs_length else None
        rate = self.info.frame_rate or _DEFAULT_RATE
        tick = float(1 / rate)
        chooser = Chooser(selector.begin(length=length), selector.burst, Clock(tick, tick), selector.stride)
        assembler = Assembler(selector.burst, self.counts, selector.stride)
        shots = self.marks.shots
        while self._frame_header():
            entry = chooser.admit(chooser.count)
            # Every frame is read into its own buffer, because the consumer may keep it.
            planes = self._planes(entry.wanted or shots is not None)
            if planes is None:
                self.counts.lost += 1
                self._warn("truncated", f"the stream ends inside frame {entry.index}")
                if entry.wanted:
                    yield from assembler.add(entry, None)
                break
            self.counts.decoded += 1
            if shots is not None:
                shots.see(entry.seconds, planes[0], peak_of(self.info.layout))
            if entry.wanted:
                frame = plain_frame(
                    self.info, planes, entry.seconds, entry.index, interlaced=self._interlaced
                )
                yield from assembler.add(entry, frame)
        self.marks.end = chooser.clock.last + tick
        yield from assembler.finish()
        if self.counts.decoded == 0:
            raise NoFrames(
                f"{self._path}: a YUV4MPEG2 stream must hold at least one whole frame, got none",
                path=self._path,
            )

    def _warn(self, code: str, message: str) -> None:
        self.warnings.append(Warning_(code, message))

    def _read(self, size: int) -> bytes:
        """Read `size` bytes, fewer at the end of the stream; a raw pipe returns short reads."""
        parts: list[bytes] = []
        while size > 0:
            part = self._stream.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _line(self) -> bytes | None:
        """Read up to a newline, a byte at a time: nothing after it may be taken from a pipe."""
        line = bytearray()
        while len(line) < _LINE:
            byte = self._stream.read(1)
            if not byte or byte == b"\n":
                return bytes(line)
            line += byte
        return None

    def _frame_header(self) -> bool:
        magic = self._read(len(_FRAME))
        if not magic:
            return False
        rest = self._line() if magic == _FRAME else None
        if rest is not None and rest[:1] in (b"", b" "):
            return True
        self.counts.lost += 1
        self._warn(
            "container_damaged",
            f"frame {self.counts.decoded} must start with FRAME, got {magic!r}; "
            "the rest of the stream is not read",
        )
        return False

    def _planes(self, wanted: bool) -> tuple[Plane, ...] | None:
        layout = self.info.layout
        dtype = np.dtype("u1" if layout.bit_depth == 8 else "<u2")
        planes: list[Plane] = []
        for rows, samples in self._shapes:
            data = self._read(rows * samples * dtype.itemsize)
            if len(data) < rows * samples * dtype.itemsize:
                return None
            if wanted:
                planes.append(np.frombuffer(data, dtype).reshape(rows, samples))
        rows, samples = self._shapes[0]
        alpha = self._alpha * rows * samples
        return None if len(self._read(alpha)) < alpha else tuple(planes)

    def _remaining_frames(self) -> int:
        if not self._stream.seekable():
            raise InvalidArgument("UniformCount: a pipe's number of frames is not known; use TimeGrid")
        here = self._stream.tell()
        size = self._stream.seek(0, 2) - here
        self._stream.seek(here)
        item = 1 if self.info.layout.bit_depth == 8 else 2
        frame = sum(rows * samples for rows, samples in self._shapes) * item
        frame += self._alpha * self._shapes[0][0] * self._shapes[0][1] + len(b"FRAME\n")
        return size // frame

    def _bad(self, what: str) -> NotAVideo:
        return NotAVideo(f"{self._path}: YUV4MPEG2 header: {what}", path=self._path)

    def _parse(self, line: bytes) -> VideoInfo:
        fields: dict[str, str] = {}
        full_range = False
        for word in line.split(b" "):
            text = word.decode("ascii", "replace")
            if text.startswith("X"):
                full_range = full_range or text.upper() == "XCOLORRANGE=FULL"
            elif text:
                fields[text[0]] = text[1:]
        width, height = self._number(fields, "W"), self._number(fields, "H")
        if width < 1 or height < 1:
            raise self._bad(f"width and height must be positive, got {width}x{height}")
        check_size(width, height, self._path)
        layout = self._layout(fields.get("C", "420jpeg"))
        self._interlaced = fields.get("I", "p")[:1] in ("t", "b", "m")
        if self._interlaced:
            self._warn("interlaced", "the video is interlaced; it is scored as it is")
        rate = self._ratio(fields, "F")
        if rate is None:
            self._warn("missing_timestamps", f"no frame rate; {_DEFAULT_RATE} fps is taken")
        declared = self._ratio(fields, "A") or Fraction(1)
        aspect = sane_aspect(declared)
        if aspect != declared:
            self._warn("aspect_ignored", f"the sample aspect ratio {declared} is taken as 1")
        wide, high = display_size(width, height, aspect, 0)
        return VideoInfo(
            path=self._path,
            container="yuv4mpegpipe",
            codec="rawvideo",
            width=width,
            height=height,
            display_width=wide,
            display_height=high,
            rotation=0,
            sample_aspect_ratio=aspect,
            layout=layout,
            color=ColorSpec("bt709" if height >= 720 else "bt601", full_range, "unspecified"),
            frame_rate=rate,
            duration=None,
            declared_frames=None,
            decoder="y4m",
        )

    def _number(self, fields: dict[str, str], key: str) -> int:
        text = fields.get(key, "")
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise self._bad(f"{key} must be a whole number, got {text!r}")
        return int(text)

    def _ratio(self, fields: dict[str, str], key: str) -> Fraction | None:
        """Ratio of a header field; None where it is absent or 0:0, which means unknown."""
        if key not in fields:
            return None
        match = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", fields[key])
        if match is None:
            raise self._bad(f"{key} must be two whole numbers n:d, got {fields[key]!r}")
        above, below = int(match[1]), int(match[2])
        return Fraction(above, below) if above and below else None

    def _layout(self, text: str) -> PixelLayout:
        mono = _MONO.fullmatch(text)
        match = _COLORSPACE.fullmatch(text)
        if mono:
            depth = mono[1] or "8"
            name = "gray" if depth == "8" else f"gray{depth}le"
        elif match:
            depth = match[3] or "8"
            name = f"yuv{match[1]}p" + ("" if depth == "8" else f"{depth}le")
            if match[2] == "alpha":
                self._alpha = 1
                self._warn("alpha_ignored", "the alpha plane is ignored")
        else:
            name = ""
        if name not in LAYOUTS:
            raise UnsupportedPixelFormat(
                f"{self._path}: YUV4MPEG2 colour space must be 420, 422, 444, 440, 411, 410 or mono "
                f"with 8, 9, 10, 12, 14 or 16 bits, got C{text}",
                path=self._path,
            )
        return LAYOUTS[name]
