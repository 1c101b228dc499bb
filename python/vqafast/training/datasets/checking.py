"""What of a dataset is there, and what can be opened."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import NotAVideo, VqafastError
from vqafast.video import open_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vqafast.training.datasets.item import VideoDataset, VideoItem

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")


@dataclass(frozen=True, slots=True)
class Unopened:
    """A file that is there and cannot be opened; `code` is that of `vqafast.errors`."""

    name: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found.

    Attributes
    ----------
    name, title, labels : str
    videos : int
        How many the label file lists: ``found + len(missing)``.
    found : int
        How many have a file, readable or not.
    missing : tuple of str
        Names without a file.
    unreadable : tuple of Unopened
        Files that `vqafast.video` does not open.
    mos : (float, float)
        Lowest and highest MOS.
    groups : int
        Contents.
    official : dict
        Videos by the authors' part; empty when they name none.
    published : int
        Published partitions.
    pairs : int
        Ranked pairs.
    """

    name: str
    title: str
    labels: str
    videos: int
    found: int
    missing: tuple[str, ...]
    unreadable: tuple[Unopened, ...]
    mos: tuple[float, float]
    groups: int
    official: dict[str, int]
    published: int
    pairs: int

    @property
    def complete(self) -> bool:
        """Whether every listed video is there and opens."""
        return not self.missing and not self.unreadable

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with "complete"."""
        return {**asdict(self), "complete": self.complete}


def check(dataset: VideoDataset, progress: Callable[[VideoItem], None] | None = None) -> Report:
    """Open every video that is there, which decodes its first frame.

    Pictures (LPVQ) are recognised by their first bytes.
    """
    missing = set(dataset.missing)
    unreadable = []
    for item in dataset.items:
        if item.name not in missing:
            try:
                _open(item.path, picture="regions" in item.extra)
            except VqafastError as error:
                unreadable.append(Unopened(item.name, error.code, str(error)))
        if progress:
            progress(item)
    marks = Counter(item.split for item in dataset.items if item.split)
    return Report(
        name=dataset.name,
        title=dataset.title,
        labels=str(dataset.labels),
        videos=len(dataset.items),
        found=len(dataset.items) - len(missing),
        missing=dataset.missing,
        unreadable=tuple(unreadable),
        mos=dataset.mos_range,
        groups=len({item.group for item in dataset.items}),
        official=dict(sorted(marks.items())),
        published=len(dataset.splits or ()),
        pairs=len(dataset.pairs),
    )


def _open(path: Path, *, picture: bool) -> None:
    if picture:
        with path.open("rb") as file:
            head = file.read(8)
        if not head.startswith(_PICTURES):
            raise NotAVideo(f"{path}: must be a PNG, JPEG or BMP picture", path=str(path))
        return
    if path.suffix.lower() == ".yuv":
        raise NotAVideo(
            f"{path}: raw YUV has no header; wrap it first, with its own size and rate: ffmpeg -f rawvideo "
            f"-pix_fmt yuv420p -s 1920x1080 -r 30 -i {path.name} {path.stem}.y4m",
            path=str(path),
        )
    open_source(path, threads=1).close()
