"""Small datasets laid out and labelled as their authors publish them; every video is generated."""

from __future__ import annotations

import csv
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from scipy.io import savemat
from tests import clips

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CLIP = clips.Clip(frames=3, width=64, height=48)


def videos(root: Path, *names: str, clip: clips.Clip = CLIP) -> None:
    """Write a tiny video under each name; the first is encoded, the others are copies of it."""
    made: dict[str, bytes] = {}
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix not in made:
            clips.encode(path, clip)
            made[path.suffix] = path.read_bytes()
        path.write_bytes(made[path.suffix])


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def listing(path: Path, rows: Mapping[str, float]) -> Path:
    """The list format of FAST-VQA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}, -1, -1, {mos}\n" for name, mos in rows.items()), encoding="utf-8")
    return path


def info(path: Path, names: Sequence[str], scores: Sequence[float], index: Any, database: str = "") -> Path:
    """A MATLAB 7.3 file with the variables of VSFA's info files, stored as MATLAB stores them."""
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(name: str, data: Any, kind: str) -> h5py.Dataset:
            made = file.create_dataset(name, data=data)
            made.attrs["MATLAB_class"] = np.bytes_(kind)
            return made

        n = len(names)
        put("scores", np.asarray(scores, dtype=np.float64).reshape(1, n), "double")
        put("ref_ids", np.arange(1.0, n + 1).reshape(1, n), "double")
        put("index", np.asarray(index, dtype=np.float64), "double")
        if database:
            put("database", _characters(database), "char")
        cell = file.create_dataset("video_names", (1, n), dtype=h5py.ref_dtype)
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        for i, name in enumerate(names):
            cell[0, i] = put(f"#refs#/n{i}", _characters(name), "char").ref
    data = bytearray(path.read_bytes())
    data[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(data)
    return path


def _characters(text: str) -> Any:
    return np.array([[ord(c)] for c in text], dtype=np.uint16)


def cells(*values: str) -> Any:
    """A column of strings, as MATLAB's cell arrays of text."""
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def mat5(path: Path, **variables: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables)
    return path


def workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[object]]]) -> Path:
    """A minimal .xlsx: text as shared strings, numbers as numbers, empty cells left out."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    strings: list[str] = []

    def cell(column: int, row: int, value: object) -> str:
        if value == "":
            return ""
        where = f"{chr(65 + column)}{row}"
        if isinstance(value, str):
            strings.append(value)
            return f'<c r="{where}" t="s"><v>{len(strings) - 1}</v></c>'
        return f'<c r="{where}"><v>{value}</v></c>'

    with zipfile.ZipFile(path, "w") as archive:
        entries, links = [], []
        for number, (name, rows) in enumerate(sheets.items(), start=1):
            lines = [
                f'<row r="{r}">{"".join(cell(c, r, v) for c, v in enumerate(row))}</row>'
                for r, row in enumerate(rows, start=1)
            ]
            body = f"<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"
            archive.writestr(f"xl/worksheets/sheet{number}.xml", body)
            entries.append(f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>')
            links.append(f'<Relationship Id="rId{number}" Target="worksheets/sheet{number}.xml"/>')
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{office}"><sheets>{"".join(entries)}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}">{"".join(links)}</Relationships>',
        )
        shared = "".join(f"<si><t>{text}</t></si>" for text in strings)
        archive.writestr("xl/sharedStrings.xml", f"<sst {main}>{shared}</sst>")
    return path
