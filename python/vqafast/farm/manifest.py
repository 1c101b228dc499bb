"""Which files a batch is of: manifests, folders, patterns and lists, read as they are needed."""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vqafast.errors import EngineUnavailable, InvalidArgument, MissingFile, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Names of files in a folder that are taken for videos.
EXTENSIONS = frozenset(
    [
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".h264",
        ".hevc",
        ".ivf",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".obu",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)
#: Columns that may hold the path, the first that there is.
COLUMNS = ("path", "file", "filename", "video", "name")
_TABLES = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
_LISTS = (".txt", ".lst")
_MAGIC = frozenset("*?[")
# Rows of a Parquet file in memory at once.
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Item:
    """One file to score, by its absolute path; or a row of a manifest that names none, and why.

    `extra` are the other columns of its row.
    """

    path: str
    extra: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def read(inputs: Iterable[str], *, column: str | None = None, root: str | None = None) -> Iterator[Item]:
    """Yield what `inputs` name, in their order; nothing is kept.

    Parameters
    ----------
    inputs : iterable of str
        Each a manifest (.csv, .tsv, .jsonl, .ndjson, .parquet), a list with a path a line (.txt, .lst, or "-"
        for standard input), a folder (its videos, at any depth, by name), a pattern, or a video.
    column : str, optional
        With the path, in tables; else the first of `COLUMNS` that is there.
    root : str, optional
        Where relative paths begin; else at the manifest's folder, or at the working directory for standard
        input.

    Raises
    ------
    MissingFile, Unreadable
        When a manifest is not there or cannot be read.
    InvalidArgument
        For a table without the column. A row that is broken is yielded with its problem.
    EngineUnavailable
        For Parquet without pyarrow.
    """
    for name in inputs:
        yield from _read_one(name, column, root)


def _read_one(name: str, column: str | None, root: str | None) -> Iterator[Item]:
    if name == "-":
        yield from _lines(sys.stdin, "standard input", root or os.getcwd())
        return
    path = Path(name)
    suffix = path.suffix.lower()
    if path.is_dir():
        yield from (Item(os.path.abspath(found)) for found in _videos_in(path))
        return
    if suffix in (*_TABLES, *_LINES, *_LISTS, ".parquet") and not _MAGIC & set(name):
        yield from _manifest(path, suffix, column, root or str(path.parent))
        return
    if _MAGIC & set(name) and not path.exists():
        # Not the module glob: its ** walks through links, which may lead back.
        pattern = Path(os.path.abspath(name))
        found = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
        files = [f for f in found if not f.is_dir()]
        if not files:
            raise MissingFile(f"{name}: no file fits the pattern", path=name)
        yield from (Item(str(f)) for f in files)
        return
    yield Item(os.path.abspath(name))


def _videos_in(folder: Path) -> Iterator[str]:
    """Videos of a folder, names in order; links to folders are not followed, they may lead back."""
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as error:
        raise Unreadable(f"{folder}: cannot be listed: {error.strerror}", path=str(folder)) from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _videos_in(Path(entry.path))
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield entry.path


def _manifest(path: Path, suffix: str, column: str | None, root: str) -> Iterator[Item]:
    if suffix == ".parquet":
        yield from _parquet(path, column, root)
        return
    try:
        # utf-8-sig: spreadsheets write a mark before the first name.
        file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: no such file", path=str(path)) from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error
    with file:
        if suffix in _TABLES:
            yield from _table(file, path, _TABLES[suffix], column, root)
        elif suffix in _LINES:
            yield from _json_lines(file, path, column, root)
        else:
            yield from _lines(file, str(path), root)


def _table(file: TextIO, path: Path, delimiter: str, column: str | None, root: str) -> Iterator[Item]:
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    try:
        header = list(reader.fieldnames or ())
    except csv.Error as error:
        raise InvalidArgument(f"{path}: must be a table: {error}", path=str(path)) from error
    chosen = _column(header, column, path)
    rows = iter(reader)
    while True:
        try:
            row: dict[str | None, Any] = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield _broken(path, reader.reader.line_num, str(error))
            continue
        if None in row or None in row.values():
            yield _broken(path, reader.line_num, f"must have {len(header)} columns")
            continue
        yield _item({str(k): v for k, v in row.items()}, chosen, path, reader.line_num, root)


def _json_lines(file: TextIO, path: Path, column: str | None, root: str) -> Iterator[Item]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield _broken(path, number, f"must be JSON: {error}")
            continue
        if isinstance(row, str):
            row = {COLUMNS[0]: row}
        if not isinstance(row, dict):
            yield _broken(path, number, "must be an object or a path")
            continue
        names = (column,) if column else COLUMNS
        yield _item(row, next((n for n in names if n in row), names[0]), path, number, root)


def _parquet(path: Path, column: str | None, root: str) -> Iterator[Item]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise EngineUnavailable(
            f"{path}: Parquet needs pyarrow: pip install 'vqafast[farm]'", path=str(path)
        ) from error
    if not path.is_file():
        raise MissingFile(f"{path}: no such file", path=str(path))
    try:
        with parquet.ParquetFile(path) as file:
            chosen = _column(file.schema_arrow.names, column, path)
            number = 0
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield _item(row, chosen, path, number, root)
    except (ArrowException, OSError) as error:
        raise Unreadable(f"{path}: must be a Parquet file: {error}", path=str(path)) from error


def _lines(file: TextIO, name: str, root: str) -> Iterator[Item]:
    for number, line in enumerate(file, 1):
        text = line.rstrip("\r\n")
        if "\0" in text:
            yield _broken(name, number, "must hold no NUL")
        elif text.strip():
            yield Item(_absolute(text, root))


def _column(header: list[str], column: str | None, path: Path) -> str:
    for name in (column,) if column else COLUMNS:
        if name in header:
            return name
    wanted = column or "one of " + ", ".join(COLUMNS)
    raise InvalidArgument(f"{path}: must have a column {wanted}, got {', '.join(header)}", path=str(path))


def _item(row: Mapping[str, Any], column: str, path: Path, number: int, root: str) -> Item:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return _broken(path, number, f"{column} must be a path, got {value!r}")
    extra = {name: _plain(other) for name, other in row.items() if name != column}
    return Item(_absolute(value, root), extra)


def _plain(value: Any) -> Any:
    """What JSON has; dates and decimals of Parquet become text, NaN becomes None."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _broken(path: Path | str, number: int, why: str) -> Item:
    return Item(f"{os.path.abspath(path)}:{number}", {}, f"{path}:{number}: {why}")


def _absolute(path: str, root: str) -> str:
    # An address stays one, for the error that refuses it.
    if "://" in path:
        return path
    return os.path.abspath(os.path.join(root, path))
