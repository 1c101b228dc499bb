"""Records as tables, written when a batch is done: beside the old file, then in its place."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from vqafast.errors import EngineUnavailable, OutputError
from vqafast.farm.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: Columns of a table, in their order.
COLUMNS = ("schema", *(f.name for f in fields(Record) if f.name != "schema"))
# Those that hold lists or objects: JSON in a cell.
_NESTED = ("warnings", "segments", "frames", "attributes", "stages", "extra")
_WHOLE = ("schema", "width", "height", "scored_frames", "dropped_frames", "attempts", "size", "mtime_ns")
_REAL = (
    "score", "uncertainty", "duration", "frame_rate", "bit_rate", "scale_min", "scale_max", "seconds",
)  # fmt: skip
# Rows of a Parquet file written at once.
_ROWS = 4096


def rows(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Cells by column; what is nested is JSON."""
    for record in records:
        row = record.to_dict()
        yield {n: json.dumps(row[n], ensure_ascii=False) if n in _NESTED else row[n] for n in COLUMNS}


def write_csv(records: Iterable[Record], path: Path) -> None:
    """Write one row a record; empty cells for what is not known."""
    with (
        _replacing(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        # repr, so that what is read back is what was computed.
        writer.writerows(
            {n: repr(v) if isinstance(v, float) else v for n, v in row.items()} for row in rows(records)
        )


def write_parquet(records: Iterable[Record], path: Path) -> None:
    """Write one row a record.

    Raises
    ------
    EngineUnavailable
        Without pyarrow.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise EngineUnavailable(
            f"{path}: Parquet needs pyarrow: pip install 'vqafast[farm]'", path=str(path)
        ) from error
    kinds = {n: pa.int64() for n in _WHOLE} | {n: pa.float64() for n in _REAL}
    schema = pa.schema([(n, kinds.get(n, pa.string())) for n in COLUMNS])
    with _replacing(path) as part, parquet.ParquetWriter(part, schema) as writer:
        source = iter(rows(records))
        while some := list(islice(source, _ROWS)):
            # Names that are no text cannot be in a Parquet string.
            texts = [{n: _text(v) for n, v in row.items()} for row in some]
            writer.write_table(pa.Table.from_pylist(texts, schema=schema))


def _text(value: Any) -> Any:
    return (
        value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if isinstance(value, str)
        else value
    )


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error}", path=str(path)) from error
    finally:
        part.unlink(missing_ok=True)
