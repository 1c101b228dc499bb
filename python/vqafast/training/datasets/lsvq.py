"""LSVQ: 38,811 videos in an official training set and two test sets (Ying et al., CVPR 2021)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument
from vqafast.training.datasets import tables
from vqafast.training.datasets.authentic import Row, collect, plain
from vqafast.training.datasets.files import stem

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.training.datasets.files import Tree
    from vqafast.training.datasets.item import VideoDataset

_BOTH = "labels_train_test.csv"
_PARTS = {
    "train": ("train_labels.txt", "LSVQ_train*.txt", "labels_train.txt"),
    "test": ("labels_test.txt", "LSVQ_labels_test.txt"),
    "1080p": ("labels_test_1080p.csv", "labels_1080p.txt", "LSVQ_labels_1080p.txt"),
}


def lsvq(tree: Tree, labels: Path | None) -> VideoDataset:
    """LSVQ's training set with its test set, marked "train" and "test": 28,056 and 7,182 in 001.

    Reads the authors' ``labels_train_test.csv`` (name without a suffix, mos, is_test; boxes and MOS
    of the patches beside them), or FAST-VQA's ``train_labels.txt`` with its ``labels_test.txt``.
    Videos lie at ``yfcc-batch1/747.mp4``. Every video is its own group.

    https://github.com/baidut/PatchVQ (README; release v0.1).

    Raises
    ------
    InvalidArgument
        When the CSV has no ``is_test``, or a list for training shares videos with the test list.
    """
    path = tree.labels(labels, _BOTH, *_PARTS["train"])
    rows, marks = _marked(tree, path)
    return _gather("lsvq", "LSVQ", tree, path, rows, marks)


def lsvq_part(part: str, tree: Tree, labels: Path | None) -> VideoDataset:
    """One of LSVQ's parts: "train", "test" or "1080p"; see `lsvq`."""
    name, title = f"lsvq_{part}", f"LSVQ {part}"
    if part == "1080p":
        path = tree.labels(labels, *_PARTS[part])
        rows = plain(path) if path.suffix.lower() == ".txt" else _authors(path)[0]
        marks = {n: "test" for n, *_ in rows}
    else:
        path = tree.labels(labels, _BOTH, *_PARTS[part])
        if part == "test" and path.suffix.lower() == ".txt":
            rows = plain(path)
            marks = {n: "test" for n, *_ in rows}
        else:
            rows, marks = _marked(tree, path)
        rows = [row for row in rows if marks[row[0]] == part]
    return _gather(name, title, tree, path, rows, marks)


lsvq_train = partial(lsvq_part, "train")
lsvq_test = partial(lsvq_part, "test")
lsvq_1080p = partial(lsvq_part, "1080p")


def _gather(
    name: str, title: str, tree: Tree, path: Path, rows: list[Row], marks: dict[str, str]
) -> VideoDataset:
    return collect(
        name, title, tree, path, rows, split=lambda n: marks[n], files=lambda n: [f"{stem(n)}.mp4", n]
    )


def _authors(path: Path) -> tuple[list[Row], dict[str, str]]:
    table = tables.read_csv(path)
    name, mos = tables.column(table, path, "name"), tables.column(table, path, "mos")
    flag = tables.column(table, path, "is_test") if tables.has_column(table, "is_test") else None
    rows: list[Row] = []
    marks: dict[str, str] = {}
    for row in table:
        value = tables.number_of(row[mos], f"{path.name}: {row[name]}")
        facts = {key: cell for key, cell in row.items() if key not in (name, mos, flag)}
        rows.append((row[name], value, facts))
        if flag:
            # Written by pandas: True and False.
            marks[row[name]] = "test" if row[flag].casefold() in ("true", "1", "1.0") else "train"
    return rows, marks


def _marked(tree: Tree, path: Path) -> tuple[list[Row], dict[str, str]]:
    """Rows of the training and the test set, and which is which."""
    if path.suffix.lower() != ".txt":
        rows, marks = _authors(path)
        if not marks:
            raise InvalidArgument(
                f"{path.name}: LSVQ's labels must have the column is_test, which says what is for "
                "testing, got none"
            )
        return rows, marks
    rows = plain(path)
    marks = {n: "train" for n, *_ in rows}
    for part in ("test", "1080p"):
        beside = _beside(path, *_PARTS[part]) or tree.find(*(p for p in _PARTS[part] if p.endswith("txt")))
        if beside is None or beside == path:
            continue
        held = plain(beside)
        shared = [n for n, *_ in held if marks.get(n) == "train"]
        if shared:
            raise InvalidArgument(
                f"{path.name}: LSVQ's training list must share no video with {beside.name}, got "
                f"{len(shared)} such as {shared[0]!r}: it is not the training list"
            )
        if part == "test":
            rows = rows + held
            marks |= {n: "test" for n, *_ in held}
    return rows, marks


def _beside(path: Path, *names: str) -> Path | None:
    return next((path.with_name(n) for n in names if n.endswith("txt") and path.with_name(n).exists()), None)
