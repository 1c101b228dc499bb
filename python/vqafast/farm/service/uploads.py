"""Bodies of requests: into a file without a name, which is gone with whoever holds it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

from vqafast.errors import Cancelled, InvalidArgument, OutputError
from vqafast.farm.service.errors import UploadSlow, UploadTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

# Bytes that are gathered before they are written.
_BLOCK = 1 << 20


@contextlib.asynccontextmanager
async def received(
    request: Request, *, most: int, seconds: float, folder: str | None, count: Callable[[int], None]
) -> AsyncIterator[str]:
    """Take the body of a request; give the path under which processes of this user can open it.

    Parameters
    ----------
    most : int
        Bytes.
    seconds : float
        In which all of it must come.
    folder : str or None
        On whose file system it lies; the system's folder of temporary files by default.
    count : callable
        Told how many bytes came.

    Raises
    ------
    UploadTooLarge, UploadSlow, OutputError, InvalidArgument
    Cancelled
        When the client goes before its end.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    try:
        # It has no name from the start, so nothing is left behind, whatever happens to this process.
        file = tempfile.TemporaryFile(dir=folder, prefix="vqafast-")  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"upload: cannot be kept: {error.strerror}") from error
    with file:
        size = 0
        try:
            async with asyncio.timeout(seconds):
                async for block in _blocks(request):
                    size += len(block)
                    count(len(block))
                    if size > most:
                        raise _too_large(most)
                    await asyncio.to_thread(file.write, block)
            await asyncio.to_thread(file.flush)
        except TimeoutError:
            raise UploadSlow(f"upload: must come within {seconds:g} s, it did not") from None
        except OSError as error:
            raise OutputError(f"upload: cannot be kept: {error.strerror}") from error
        if not size:
            raise InvalidArgument("upload: the body must be a video file, got no bytes")
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    from starlette.requests import ClientDisconnect

    held = bytearray()
    try:
        async for chunk in request.stream():
            held += chunk
            if len(held) >= _BLOCK:
                yield bytes(held)
                held.clear()
    except ClientDisconnect:
        raise Cancelled("the client has gone before the end of its upload") from None
    if held:
        yield bytes(held)


def _too_large(most: int) -> UploadTooLarge:
    return UploadTooLarge(f"upload: must be at most {most} bytes, got more")
