"""Several videos at once with one loaded model, so that decoders and model are busy together."""

from __future__ import annotations

import queue
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vqafast.errors import VqafastError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vqafast.scoring.assessment import Assessment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input: an assessment, or the error that kept it from being scored.

    Attributes
    ----------
    index : int
        Position in the input.
    path : str
    assessment : Assessment or None
    error : VqafastError or None
        With code "internal" for an error that vqafast did not raise on purpose.
    """

    index: int
    path: str
    assessment: Assessment | None = None
    error: VqafastError | None = None


def outcome_of(index: int, path: str, assess: Callable[[str], Assessment]) -> Outcome:
    """Assess `path`; every error becomes part of the outcome."""
    try:
        return Outcome(index, path, assess(path))
    except VqafastError as error:
        _release(error)
        return Outcome(index, path, error=error)
    except Exception as error:
        _release(error)
        wrapped = VqafastError(f"{path}: {type(error).__name__}: {error}", path=path)
        wrapped.__cause__ = error
        return Outcome(index, path, error=wrapped)


def _release(error: BaseException) -> None:
    """Drop the variables of the calls that led to `error`, and to those that led to it.

    An outcome is kept, and its error would keep decoders and pictures, on a GPU too. What its traceback
    prints stays the same.
    """
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            left += [one.__cause__, one.__context__]


def run_all(inputs: Iterable[T], work: Callable[[int, T], Outcome], workers: int) -> Iterator[Outcome]:
    """Call `work` on every input in `workers` threads; yield the outcomes as they come.

    Inputs are taken only as workers become free, and a worker waits until its outcome is taken: at
    most ``2 * workers`` inputs are under way, however many there are. Closing the iterator lets the
    inputs that were begun finish, and begins no other.

    Raises
    ------
    Exception
        What iterating over `inputs` raises, after the outcomes of the inputs before.
    """
    feed = enumerate(inputs)
    feed_lock = threading.Lock()
    done: queue.Queue[Outcome | BaseException | None] = queue.Queue(maxsize=workers)
    stopped = threading.Event()

    def serve() -> None:
        last: BaseException | None = None
        try:
            while not stopped.is_set():
                with feed_lock:
                    item = next(feed, None)
                if item is None:
                    break
                done.put(work(*item))
        except BaseException as error:
            last = error
        done.put(last)

    threads = [threading.Thread(target=serve, name=f"vqafast-video-{i}", daemon=True) for i in range(workers)]
    for thread in threads:
        thread.start()
    failure: BaseException | None = None
    ended = 0
    try:
        while ended < workers:
            got = done.get()
            if isinstance(got, Outcome):
                yield got
            else:
                ended += 1
                if got is not None:
                    failure = failure or got
                    stopped.set()
    finally:
        stopped.set()
        while ended < workers:
            ended += not isinstance(done.get(), Outcome)
        for thread in threads:
            thread.join()
    if failure is not None:
        raise failure
