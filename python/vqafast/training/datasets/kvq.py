"""KVQ, short videos with MOS and ranked pairs, and LPVQ, pictures with a MOS for each region."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training.datasets import tables
from vqafast.training.datasets.authentic import Row, collect, plain
from vqafast.training.datasets.files import first_found, stem
from vqafast.training.datasets.item import RankedPair, VideoDataset, VideoItem, assemble

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.training.datasets.files import Tree

#: One upload and its six processed versions (003, section 3.1: 600 and 3,600 videos).
VERSIONS = 7
GRID = 7

_KINDS = {"source": "homogeneous", "nonsource": "non-homogeneous"}


def kvq(tree: Tree, labels: Path | None) -> VideoDataset:
    """KVQ: 600 uploads and six processed versions of each, MOS 1 to 5, ranked pairs (003).

    Reads the challenge's ``train_data.csv`` (filename, score), the ``truth.csv`` of its validation
    set, or a list ``name, class, distortion, mos`` of the authors' code; beside it ranked pairs,
    ``rank-pair-*.xlsx`` (sheets "source": versions of one upload, "nonsource": different uploads; columns
    first video, second video, and 1 or 2 for the better one). Videos lie at ``train/0001.mp4``.

    The group is the upload: runs of seven successive numbers. The authors do not write that down; the
    numbering is inferred from 7 x 600 videos and from a public list of 14 left-out videos that are two
    such runs (0239 to 0245, 0827 to 0833). Files numbered otherwise are their own group.

    https://github.com/lixinustc/KVQ-Challenge-CVPR-NTIRE2024 (metric_score.py, datasets/,
    config/Kwai_KSVQE.yml).
    """
    path = tree.labels(labels, "train_data.csv", "truth.csv", "*train_split*.txt")
    if path.suffix.lower() == ".txt":
        rows = plain(path)
    else:
        table = tables.read_csv(path)
        name, mos = tables.column(table, path, "filename"), tables.column(table, path, "score", "mos")
        rows = [(r[name], tables.number_of(r[mos], f"{path.name}: {r[name]}"), {}) for r in table]
    dataset = collect("kvq", "KVQ", tree, path, rows, group=_upload, files=_kvq_files)
    ranks = _pair_file(path)
    if ranks is None:
        return dataset
    return assemble(
        dataset.name, dataset.title, dataset.items, path,
        missing=dataset.missing, pairs=read_pairs(ranks),
    )  # fmt: skip


def _kvq_files(name: str) -> list[str]:
    return [name, PurePosixPath(name).name]


def _upload(name: str) -> str:
    path = PurePosixPath(name)
    number = re.fullmatch(r"0*([1-9]\d*)", stem(path.name))
    if not number:
        return stem(name)
    return str(path.parent / f"upload{(int(number[1]) - 1) // VERSIONS:04d}")


def _pair_file(labels: Path) -> Path | None:
    """Return the workbook of ranked pairs beside the labels: that of the validation set for truth.csv."""
    part = "val" if labels.name.casefold() == "truth.csv" else "train"
    for pattern in (f"rank-pair-{part}.xlsx", f"rank_pair_{part}.xlsx"):
        if labels.with_name(pattern).exists():
            return labels.with_name(pattern)
    return None


def read_pairs(path: Path) -> list[RankedPair]:
    """Ranked pairs of a workbook of KVQ; see `kvq` for its form.

    Raises
    ------
    InvalidArgument
        For a rank that is neither 1 nor 2.
    """
    pairs = []
    for sheet, rows in tables.read_workbook(path).items():
        kind = _KINDS.get(sheet.casefold(), sheet)
        for cells in rows[1:]:
            if not any(cells):
                continue
            first, second, rank = (*cells, "", "", "")[:3]
            if rank not in ("1", "2", "1.0", "2.0"):
                raise InvalidArgument(f"{path.name}: a rank must be 1 or 2, got {rank!r} in {sheet}")
            order = (first, second) if rank.startswith("1") else (second, first)
            pairs.append(RankedPair(*order, kind))
    return pairs


def lpvq(tree: Tree, labels: Path | None) -> VideoDataset:
    """LPVQ: 50 pictures with the MOS of each of 7 x 7 regions (002, section 2).

    The form of the authors' label file could not be verified (their repository is
    https://github.com/qyp2000/KVQ). Read are a CSV whose first column is the name and whose next 49 the
    regions' MOS, row by row from the top left, and a JSON object from names to 7 x 7 numbers.
    ``extra["regions"]`` is that ``(7, 7)`` array; the item's MOS is its mean, since the paper gives
    no score of a whole picture.
    """
    path = tree.labels(labels, "LPVQ*.csv", "LPVQ*.json")
    regions = _json_regions(path) if path.suffix.lower() == ".json" else _csv_regions(path)
    items, missing = [], []
    for name, scores in regions:
        if not np.isfinite(scores).all():
            raise InvalidArgument(f"{path.name}: MOS must be finite in every region, got others for {name!r}")
        found, there = first_found(tree, [name, PurePosixPath(name).name])
        if not there:
            missing.append(name)
        items.append(VideoItem(name, found, float(scores.mean()), stem(name), "", {"regions": scores}))
    return assemble("lpvq", "LPVQ", items, path, missing=missing)


def _csv_regions(path: Path) -> list[tuple[str, Any]]:
    result = []
    for row in tables.read_csv(path):
        name, *cells = row.values()
        if len(cells) != GRID * GRID:
            raise InvalidArgument(f"{path.name}: a row must be a name and 49 scores, got {len(cells)}")
        where = f"{path.name}: {name}"
        result.append((name, np.array([tables.number_of(c, where) for c in cells]).reshape(GRID, GRID)))
    return result


def _json_regions(path: Path) -> list[tuple[str, Any]]:
    try:
        data = json.loads(tables.read_text(path))
    except ValueError as error:
        raise InvalidArgument(f"{path.name}: must be a JSON object, got {error}") from error
    if not isinstance(data, dict):
        raise InvalidArgument(f"{path.name}: must be a JSON object, got {type(data).__name__}")
    result = []
    for name, scores in data.items():
        try:
            table = np.array(scores, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"{path.name}: {name!r} must have 7 x 7 numbers, got {error}") from error
        if table.shape != (GRID, GRID):
            raise InvalidArgument(f"{path.name}: {name!r} must have 7 x 7 numbers, got {table.shape}")
        result.append((name, table))
    return result


def table_of_videos(tree: Tree, labels: Path | None) -> VideoDataset:
    """Any CSV with the columns name, mos and, if wanted, split and group; the others are kept.

    Names are relative to the root. ``split`` is train, val or test; without ``group`` every video is its
    own.
    """
    path = tree.labels(labels, "labels.csv")
    table = tables.read_csv(path)
    name, mos = tables.column(table, path, "name"), tables.column(table, path, "mos")
    split = tables.column(table, path, "split") if tables.has_column(table, "split") else None
    group = tables.column(table, path, "group") if tables.has_column(table, "group") else None
    rows: list[Row] = []
    marks: dict[str, str] = {}
    groups: dict[str, str] = {}
    for row in table:
        where = f"{path.name}: {row[name]}"
        marks[row[name]] = row[split] if split else ""
        groups[row[name]] = row[group] if group else stem(row[name])
        facts = {k: v for k, v in row.items() if k not in (name, mos, split, group)}
        rows.append((row[name], tables.number_of(row[mos], where), facts))
        if marks[row[name]] not in ("", "train", "val", "test"):
            raise InvalidArgument(f"{where}: split must be train, val or test, got {marks[row[name]]!r}")
    return collect("csv", path.name, tree, path, rows, split=lambda n: marks[n], group=lambda n: groups[n])
