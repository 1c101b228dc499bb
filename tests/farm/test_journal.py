"""The journal keeps every record once, whatever its writer or its index goes through."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from vqafast.errors import InvalidArgument
from vqafast.farm import sinks
from vqafast.farm.journal import Journal
from vqafast.farm.record import Record

if TYPE_CHECKING:
    from pathlib import Path


def record(name: str, score: float | None = 50.0, key: str = "a", **more: Any) -> Record:
    failure = {} if score is not None else {"code": "corrupt", "message": "no"}
    status = "scored" if score is not None else "failed"
    return Record(path=f"/m/{name}", key=key * 32, status=status, score=score, **failure, **more)  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_come_back(tmp_path: Path) -> None:
    made = [record(str(i), i / 3, extra={"n": i, "é": "\udcff"}) for i in range(5)] + [record("bad", None)]
    with Journal(tmp_path / "j.jsonl") as journal:
        for r in made:
            journal.add(r)
        assert list(journal.records()) == made
        known = journal.known("/m/bad")
        assert known is not None
        assert (known.key, known.code, known.new) == ("a" * 32, "corrupt", True)
        assert journal.known("/m/other") is None
        assert journal.counts() == {"scored": 5, "corrupt": 1}
        assert list(journal.scores()) == [i / 3 for i in range(5)]
    with Journal(tmp_path / "j.jsonl") as journal:
        assert list(journal.records()) == made
        again = journal.known("/m/bad")
        assert again is not None
        assert not again.new


def test_the_last_record_of_a_path_counts(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        for score in (1.0, 2.0, 3.0):
            journal.add(record("x", score))
            journal.add(record(f"y{score}"))
        assert [r.score for r in journal.records()] == [50.0, 50.0, 3.0, 50.0]
        assert len(lines(journal.path)) == 6
        journal.compact()
        assert [r["score"] for r in lines(journal.path)] == [50.0, 50.0, 3.0, 50.0]
        # It is still the one that is written to, and locked.
        journal.add(record("z"))
        with pytest.raises(InvalidArgument, match="another process is writing it"):
            Journal(journal.path)
    assert len(lines(tmp_path / "j.jsonl")) == 5
    with Journal(tmp_path / "j.jsonl") as journal:
        assert len(list(journal.records())) == 5


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_line_that_a_kill_cut_short_is_removed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        for i in range(3):
            journal.add(record(str(i)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with Journal(path) as journal:
        assert len(list(journal.records())) == 2
        assert journal.known("/m/2") is None
        journal.add(record("2"))
    assert path.read_bytes() == whole
    path.write_bytes(b'{"no line')
    with Journal(path) as journal:
        assert list(journal.records()) == []
    assert path.read_bytes() == b""


@pytest.mark.parametrize("harm", ["gone", "garbage", "old", "of another file"])
def test_the_index_is_made_anew(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        for i in range(4):
            journal.add(record(str(i)))
        index = journal.index
    old = index.read_bytes()
    if harm == "gone":
        index.unlink()
    elif harm == "garbage":
        index.write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
    elif harm == "old":
        with Journal(path) as journal:
            journal.add(record("late"))
        index.write_bytes(old)
    else:
        path.write_text("".join(record(f"other{i}", key="b").to_json() + "\n" for i in range(9)))
    with Journal(path) as journal:
        assert {r.path for r in journal.records()} == {r["path"] for r in lines(path)}
        assert all(journal.known(r["path"]) for r in lines(path))
        assert (journal.known("/m/0") is None) == (harm == "of another file")


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    for text in (
        '{"a": 1}\n',
        "text\n",
        '{"schema": "x"}\n',
        '{"schema": 9, "path": "x", "key": "k", "status": "scored"}\n',
    ):
        path.write_text(text)
        with pytest.raises(InvalidArgument, match="must hold records of a batch"):
            Journal(path)
        assert path.read_text() == text
    with Journal(path, fresh=True) as journal:
        assert list(journal.records()) == []


def test_fields_of_a_later_version_are_no_obstacle() -> None:
    data = record("x").to_dict() | {"later": 1}
    assert Record.from_json(json.dumps(data)) == record("x")


def test_tables(tmp_path: Path) -> None:
    made = [
        record("a,b", 1 / 3, frames=((0.0, 1.5),), extra={"id": 'x"y'}),
        record("c", None),
        record("\udcff", 2.0),
    ]
    sinks.write_csv(made, tmp_path / "t.csv")
    import csv

    with (tmp_path / "t.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["path"] for r in rows] == ["/m/a,b", "/m/c", "/m/\udcff"]
    assert float(rows[0]["score"]) == 1 / 3
    assert rows[1]["score"] == ""
    assert rows[1]["code"] == "corrupt"
    assert json.loads(rows[0]["frames"]) == [[0.0, 1.5]]
    assert json.loads(rows[0]["extra"]) == {"id": 'x"y'}
    parquet = pytest.importorskip("pyarrow.parquet")
    sinks.write_parquet(made, tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert tuple(table.column_names) == sinks.COLUMNS
    assert table["score"].to_pylist() == [1 / 3, None, 2.0]
    assert str(table.schema.field("size").type) == "int64"
    assert not list(tmp_path.glob(".*.part"))
