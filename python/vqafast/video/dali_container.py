"""What FFmpeg takes from a container without looking at a picture: their size, and the way to a key frame.

DALI believes both. So they are asked for here first, of an FFmpeg that decodes nothing either.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import av
from av.error import FFmpegError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.container import InputContainer


@contextmanager
def _undecoded(file: BinaryIO, container: str) -> Iterator[InputContainer]:
    """Open a file of a known container, which no decoder may touch; `file` stays open."""
    file.seek(0)
    options = {
        "format_whitelist": container,
        "protocol_whitelist": "none",
        # There is no codec of this name. With a decoder, or with more bytes to look at, FFmpeg would put
        # what it finds in the pictures in place of what the container says.
        "codec_whitelist": "none",
        "probesize": "32",
    }
    with av.open(file, "r", options=options, metadata_errors="replace") as opened:
        yield opened


def declared_size(file: BinaryIO, container: str) -> tuple[int, int]:
    """Width and height of the pictures as the container has them; (0, 0) where it has none.

    Parameters
    ----------
    file : binary file
        Its first video stream is meant.
    container : str
        FFmpeg's name of its format.
    """
    try:
        with _undecoded(file, container) as opened:
            context = opened.streams.video[0].codec_context
            return context.width, context.height
    except FFmpegError:
        return 0, 0


def seeks_land(file: BinaryIO, container: str, keys: Iterable[int]) -> bool:
    """Whether FFmpeg, sent to each of these key frames in turn, begins at that very one.

    An index may list some of the key frames only, and then FFmpeg begins at an earlier one.

    Parameters
    ----------
    file, container
        As for `declared_size`.
    keys : iterable of int
        Timestamps in ticks, ascending.
    """
    try:
        with _undecoded(file, container) as opened:
            stream = opened.streams.video[0]
            for key in keys:
                opened.seek(int(key), stream=stream)
                packet = next((packet for packet in opened.demux(stream) if packet.size), None)
                if packet is None or packet.pts != key:
                    return False
            return True
    except FFmpegError:
        return False
