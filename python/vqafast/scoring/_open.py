"""Which source reads a path, standard input or a file object, and how it is called off."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from vqafast import video
from vqafast.errors import InvalidArgument
from vqafast.scoring._pipe import cancellable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vqafast.video.dali import DaliDecoder
    from vqafast.video.sampling import Selector
    from vqafast.video.source import FrameSource

_PIPE_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Opened:
    """A source, and what ends a read of it, by another thread, that takes long (None where none does)."""

    source: FrameSource
    cancel: Callable[[], None] | None = None


@contextlib.contextmanager
def open_source(
    path: str | os.PathLike[str] | BinaryIO,
    threads: int,
    gpu: int | None = None,
    *,
    dali: DaliDecoder | None = None,
    selector: Selector | None = None,
) -> Iterator[Opened]:
    """Open `path` for one pass; everything that was opened here is closed at the end.

    Parameters
    ----------
    path : path or binary file object
        "-" is standard input. A file object stays open. YUV4MPEG2 from a pipe is read as it comes,
        anything else that cannot seek is copied to a temporary file first.
    gpu : int, optional
        Index of the GPU that decodes what it can.
    dali : DaliDecoder, optional
        Decodes the files that it can, and begins with what `selector` chooses.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path) == "-":
            yield _standard_input(stack, threads, gpu)
        elif isinstance(path, (str, os.PathLike)) or hasattr(path, "read"):
            source: FrameSource
            if dali is not None:
                source = dali.open(path, selector)
            else:
                source = video.open_source(path, threads, gpu=gpu)
            yield Opened(stack.enter_context(source), getattr(source, "cancel", None))
        else:
            raise InvalidArgument(f"path: must be a path or a binary file object, got {type(path).__name__}")


def _standard_input(stack: contextlib.ExitStack, threads: int, gpu: int | None) -> Opened:
    stdin: BinaryIO = sys.stdin.buffer
    cancel = None
    pipe = cancellable(stdin)
    if pipe is not None:
        stdin = cast("BinaryIO", io.BufferedReader(pipe, _PIPE_BUFFER))
        stack.callback(stdin.close)
        cancel = pipe.cancel
    source: FrameSource = video.open_source(stdin, threads, path="-", gpu=gpu)
    # What cannot seek was copied, and is read as a file.
    return Opened(stack.enter_context(source), getattr(source, "cancel", cancel))
