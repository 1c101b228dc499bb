"""Label files that are text or spreadsheets, as rows of strings by column."""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from vqafast.errors import InvalidArgument, Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Row = dict[str, str]

_SHEET_LIMIT = 256 * 1024 * 1024
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_PACKAGE = "{http://schemas.openxmlformats.org/package/2006/relationships}"


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path.name}: a label file must be UTF-8 text, got {error.reason}") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error


def read_csv(path: Path) -> list[Row]:
    """Rows below the header; comma, semicolon or tab, whichever the header has most of.

    Rows whose cells are all empty are padding and left out.
    """
    text = read_text(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    return _rows(list(csv.reader(io.StringIO(text), delimiter=delimiter)))


def read_table(path: Path, sheet: str | None = None) -> list[Row]:
    """Rows of a CSV file or of one sheet of an .xlsx workbook (`sheet`, else the first)."""
    if path.suffix.lower() != ".xlsx":
        return read_csv(path)
    sheets = read_workbook(path)
    name = sheet if sheet in sheets else next(iter(sheets))
    return _rows(sheets[name])


def read_workbook(path: Path) -> dict[str, list[list[str]]]:
    """Cells of every sheet of an .xlsx file, as text.

    Raises
    ------
    InvalidArgument
        When it is no workbook.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(i.file_size for i in archive.infolist()) > _SHEET_LIMIT:
                raise InvalidArgument(f"{path.name}: a workbook must unpack to at most 256 MB, got more")
            return _sheets(archive)
    except (zipfile.BadZipFile, KeyError, ET.ParseError) as error:
        raise InvalidArgument(f"{path.name}: must be an .xlsx workbook, got {error}") from error


def _sheets(archive: zipfile.ZipFile) -> dict[str, list[list[str]]]:
    shared: list[str] = []
    if "xl/sharedStrings.xml" in archive.namelist():
        strings = ET.fromstring(archive.read("xl/sharedStrings.xml"))
        shared = ["".join(t.text or "" for t in item.iter(f"{_MAIN}t")) for item in strings]
    links = {
        r.attrib["Id"]: r.attrib["Target"]
        for r in ET.fromstring(archive.read("xl/_rels/workbook.xml.rels")).iter(f"{_PACKAGE}Relationship")
    }
    result = {}
    for entry in ET.fromstring(archive.read("xl/workbook.xml")).iter(f"{_MAIN}sheet"):
        target = links[entry.attrib[_LINK]].removeprefix("/")
        name = target if target.startswith("xl/") else f"xl/{target}"
        rows = ET.fromstring(archive.read(name)).iter(f"{_MAIN}row")
        result[entry.attrib["name"]] = [_cells(row, shared) for row in rows]
    return result


def _cells(row: ET.Element, shared: Sequence[str]) -> list[str]:
    cells: dict[int, str] = {}
    for position, cell in enumerate(row.iter(f"{_MAIN}c")):
        # A cell without a reference stands right of the one before it.
        letters = re.match(r"[A-Z]+", cell.attrib.get("r", ""))
        column = position
        if letters:
            column = 0
            for letter in letters[0]:
                column = column * 26 + ord(letter) - 64
            column -= 1
        value = cell.find(f"{_MAIN}v")
        if cell.attrib.get("t") == "inlineStr":
            cells[column] = "".join(t.text or "" for t in cell.iter(f"{_MAIN}t"))
        elif value is not None and value.text is not None:
            cells[column] = shared[int(value.text)] if cell.attrib.get("t") == "s" else value.text
    return [cells.get(i, "") for i in range(max(cells, default=-1) + 1)]


def _rows(cells: Sequence[Sequence[str]]) -> list[Row]:
    filled = [[c.strip() for c in row] for row in cells if any(c.strip() for c in row)]
    if not filled:
        return []
    header = filled[0]
    return [dict(zip(header, [*row, *[""] * len(header)], strict=False)) for row in filled[1:]]


def read_list(path: Path) -> list[tuple[str, float]]:
    """Name and MOS of each line ``name, duration, frame rate, mos``.

    The format of the label lists of https://github.com/VQAssessment/FAST-VQA-and-FasterVQA; KVQ's
    lists have two class labels in the middle. Read from the right: names may hold commas.
    """
    result = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        cells = line.rsplit(",", 3)
        if len(cells) != 4:
            raise InvalidArgument(
                f"{path.name}:{number}: a line must be 'name, duration, fps, mos', got {line.strip()!r}"
            )
        result.append((cells[0].strip(), number_of(cells[3], f"{path.name}:{number}")))
    return result


def number_of(text: str, where: str, decimal: str = ".") -> float:
    """Return the number a cell holds; `decimal` is the decimal mark.

    Raises
    ------
    InvalidArgument
        When it is none, or not finite.
    """
    try:
        value = float(text.strip().replace(decimal, "."))
    except ValueError as error:
        raise InvalidArgument(f"{where}: MOS must be a number, got {text.strip()!r}") from error
    if not math.isfinite(value):
        raise InvalidArgument(f"{where}: MOS must be finite, got {text.strip()!r}")
    return value


def column(rows: Sequence[Mapping[str, str]], path: Path, *names: str) -> str:
    """Return the first of `names` that the header has, without regard to case and blanks.

    Raises
    ------
    InvalidArgument
        When it has none of them.
    """
    header = list(rows[0]) if rows else []
    folded = {_fold(h): h for h in header}
    for name in names:
        if _fold(name) in folded:
            return folded[_fold(name)]
    raise InvalidArgument(
        f"{path.name}: a column must be named {' or '.join(names)}, got {', '.join(header) or 'no header'}"
    )


def has_column(rows: Sequence[Mapping[str, str]], name: str) -> bool:
    """Whether the header has `name`."""
    return bool(rows) and _fold(name) in {_fold(h) for h in rows[0]}


def _fold(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).casefold()
