"""The datasets that can be read, one row each, and the one way in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument
from vqafast.training.datasets import authentic, kvq, lsvq, matlab, tables
from vqafast.training.datasets.files import Tree, existing
from vqafast.training.datasets.item import VideoDataset
from vqafast.training.splits import Split

if TYPE_CHECKING:
    import os

Reader = Callable[[Tree, Path | None], VideoDataset]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One dataset: how it is read, what it is, and where it is from.

    `videos` and `mos` are as published (001, table 1, where it has them): what is read may differ.
    """

    reader: Reader
    title: str
    videos: int | None
    mos: tuple[float, float] | None
    citation: str
    address: str


_LSVQ = "Ying et al., Patch-VQ, CVPR 2021"
_LSVQ_AT = "https://github.com/baidut/PatchVQ"

DATASETS: dict[str, Entry] = {
    "cvd2014": Entry(
        authentic.cvd2014, "CVD2014", 234, (-6.5, 93.4), "Nuutinen et al., IEEE TIP 2016",
        "https://zenodo.org/records/2646315",
    ),
    "live_qualcomm": Entry(
        authentic.live_qualcomm, "LIVE-Qualcomm", 208, (16.6, 73.6), "Ghadiyaram et al., IEEE TCSVT 2018",
        "https://live.ece.utexas.edu/research/incaptureDatabase/",
    ),
    "live_vqc": Entry(
        authentic.live_vqc, "LIVE-VQC", 585, (6.2, 94.3), "Sinno and Bovik, IEEE TIP 2019",
        "https://live.ece.utexas.edu/research/LIVEVQC/",
    ),
    "konvid1k": Entry(
        authentic.konvid1k, "KoNViD-1k", 1200, (1.2, 4.6), "Hosu et al., QoMEX 2017",
        "https://database.mmsp-kn.de/konvid-1k-database.html",
    ),
    "youtube_ugc": Entry(
        authentic.youtube_ugc, "YouTube-UGC", 1142, (1.2, 4.7), "Wang et al., MMSP 2019",
        "https://media.withyoutube.com/",
    ),
    "lsvq": Entry(lsvq.lsvq, "LSVQ train and test", 28056 + 7182, (2.4, 91.4), _LSVQ, _LSVQ_AT),
    "lsvq_train": Entry(lsvq.lsvq_train, "LSVQ train", 28056, None, _LSVQ, _LSVQ_AT),
    "lsvq_test": Entry(lsvq.lsvq_test, "LSVQ test", 7182, None, _LSVQ, _LSVQ_AT),
    "lsvq_1080p": Entry(lsvq.lsvq_1080p, "LSVQ 1080p", 3573, None, _LSVQ, _LSVQ_AT),
    "kvq": Entry(
        kvq.kvq, "KVQ", 4200, (1, 5), "Lu et al., CVPR 2024",
        "https://github.com/lixinustc/KVQ-Challenge-CVPR-NTIRE2024",
    ),
    "lpvq": Entry(kvq.lpvq, "LPVQ", 50, (1, 5), "Qu et al., CVPR 2025", "https://github.com/qyp2000/KVQ"),
    "csv": Entry(kvq.table_of_videos, "your own", None, None, "", ""),
}  # fmt: skip


def load_dataset(
    name: str,
    root: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    split_file: str | os.PathLike[str] | None = None,
) -> VideoDataset:
    """Read a dataset's labels and find its videos below `root`.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    root : path
        The folder of the videos; they may lie in any folder below it.
    labels : path, optional
        The label file; looked for below the root when it is not given. Any form that the dataset's
        reader knows will do.
    split_file : path, optional
        Partitions to use: an info file of VSFA (``.mat``), matched by name, or a CSV with the columns
        name and split (train, val, test).

    Raises
    ------
    InvalidArgument, MissingFile, IsDirectory, EngineUnavailable
        Of the arguments and the label file. A video without a file is no error: the dataset lists it.
    """
    if name not in DATASETS:
        raise InvalidArgument(f"dataset: name must be one of {', '.join(DATASETS)}, got {name!r}")
    tree = Tree(root)
    dataset = DATASETS[name].reader(tree, existing(labels) if labels is not None else None)
    return _with_splits(dataset, existing(split_file)) if split_file is not None else dataset


def _with_splits(dataset: VideoDataset, path: Path) -> VideoDataset:
    listed = [item.name for item in dataset.items]
    if path.suffix.lower() == ".mat":
        info = matlab.read_info(path)
        if sorted(info.names) != sorted(listed):
            raise InvalidArgument(
                f"{path.name}: the info file must list the dataset's videos, got "
                f"{len(set(info.names) & set(listed))} of {len(listed)} names in common"
            )
        place = {name: i for i, name in enumerate(listed)}
        new = [place[name] for name in info.names]
        return dataclasses.replace(dataset, splits=tuple(_renumbered(s, new) for s in info.splits))
    table = tables.read_csv(path)
    name, split = tables.column(table, path, "name"), tables.column(table, path, "split")
    marks = {row[name]: row[split] for row in table}
    without = [n for n in listed if marks.get(n) not in ("train", "val", "test")]
    if without:
        raise InvalidArgument(
            f"{path.name}: every video must be marked train, val or test, got "
            f"{marks.get(without[0])!r} for {without[0]!r}"
        )
    items = tuple(dataclasses.replace(item, split=marks[item.name]) for item in dataset.items)
    return dataclasses.replace(dataset, items=items)


def _renumbered(split: Split, new: list[int]) -> Split:
    import numpy as np

    table = np.array(new, dtype=np.int64)
    return Split(*(np.sort(table[part]) for part in (split.train, split.val, split.test)))
