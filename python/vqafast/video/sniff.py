"""What the first bytes of a file say, before FFmpeg is allowed to see it."""

from __future__ import annotations

import re
from typing import BinaryIO

from vqafast.errors import HostileInput, NotAVideo, NoVideoStream, TruncatedVideo, VqafastError

HEAD = 4096
Y4M_MAGIC = b"YUV4MPEG2"

# Scripts and playlists make FFmpeg open whatever they name.
_SCRIPTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"ffconcat\s+version"), "an ffconcat script"),
    (re.compile(rb"#EXTM3U"), "an HLS or M3U playlist"),
    (re.compile(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<MPD\b", re.S), "a DASH manifest"),
    (re.compile(rb"(<\?xml[^>]*>\s*)?<(smil|SmoothStreamingMedia|asx)\b", re.I), "a playlist"),
    (re.compile(rb"\[(playlist|Reference)\]", re.I), "a playlist"),
    (re.compile(rb"(RTSPtext|SMILtext|rtsp://|https?://|rtmp://|file:|concat:)"), "a list of URLs"),
    (re.compile(rb"v=0\r?\n[a-z]=.*?\r?\nm=", re.S), "an SDP session"),
    (re.compile(rb"<\?xml[^>]*>\s*<imf|<\?xml.*CompositionPlaylist", re.S), "an IMF playlist"),
)
_STILL_BRANDS = frozenset({b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"jpeg", b"j2ki"})
_IMAGES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"BM.{12}[\x0c\x28\x40\x6c\x7c]\x00\x00\x00", re.S), "BMP"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "TIFF"),
    (re.compile(rb"RIFF....WEBP", re.S), "WebP"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"P[1-7]\s"), "PNM"),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR"),
)
_AUDIO: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"ID3"), "MP3"),
    (re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), "MPEG audio"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), "AAC"),
    (re.compile(rb"fLaC"), "FLAC"),
    (re.compile(rb"(RIFF|RF64)....WAVE", re.S), "WAV"),
    (re.compile(rb"FORM....AIF[FC]", re.S), "AIFF"),
    (re.compile(rb"#!AMR"), "AMR"),
)


def refuse(head: bytes, path: str) -> None:
    """Raise the typed error for bytes that are surely no video file."""
    if not head:
        raise NotAVideo(f"{path}: a video file must hold data, got 0 bytes", path=path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for pattern, kind in _SCRIPTS:
        if pattern.match(text):
            raise HostileInput(
                f"{path}: input must be a media file, got {kind}; "
                "vqafast never follows references to other files",
                path=path,
            )
    for pattern, kind in _IMAGES:
        if pattern.match(head):
            raise NotAVideo(f"{path}: input must be a video, got a {kind} image", path=path)
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        raise NotAVideo(f"{path}: input must be a video, got a HEIF or AVIF image", path=path)
    for pattern, kind in _AUDIO:
        if pattern.match(head):
            raise NoVideoStream(f"{path}: input must hold a video stream, got {kind}", path=path)


def explain_failure(head: bytes, file: BinaryIO, path: str) -> VqafastError:
    """Name the error for a file that no demuxer accepted."""
    if (error := explain_boxes(head, file, path)) is not None:
        return error
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return TruncatedVideo(f"{path}: the Matroska or WebM headers must be complete", path=path)
    if not head.strip(b"\0"):
        return NotAVideo(f"{path}: input must be a video file, got zero bytes only", path=path)
    try:
        head[:-4].decode("utf-8")
        kind = "text"
    except UnicodeDecodeError:
        kind = "data of an unknown or unaccepted format"
    return NotAVideo(f"{path}: input must be a video file, got {kind}", path=path)


def explain_boxes(head: bytes, file: BinaryIO, path: str) -> TruncatedVideo | None:
    """Name what the boxes of an mp4 or mov file lack; None for other files and for whole ones."""
    if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"styp"):
        return None
    whole = _moov_is_whole(file)
    if whole is None:
        return TruncatedVideo(
            f"{path}: an mp4 or mov file must hold a moov atom, got none in the whole file: "
            "the recording or the copy was cut short",
            path=path,
        )
    if whole:
        return None
    return TruncatedVideo(
        f"{path}: the moov atom of an mp4 or mov file must be whole, got a file that ends inside it",
        path=path,
    )


def _moov_is_whole(file: BinaryIO) -> bool | None:
    """Walk the top-level boxes, by seeking only; None when there is no moov."""
    position, end = 0, file.seek(0, 2)
    for _ in range(10_000):
        if position + 8 > end:
            return None
        file.seek(position)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if header[4:8] == b"moov":
            return size == 0 or position + size <= end
        if size < 8:
            return None
        position += size
    return None
