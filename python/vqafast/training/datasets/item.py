"""What a reader returns: the videos that a label file lists, and what is known of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vqafast.training.splits import Split


@dataclass(frozen=True, slots=True)
class VideoItem:
    """One labelled video.

    Attributes
    ----------
    name : str
        As the label file lists it; unique in the dataset.
    path : Path
        Where the file is, or where it was expected when the dataset lists it as missing.
    mos : float
        On the scale of the authors.
    group : str
        Its content: videos of one group never stand on both sides of a content-disjoint split.
    split : str
        The authors' part: "train", "val", "test", or "" where they name none.
    extra : dict
        Other facts of the label file that somebody may want, with the authors' names.
    """

    name: str
    path: Path
    mos: float
    group: str
    split: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RankedPair:
    """Two videos of which people preferred `better`; `kind` is the authors' class of the pair."""

    better: str
    worse: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class VideoDataset:
    """A dataset as its label file describes it.

    Attributes
    ----------
    name, title : str
        The name in `DATASETS`, and the authors'.
    items : tuple of VideoItem
        Every video that is listed, in the order of the label file, whether its file is there or not.
    mos_range : (float, float)
        Lowest and highest MOS of the items.
    missing : tuple of str
        Names of the items without a file below the root.
    splits : tuple of Split or None
        Published partitions, when the label file brings them.
    pairs : tuple of RankedPair
        Ranked pairs (KVQ); empty elsewhere.
    labels : Path
        The label file that was read.
    """

    name: str
    title: str
    items: tuple[VideoItem, ...]
    mos_range: tuple[float, float]
    missing: tuple[str, ...]
    labels: Path
    splits: tuple[Split, ...] | None = None
    pairs: tuple[RankedPair, ...] = ()

    def __len__(self) -> int:
        return len(self.items)


def assemble(
    name: str,
    title: str,
    items: Sequence[VideoItem],
    labels: Path,
    *,
    missing: Sequence[str] = (),
    splits: tuple[Split, ...] | None = None,
    pairs: Sequence[RankedPair] = (),
) -> VideoDataset:
    """Check the items and put a dataset together.

    Raises
    ------
    InvalidArgument
        For an empty list, a name that occurs twice, two names of one file, a MOS that is not finite, or a
        pair with a video that is not listed. One bad row fails the file: it is either right or not.
    """
    where = labels.name
    if not items:
        raise InvalidArgument(f"{where}: a label file must list at least one video, got none")
    seen: set[str] = set()
    absent = set(missing)
    owners: dict[Path, str] = {}
    for item in items:
        if item.name not in absent and owners.setdefault(item.path, item.name) != item.name:
            raise InvalidArgument(
                f"{where}: every file must belong to one row, got {item.path} for {owners[item.path]!r} "
                f"and {item.name!r}"
            )
        if item.name in seen:
            raise InvalidArgument(f"{where}: every video must be listed once, got {item.name!r} twice")
        seen.add(item.name)
        if not math.isfinite(item.mos):
            raise InvalidArgument(f"{where}: MOS must be finite, got {item.mos} for {item.name!r}")
    for pair in pairs:
        for video in (pair.better, pair.worse):
            if video not in seen:
                raise InvalidArgument(f"{where}: ranked pairs must be of listed videos, got {video!r}")
    scores = [item.mos for item in items]
    return VideoDataset(
        name=name,
        title=title,
        items=tuple(items),
        mos_range=(min(scores), max(scores)),
        missing=tuple(missing),
        labels=labels,
        splits=splits,
        pairs=tuple(pairs),
    )
