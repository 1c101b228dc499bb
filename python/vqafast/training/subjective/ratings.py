"""The table of raw ratings of a subjective study, and the checks it must pass."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vqafast.errors import InvalidArgument, IsDirectory, MissingFile, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LONG = ("observer", "video", "rating")
SESSION = "session"
FIRST_OF_WIDE = ("video", "name", "filename", "file")
ACR = (1.0, 5.0)


class Rating(NamedTuple):
    """One rating; `where` names its place in the source for messages."""

    observer: str
    video: str
    value: float
    session: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Ratings:
    """Who rated what how.

    Attributes
    ----------
    observers, videos : tuple of str
        In the order in which they first appear.
    values : ndarray
        ``(observers, videos)`` float64; NaN where an observer did not rate a video. The mean, where
        one rated it in several sessions.
    scale : (float, float)
        Lowest and highest rating possible.
    """

    observers: tuple[str, ...]
    videos: tuple[str, ...]
    values: NDArray[np.float64]
    scale: tuple[float, float]

    @classmethod
    def of(cls, ratings: Iterable[Rating], scale: tuple[float, float] = ACR) -> Ratings:
        """The table of single ratings.

        Raises
        ------
        InvalidArgument
            When there are none; when a rating is not finite or outside `scale`; when one observer
            rated one video twice in one session; when there are fewer than two observers, or one of
            them rated a single video.
        """
        low, high = scale
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InvalidArgument(f"ratings: scale must be two finite numbers, low < high, got {scale}")
        seen: dict[tuple[str, str, str], str] = {}
        cells: dict[tuple[str, str], list[float]] = {}
        for one in ratings:
            at = f" ({one.where})" if one.where else ""
            who = f"observer {one.observer!r} of video {one.video!r}"
            if not one.observer or not one.video:
                raise InvalidArgument(f"ratings: observer and video must be named, got an empty name{at}")
            if not math.isfinite(one.value):
                raise InvalidArgument(f"ratings: must be finite numbers, got {one.value} by {who}{at}")
            if not low <= one.value <= high:
                raise InvalidArgument(
                    f"ratings: must be on the scale {low:g}..{high:g}, got {one.value:g} by {who}{at}"
                )
            key = one.observer, one.video, one.session
            if key in seen:
                first = f", first {seen[key]}" if seen[key] else ""
                raise InvalidArgument(
                    f"ratings: one per observer, video and session, got a second by {who}{at}{first}"
                )
            seen[key] = one.where
            cells.setdefault((one.observer, one.video), []).append(one.value)
        if not cells:
            raise InvalidArgument("ratings: must hold at least one rating, got none")
        observers = {name: i for i, name in enumerate(dict.fromkeys(o for o, _ in cells))}
        videos = {name: j for j, name in enumerate(dict.fromkeys(v for _, v in cells))}
        values = np.full((len(observers), len(videos)), np.nan)
        for (observer, video), given in cells.items():
            values[observers[observer], videos[video]] = sum(given) / len(given)
        if len(observers) < 2:
            raise InvalidArgument(f"ratings: must come from two observers at least, got {len(observers)}")
        rated = np.isfinite(values).sum(axis=1)
        single = [name for name, i in observers.items() if rated[i] < 2]
        if single:
            raise InvalidArgument(
                f"ratings: every observer must have rated two videos at least, got one by {_some(single)}"
            )
        return cls(tuple(observers), tuple(videos), values, (low, high))

    @property
    def count(self) -> int:
        """Number of observer-video pairs with a rating."""
        return int(np.isfinite(self.values).sum())


def read_ratings(path: Path, *, scale: tuple[float, float] = ACR) -> Ratings:
    """Read a CSV file of raw ratings, long or wide.

    Long: columns ``observer, video, rating`` and optionally ``session``, in any order, one rating a
    row. Wide: a first column ``video`` (or ``name``, ``filename``, ``file``) and a column for each
    observer; an empty cell is a video that this observer did not rate.

    Parameters
    ----------
    path : Path
        UTF-8, separated by commas.
    scale : (float, float)
        Lowest and highest rating possible; 1 to 5 by default.

    Raises
    ------
    MissingFile, IsDirectory, Unreadable
        When the file cannot be read.
    InvalidArgument
        When it is empty, is no such table, or breaks a requirement of `Ratings.of`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise MissingFile(f"{path}: no such file", path=str(path)) from None
    except IsADirectoryError:
        raise IsDirectory(f"{path}: must be a file, got a directory", path=str(path)) from None
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}", path=str(path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidArgument(f"ratings: must be CSV in UTF-8, got: {error}", path=str(path)) from None
    try:
        return Ratings.of(_parsed(rows), scale)
    except InvalidArgument as error:
        raise InvalidArgument(error.message, path=str(path)) from None


def _parsed(rows: Sequence[tuple[int, list[str]]]) -> Iterator[Rating]:
    if not rows:
        raise InvalidArgument("ratings: must hold a header and ratings, got an empty file")
    header = [cell.strip() for cell in rows[0][1]]
    names = [cell.lower() for cell in header]
    if any(names.count(name) > 1 for name in names) or "" in names:
        raise InvalidArgument(f"ratings: columns must have names of their own, got {', '.join(header)}")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InvalidArgument(
                f"ratings: rows must have the header's {len(header)} cells, got {len(row)} on line {line}"
            )
    if set(LONG) <= set(names):
        yield from _long(names, rows[1:])
    elif names[0] in FIRST_OF_WIDE and len(names) > 1 and not {"observer", "rating"} & set(names):
        yield from _wide(header, rows[1:])
    else:
        raise InvalidArgument(
            "ratings: columns must be observer, video, rating, or video and one for each observer, got "
            + ", ".join(header)
        )


def _long(names: list[str], rows: Sequence[tuple[int, list[str]]]) -> Iterator[Rating]:
    observer, video, rating = (names.index(name) for name in LONG)
    session = names.index(SESSION) if SESSION in names else None
    for line, row in rows:
        yield Rating(
            row[observer].strip(), row[video].strip(), _number(row[rating], line),
            row[session].strip() if session is not None else "", f"line {line}",
        )  # fmt: skip


def _wide(header: list[str], rows: Sequence[tuple[int, list[str]]]) -> Iterator[Rating]:
    seen: dict[str, int] = {}
    for line, row in rows:
        video = row[0].strip()
        if video in seen:
            raise InvalidArgument(
                f"ratings: one row for each video, got {video!r} on lines {seen[video]} and {line}"
            )
        seen[video] = line
        if not any(cell.strip() for cell in row[1:]):
            raise InvalidArgument(f"ratings: every video must have a rating, got none on line {line}")
        for observer, cell in zip(header[1:], row[1:], strict=True):
            if cell.strip():
                yield Rating(observer, video, _number(cell, line), where=f"line {line}")


def _number(cell: str, line: int) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InvalidArgument(f"ratings: must be numbers, got {cell.strip()!r} on line {line}") from None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
