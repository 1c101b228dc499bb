"""What keeps a request from an answer, and with which HTTP status it is said."""

# ruff: noqa: N818 - the names say what is wrong, as in vqafast.errors
from __future__ import annotations

from typing import Any

from vqafast.errors import VqafastError

#: By code; every other code is a fault of the service itself, 500.
STATUS: dict[str, int] = {
    "outside_root": 403,
    "unreadable": 403,
    "missing_file": 404,
    "upload_slow": 408,
    "upload_too_large": 413,
    "invalid_argument": 422,
    "unsupported": 422,
    "is_directory": 422,
    "not_a_video": 422,
    "audio_only": 422,
    "unsupported_codec": 422,
    "unsupported_pixel_format": 422,
    "hdr_unsupported": 422,
    "truncated": 422,
    "corrupt": 422,
    "no_frames": 422,
    "too_small": 422,
    "too_large": 422,
    "too_long": 422,
    "hostile_input": 422,
    "busy": 429,
    "cancelled": 499,
    "stopping": 503,
    "output": 507,
    "timeout": 504,
}


class OutsideRoot(VqafastError, PermissionError):
    """The path leads out of the folder that is served."""

    default_code = "outside_root"


class UploadTooLarge(VqafastError, ValueError):
    """More bytes than the service takes."""

    default_code = "upload_too_large"


class UploadSlow(VqafastError, TimeoutError):
    """The body did not come in time."""

    default_code = "upload_slow"


class Busy(VqafastError, RuntimeError):
    """As many requests wait as may."""

    default_code = "busy"


class Stopping(VqafastError, RuntimeError):
    """The service takes no more requests: it ends, or its workers cannot be started."""

    default_code = "stopping"


def status_of(code: str) -> int:
    """HTTP status for an error code."""
    return STATUS.get(code, 500)


def body_of(code: str, message: str) -> dict[str, Any]:
    """What a failed request is answered with."""
    return {"error": {"code": code, "message": message}}
