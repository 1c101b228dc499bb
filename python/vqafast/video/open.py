"""Hardened open: FFmpeg reads one file that we opened, and can open nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av
from av.error import FFmpegError
from av.stream import Discard, Disposition

from vqafast.errors import (
    HostileInput,
    InvalidArgument,
    IsDirectory,
    MissingFile,
    NotAVideo,
    NoVideoStream,
    TooLarge,
    TooSmall,
    Unreadable,
    UnsupportedCodec,
    VqafastError,
)
from vqafast.video import sniff
from vqafast.video.formats import MAX_PIXELS, MAX_SIDE, MIN_SIDE, sane_aspect

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from vqafast.video.nvdec import Card

# The demuxers that read exactly the bytes they are given. Playlists, image sequences, devices and
# lavfi are absent on purpose; protocol_whitelist alone does not stop them.
_FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,h264,hevc,vvc,vc1,h263,ivf,obu,av1,"
    "ogg,mxf,gxf,gif,dv,nut,yuv4mpegpipe"
)
_BUFFER = 256 * 1024
_URL = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.\-]*://|(?:file|concat|concatf|subfile|crypto|data|"
                  r"pipe|fd|cache|async|tee|unix|tcp|udp|rtp|rtmp|rtsp|http|https|ftp|srt|"
                  r"lavfi|hls|gopher|mmsh?|shared|md5)[:,])")  # fmt: skip


@dataclass(slots=True)
class Opened:
    """A container on a file; `reopen` starts over from the first byte.

    `hwaccel` makes what decodes, when it is not the CPU, in the thread that opens; set it to None and
    reopen to leave it out.
    """

    path: str
    file: BinaryIO
    owns_file: bool
    container: InputContainer
    stream: VideoStream
    remarks: list[tuple[str, str]]
    hwaccel: Card | None = None

    @property
    def aspect(self) -> Fraction:
        """Sample aspect ratio; 1 where it is unknown or absurd."""
        return sane_aspect(self.stream.sample_aspect_ratio or Fraction(1))

    def reopen(self) -> None:
        """Open the same bytes again."""
        self.container.close()
        self.file.seek(0)
        self.container = _open_container(self.file, self.path, self.hwaccel)
        self.stream, self.remarks = _choose_stream(self.container, self.path)

    def close(self) -> None:
        """Close the container, and the file when it is ours."""
        self.container.close()
        if self.owns_file:
            self.file.close()


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; everything else that a path can name is refused.

    Raises
    ------
    HostileInput
        For a URL that names no file, a device, a socket or a FIFO.
    MissingFile, IsDirectory, Unreadable, InvalidArgument
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise InvalidArgument(f"path must be str or os.PathLike[str], got {type(name).__name__}")
    if "\0" in name or not name:
        raise InvalidArgument("path must be a non-empty string without NUL characters")
    try:
        _refuse_special(os.stat(name).st_mode, name)
        # A FIFO put in place after the check must not block the open.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(name, flags)
    except VqafastError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if is_url(name):
            raise HostileInput(
                f"{name}: input must be a local file, got a URL; fetch it first", path=name
            ) from error
        raise MissingFile(f"{name}: no such file", path=name) from error
    except OSError as error:
        raise Unreadable(f"{name}: cannot be read: {error.strerror}", path=name) from error
    try:
        _refuse_special(os.fstat(descriptor).st_mode, name)
        file = io.FileIO(descriptor, "rb", closefd=True)
    except BaseException:
        os.close(descriptor)
        raise
    # FFmpeg weighs the extension when it probes raw streams.
    cast("Any", file).name = Path(name).name
    return cast("BinaryIO", file)


def is_url(name: str) -> bool:
    """Whether FFmpeg would take `name` for something else than a local file."""
    return _URL.match(name) is not None


def _refuse_special(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsDirectory(f"{name}: input must be a file, got a directory", path=name)
    if not stat.S_ISREG(mode):
        raise HostileInput(
            f"{name}: input must be a regular file, got a device, socket or FIFO; "
            "pipe YUV4MPEG2 through standard input instead",
            path=name,
        )


def seekable(file: BinaryIO) -> tuple[BinaryIO, bool]:
    """Return `file`, or its spooled copy and True when it cannot seek (mp4 needs seeking)."""
    if file.seekable():
        return file, False
    spool = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed with the source
    try:
        shutil.copyfileobj(file, spool, 1 << 20)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool, True


class _Unread:
    """A pipe with the bytes put back that were read to recognise it."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file
        self.name = getattr(file, "name", "<pipe>")

    def read(self, size: int = -1) -> bytes:
        if self._head:
            size = len(self._head) if size < 0 else size
            part, self._head = self._head[:size], self._head[size:]
            return part
        return self._file.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()


def peek(file: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """Return the first bytes, and a file that still begins with them."""
    head = b""
    while len(head) < size:
        part = file.read(size - len(head))
        if not part:
            break
        head += part
    if file.seekable():
        file.seek(-len(head), os.SEEK_CUR)
        return head, file
    return head, cast("BinaryIO", _Unread(head, file))


def read_head(file: BinaryIO, path: str) -> bytes:
    """Return the first bytes and rewind."""
    try:
        file.seek(0)
        head = file.read(sniff.HEAD)
        file.seek(0)
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}", path=path) from error
    return head


def open_video(file: BinaryIO, path: str, *, owns_file: bool, hwaccel: Card | None = None) -> Opened:
    """Open the best video stream of a seekable binary file.

    Parameters
    ----------
    hwaccel : Card, optional
        Decodes instead of the CPU, where it can.

    Raises
    ------
    VqafastError
        One of the typed errors for files that cannot be scored.
    """
    try:
        head = read_head(file, path)
        sniff.refuse(head, path)
        container = _open_container(file, path, hwaccel)
        try:
            stream, remarks = _choose_stream(container, path)
        except (NotAVideo, NoVideoStream, UnsupportedCodec) as error:
            container.close()
            # A moov that is cut off may still show streams, without their descriptions.
            raise sniff.explain_boxes(head, file, path) or error from error
        except BaseException:
            container.close()
            raise
    except BaseException:
        if owns_file:
            file.close()
        raise
    return Opened(path, file, owns_file, container, stream, remarks, hwaccel)


def _refuse_nested(url: str, _flags: int, _options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"a media file must not refer to another file, got {url!r}")


def _open_container(file: BinaryIO, path: str, hwaccel: Card | None) -> InputContainer:
    try:
        container = av.open(
            file,
            "r",
            options={
                "format_whitelist": _FORMATS,
                "protocol_whitelist": "none",
                "max_pixels": str(MAX_PIXELS),
            },
            metadata_errors="replace",
            buffer_size=_BUFFER,
            io_open=_refuse_nested,
            hwaccel=None if hwaccel is None else hwaccel(),
        )
    except (FFmpegError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise HostileInput(f"{path}: {error}", path=path) from error
        with contextlib.suppress(OSError):
            raise sniff.explain_failure(read_head(file, path), file, path) from error
        raise Unreadable(f"{path}: cannot be read: {error}", path=path) from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}", path=path) from error
    return container


_NO_PICTURES = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails


def _choose_stream(container: InputContainer, path: str) -> tuple[VideoStream, list[tuple[str, str]]]:
    streams = [s for s in container.streams.video if not s.disposition & _NO_PICTURES]
    if not streams:
        kinds = sorted({s.type for s in container.streams})
        if not kinds:
            raise NotAVideo(f"{path}: a container must hold streams, got none", path=path)
        raise NoVideoStream(f"{path}: input must hold a video stream, got only {', '.join(kinds)}", path=path)
    stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    remarks = []
    if len(streams) > 1:
        remarks.append(
            (
                "several_video_streams",
                f"the file holds {len(streams)} video streams; stream {stream.index} is scored",
            )
        )
    for other in container.streams:
        if other is not stream and other.type != "unknown":
            other.discard = Discard.all
    # PyAV has no codec context for a stream without a decoder, whatever its types say.
    if cast("Any", stream).codec_context is None:
        raise UnsupportedCodec(
            f"{path}: this FFmpeg build must have a decoder for video stream {stream.index}, got none",
            path=path,
        )
    check_size(stream.codec_context.width, stream.codec_context.height, path)
    return stream, remarks


def check_size(width: int, height: int, path: str) -> None:
    """Refuse pictures outside the limits; 0x0 means that the size is not known yet."""
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise TooLarge(
            f"{path}: the picture must be at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in "
            f"all, got {width}x{height}",
            path=path,
        )
    if 0 < min(width, height) < MIN_SIDE:
        raise TooSmall(
            f"{path}: the picture must be at least {MIN_SIDE} pixels a side, got {width}x{height}",
            path=path,
        )
