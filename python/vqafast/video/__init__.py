"""Sources of frames and the choice of what is scored."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from vqafast.video.pyav import PyAVSource
    from vqafast.video.y4m import Y4MSource


def open_source(
    source: str | os.PathLike[str] | BinaryIO,
    threads: int = 0,
    *,
    path: str | None = None,
    gpu: int | None = None,
) -> PyAVSource | Y4MSource:
    """Open a video: YUV4MPEG2 with our own reader, everything else with PyAV.

    Parameters
    ----------
    source : path or binary file
        A path to a regular file, a seekable binary file, or a pipe (a pipe of YUV4MPEG2 is read
        as it comes; any other pipe is spooled to a temporary file first).
    threads : int
        Decoder threads; 0 is one per CPU that this process may use.
    path : str, optional
        Name of a file object in messages and in ``info``.
    gpu : int, optional
        Index of the GPU that decodes what it can; see `PyAVSource`. YUV4MPEG2 needs no decoder.

    Raises
    ------
    VqafastError
        See `vqafast.errors`.
    """
    from vqafast.errors import Unreadable
    from vqafast.video.open import open_regular, peek
    from vqafast.video.pyav import PyAVSource
    from vqafast.video.sniff import Y4M_MAGIC
    from vqafast.video.y4m import Y4MSource

    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        file, owned = open_regular(source), True
    else:
        path, file, owned = path or str(getattr(source, "name", "<file object>")), source, False
    try:
        head, file = peek(file, len(Y4M_MAGIC))
    except OSError as error:
        if owned:
            file.close()
        raise Unreadable(f"{path}: cannot be read: {error.strerror}", path=path) from error
    if head == Y4M_MAGIC:
        return Y4MSource(file, path, owns_stream=owned)
    return PyAVSource(file, threads, path=path, owns_file=owned, gpu=gpu)
