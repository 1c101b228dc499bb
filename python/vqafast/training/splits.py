"""Partitions into training, validation and test parts: random by content, official, or published."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from vqafast.training.datasets.item import VideoDataset, VideoItem

Ratio = tuple[float, ...]

#: Shares of training, validation and test videos: the split of VSFA and SimpleVQA.
THREE_WAY: Ratio = (0.6, 0.2, 0.2)
#: Training and test only: the split of FAST-VQA, whose settings A2INet follows too (001, section 4.1).
TWO_WAY: Ratio = (0.8, 0.2)
#: Share of an official training set that is set aside for validation.
OFFICIAL_VALIDATION = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One partition: sorted, disjoint arrays of indices into the items; `val` may be empty."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.train) or not len(self.test):
            raise InvalidArgument(
                f"split: train and test must hold a video each, got {len(self.train)} and {len(self.test)}"
            )
        everything = np.concatenate([self.train, self.val, self.test])
        if len(np.unique(everything)) != len(everything):
            raise InvalidArgument("split: no video may be in two parts or twice in one, got an overlap")


def splits(
    data: VideoDataset | Sequence[VideoItem],
    n: int = 10,
    seed: int = 0,
    ratio: Ratio | Literal["published", "official"] | None = None,
    *,
    by: Literal["group", "video"] = "group",
) -> list[Split]:
    """Return `n` partitions of a dataset.

    Parameters
    ----------
    data : VideoDataset or sequence of VideoItem
    n : int
        How many; the papers repeat ten times and report the median (001, section 4.1).
    seed : int
        Of the random partitions. The same seed gives the same partitions on every machine and in
        every version of NumPy, whatever the order of the items.
    ratio : tuple of float, "published", "official" or None
        Shares of ``(train, val, test)`` or ``(train, test)`` that add up to 1; the partitions that came
        with the label file; or the authors' train and test sets, with a tenth of the training groups
        for validation. None takes what the dataset has, in this order: published, official, 60/20/20.
    by : "group" or "video"
        Random partitions keep all videos of a content in one part; "video" ignores contents, as many
        papers do. Published partitions are taken as they are.

    Raises
    ------
    InvalidArgument
        When the dataset has no such partitions, or too few groups to fill every part.
    """
    # A sequence may be of anything that has group, name and split, so nothing is imported to tell.
    held: Any = data
    items: tuple[VideoItem, ...] = tuple(getattr(held, "items", held))
    published: tuple[Split, ...] | None = getattr(held, "splits", None)
    if n < 1:
        raise InvalidArgument(f"splits: n must be at least 1, got {n}")
    if ratio is None:
        ratio = "published" if published else "official" if _official(items) else THREE_WAY
    if ratio == "published":
        if not published:
            raise InvalidArgument("splits: the label file must bring published splits, got none")
        if n > len(published):
            raise InvalidArgument(f"splits: n must be at most {len(published)}, the published ones, got {n}")
        return list(published[:n])
    if ratio == "official":
        return official_splits(items, n, seed)
    shares: Any = ratio
    if isinstance(shares, str):
        raise InvalidArgument(f"splits: ratio must be shares, 'published' or 'official', got {shares!r}")
    names = [item.group if by == "group" else item.name for item in items]
    return random_splits(names, n, seed, tuple(shares))


def random_splits(groups: Sequence[str], n: int, seed: int, ratio: Ratio = THREE_WAY) -> list[Split]:
    """Partition by group, `n` times; `groups` names the content of each video.

    Groups are put in the order of a hash of seed, repetition and name, and cut where the shares of
    *videos* come closest to `ratio` while every part keeps at least one group.
    """
    if len(ratio) not in (2, 3) or min(ratio) <= 0 or abs(sum(ratio) - 1) > 1e-6:
        raise InvalidArgument(f"splits: ratio must be 2 or 3 positive shares that add up to 1, got {ratio!r}")
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < len(ratio):
        raise InvalidArgument(f"splits: {len(ratio)} parts need as many groups of content, got {len(names)}")
    sizes = np.bincount(member, minlength=len(names))
    result = []
    for k in range(n):
        order = np.array(sorted(range(len(names)), key=lambda i: _key(seed, k, str(names[i]))))
        rank = np.empty(len(names), dtype=np.int64)
        rank[order] = np.arange(len(names))
        bounds = [0, *_cuts(sizes[order], ratio), len(names)]
        place = rank[member]
        parts = [np.flatnonzero((place >= lo) & (place < hi)) for lo, hi in pairwise(bounds)]
        if len(parts) == 2:
            parts.insert(1, np.empty(0, dtype=np.int64))
        result.append(Split(*parts))
    return result


def official_splits(items: Sequence[VideoItem], n: int, seed: int) -> list[Split]:
    """Split by the authors' test set; `n` draws of validation groups from their training set."""
    if not _official(items):
        raise InvalidArgument(
            "splits: official splits need items marked train and items marked test, "
            f"got marks {sorted({item.split for item in items})}"
        )
    train = np.array([i for i, item in enumerate(items) if item.split == "train"])
    test = np.array([i for i, item in enumerate(items) if item.split == "test"])
    val = np.array([i for i, item in enumerate(items) if item.split == "val"], dtype=np.int64)
    if len(val):
        return [Split(train, val, test)] * n
    groups = [items[i].group for i in train]
    if len(set(groups)) < 2:
        return [Split(train, val, test)] * n
    ratio = (1 - OFFICIAL_VALIDATION, OFFICIAL_VALIDATION)
    return [Split(train[s.train], train[s.test], test) for s in random_splits(groups, n, seed, ratio)]


def published_splits(index: ArrayLike, reference_ids: ArrayLike) -> tuple[Split, ...]:
    """Partitions from the ``index`` and ``ref_ids`` of an info file.

    Parameters
    ----------
    index : (N, S) array
        S permutations of N identifiers, one in each column.
    reference_ids : (N,) array
        The identifier of each video's content.

    Notes
    -----
    With N rows, the first ceil(0.6 N) identifiers of a column are for training, those from
    ceil(0.8 N) on for testing, the rest for validation; a video follows its identifier, and
    training wins where one occurs twice. So read in ``VSFA.py`` of
    https://github.com/lidq92/VSFA, whose authors made these files. There every video is its own
    reference: videos of one scene do land in different parts.
    """
    table, ids = np.asarray(index), np.asarray(reference_ids).ravel()
    if table.ndim != 2 or len(table) != len(ids):
        raise InvalidArgument(f"info file: index must be ({len(ids)}, splits), got {table.shape}")
    if not np.isin(ids, table[:, 0]).all():
        raise InvalidArgument("info file: every reference id must stand in index, got others")
    # In floating point as its authors wrote it: 1 - 0.2 - 0.2 is a little more than 0.6, so that
    # 1,200 videos have 721 for training.
    first, second = math.ceil((1 - 0.2 - 0.2) * len(table)), math.ceil((1 - 0.2) * len(table))
    result = []
    for column in table.T:
        train = np.isin(ids, column[:first])
        test = np.isin(ids, column[second:]) & ~train
        result.append(Split(*(np.flatnonzero(m) for m in (train, ~train & ~test, test))))
    return tuple(result)


def _official(items: Sequence[VideoItem]) -> bool:
    return {"train", "test"} <= {item.split for item in items}


def _key(seed: int, repetition: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{repetition}\0{name}".encode()).digest()


def _cuts(sizes: NDArray[np.int64], ratio: Ratio) -> list[int]:
    """Positions between groups where the cumulated share of videos is closest to that of `ratio`."""
    filled = np.concatenate([[0], np.cumsum(sizes)]) / sizes.sum()
    cuts: list[int] = []
    for part, share in enumerate(np.cumsum(ratio)[:-1]):
        lowest = cuts[-1] + 1 if cuts else 1
        highest = len(sizes) - (len(ratio) - 1 - part)
        span = filled[lowest : highest + 1]
        cuts.append(lowest + int(np.abs(span - share).argmin()))
    return cuts
