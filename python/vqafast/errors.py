"""Typed errors: every failure has a stable ``code``, and inherits the matching builtin exception."""

# ruff: noqa: N818 - the names say what is wrong, and "Error" would not say it better
from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


class VqafastError(Exception):
    """Base class of every error that vqafast raises on purpose.

    Parameters
    ----------
    message : str
        What must hold and what was got, in words the caller can act on.
    path : str, optional
        The input that was being processed, when there is one.
    code : str, optional
        Overrides the class's code.

    Attributes
    ----------
    code : str
        Stable snake_case identifier; the key of `EXIT_CODES`.
    path : str or None
    """

    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, path: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.code = code if code is not None else self.default_code

    def __str__(self) -> str:
        return self.message

    def __reduce__(
        self,
    ) -> tuple[Callable[..., VqafastError], tuple[type[VqafastError], str, str | None, str]]:
        # Errors travel between processes in a farm, and keyword arguments do not survive the
        # default pickling of exceptions.
        return _rebuild, (type(self), self.message, self.path, self.code)


def _rebuild(cls: type[VqafastError], message: str, path: str | None, code: str | None) -> VqafastError:
    return cls(message, path=path, code=code)


class InvalidArgument(VqafastError, ValueError):
    """An argument breaks a stated requirement."""

    default_code = "invalid_argument"


class Unsupported(VqafastError, NotImplementedError):
    """A valid request that this build or version does not implement."""

    default_code = "unsupported"


class MissingFile(VqafastError, FileNotFoundError):
    """The path does not exist."""

    default_code = "missing_file"


class IsDirectory(VqafastError, IsADirectoryError):
    """The path is a directory."""

    default_code = "is_directory"


class Unreadable(VqafastError, PermissionError):
    """The file exists and cannot be read: permissions, or an I/O error."""

    default_code = "unreadable"


class NotAVideo(VqafastError, ValueError):
    """The bytes are no video container that vqafast knows: text, garbage, a still image, empty."""

    default_code = "not_a_video"


class NoVideoStream(VqafastError, ValueError):
    """A media file without a video stream."""

    default_code = "audio_only"


class UnsupportedCodec(Unsupported):
    """The FFmpeg build has no decoder for this stream."""

    default_code = "unsupported_codec"


class UnsupportedPixelFormat(Unsupported):
    """The decoded samples have a form that can be neither read nor converted."""

    default_code = "unsupported_pixel_format"


class HdrUnsupported(Unsupported):
    """A PQ or HLG stream: the models know SDR only."""

    default_code = "hdr_unsupported"


class TruncatedVideo(VqafastError, ValueError):
    """The file ends before anything could be decoded (an mp4 without its moov atom)."""

    default_code = "truncated"


class CorruptVideo(VqafastError, ValueError):
    """Packets were read, and none of them could be decoded."""

    default_code = "corrupt"


class NoFrames(VqafastError, ValueError):
    """The video stream holds no frame."""

    default_code = "no_frames"


class TooSmall(VqafastError, ValueError):
    """A side of the picture is below the minimum."""

    default_code = "too_small"


class TooLarge(VqafastError, ValueError):
    """The picture's dimensions are above the limit; refused before any allocation."""

    default_code = "too_large"


class HostileInput(VqafastError, ValueError):
    """Input that would make FFmpeg open something else: a URL, a playlist, a script, a device."""

    default_code = "hostile_input"


class ModelError(VqafastError, ValueError):
    """A model directory is incomplete, altered or inconsistent."""

    default_code = "model_error"


class EngineUnavailable(VqafastError, RuntimeError):
    """The requested inference engine cannot be used on this machine."""

    default_code = "engine_unavailable"


class CudaError(VqafastError, RuntimeError):
    """A CUDA call failed."""

    default_code = "cuda_error"


class TimedOut(VqafastError, TimeoutError):
    """A file of a batch took longer than it may."""

    default_code = "timeout"


class WorkerDied(VqafastError, RuntimeError):
    """The process that scored a file died, each time that the file was tried."""

    default_code = "worker_died"


class MemoryLimit(VqafastError, MemoryError):
    """The process that scored a file took more memory than it may."""

    default_code = "memory_limit"


class TooLong(VqafastError, ValueError):
    """The video is longer than whoever scores it will take."""

    default_code = "too_long"


class Cancelled(VqafastError, RuntimeError):
    """Nobody waits for the result any more."""

    default_code = "cancelled"


class OutputError(VqafastError, OSError):
    """Results cannot be written, for example because the disk is full."""

    default_code = "output"


EXIT_CODES: dict[str, int] = {
    "internal": 1,
    "invalid_argument": 2,
    "missing_file": 3,
    "is_directory": 4,
    "unreadable": 5,
    "not_a_video": 6,
    "audio_only": 7,
    "unsupported_codec": 8,
    "unsupported_pixel_format": 9,
    "hdr_unsupported": 10,
    "truncated": 11,
    "corrupt": 12,
    "no_frames": 13,
    "too_small": 14,
    "too_large": 15,
    "hostile_input": 16,
    "model_error": 17,
    "engine_unavailable": 18,
    "cuda_error": 19,
    "unsupported": 20,
    "timeout": 21,
    "worker_died": 22,
    "memory_limit": 23,
    "output": 24,
    "files_failed": 25,
    "below_threshold": 26,
    "too_long": 27,
    "cancelled": 28,
}
"""Process exit status of the command line for each error code: 1 is a fault of vqafast itself,
2 wrong arguments, 3..16 classes of input, 17.. models and the machine, 21.. batches and services.
"files_failed" and "below_threshold" are no errors: what a batch came to."""
