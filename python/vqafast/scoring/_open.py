"""Which source reads a path, standard input or a file object."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from vqafast.errors import InvalidArgument
from vqafast.scoring._pipe import CancellableReader, cancellable
from vqafast.video.open import open_regular
from vqafast.video.pyav import PyAVSource
from vqafast.video.sniff import Y4M_MAGIC
from vqafast.video.y4m import Y4MSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vqafast.video.source import FrameSource

_PIPE_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Opened:
    """A source, and what ends a read of it that waits for another process (None for files)."""

    source: FrameSource
    cancel: Callable[[], None] | None = None


@contextlib.contextmanager
def open_source(path: str | os.PathLike[str] | BinaryIO, threads: int) -> Iterator[Opened]:
    """Open `path` for one pass; everything that was opened here is closed at the end.

    Parameters
    ----------
    path : path or binary file object
        "-" is y4m on standard input. A file object stays open; one that cannot seek is read as
        y4m, one that can by what its first bytes say.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(path, (str, os.PathLike)):
            if os.fspath(path) == "-":
                yield _standard_input(stack)
                return
            name = os.fspath(path)
            file = stack.enter_context(open_regular(path))
        elif hasattr(path, "read"):
            name, file = str(getattr(path, "name", "<file object>")), path
        else:
            raise InvalidArgument(f"path: must be a path or a binary file object, got {type(path).__name__}")
        if not file.seekable() or _is_y4m(file):
            source: FrameSource = Y4MSource(file, name)
        elif file is path:
            source = PyAVSource(file, threads)
        else:
            source = PyAVSource(path, threads)
        yield Opened(stack.enter_context(source))


def _standard_input(stack: contextlib.ExitStack) -> Opened:
    stdin = sys.stdin.buffer
    pipe: CancellableReader | None = cancellable(stdin)
    if pipe is None:
        return Opened(stack.enter_context(Y4MSource(stdin, "-")))
    buffered = io.BufferedReader(pipe, _PIPE_BUFFER)
    stack.callback(buffered.close)
    return Opened(stack.enter_context(Y4MSource(cast("BinaryIO", buffered), "-")), pipe.cancel)


def _is_y4m(file: BinaryIO) -> bool:
    start = file.tell()
    head = file.read(len(Y4M_MAGIC))
    file.seek(start)
    return head == Y4M_MAGIC
