"""Running the FFmpeg program that the ``imageio-ffmpeg`` wheel ships (it has libvmaf)."""

from __future__ import annotations

import functools
import os
import subprocess
from typing import TYPE_CHECKING

from vqafast.errors import VqafastError

if TYPE_CHECKING:
    from collections.abc import Sequence


class FfmpegError(VqafastError):
    """FFmpeg ended with a non-zero status; the message holds the end of what it printed."""

    code = "ffmpeg_failed"


@functools.cache
def executable() -> str:
    """Path of FFmpeg: ``$VQAFAST_FFMPEG`` if set, else the binary of ``imageio-ffmpeg``."""
    chosen = os.environ.get("VQAFAST_FFMPEG")
    if chosen:
        return chosen
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def run(arguments: Sequence[str], *, timeout: float = 600.0) -> str:
    """Run FFmpeg quietly and return its standard error.

    Raises
    ------
    FfmpegError
        When FFmpeg exits non-zero or outlasts `timeout` seconds.
    """
    command = [executable(), "-hide_banner", "-nostdin", "-y", "-loglevel", "error", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise FfmpegError(f"ffmpeg: outlasted {timeout:.0f} s: {' '.join(command)}") from error
    if done.returncode != 0:
        tail = done.stderr.strip()[-800:]
        raise FfmpegError(f"ffmpeg: exit {done.returncode}: {tail} ({' '.join(command)})")
    return done.stderr
