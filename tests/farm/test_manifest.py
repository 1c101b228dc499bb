"""Every kind of manifest, whole and broken, read without being held."""

from __future__ import annotations

import io
import os
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from vqafast.errors import InvalidArgument, MissingFile, Unreadable
from vqafast.farm.manifest import Item, read

if TYPE_CHECKING:
    from pathlib import Path


def listed(*inputs: Any, **options: Any) -> list[tuple[str, dict[str, Any], str | None]]:
    return [(i.path, i.extra, i.problem) for i in read(map(str, inputs), **options)]


def paths(*inputs: Any, **options: Any) -> list[str]:
    return [path for path, _, _ in listed(*inputs, **options)]


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffid,file\n1,x.mp4\n2,"sub/y, z.mp4"\n', encoding="utf-8")
    (tmp_path / "b.tsv").write_text("video\tid\n/abs/v.mkv\t7\n")
    (tmp_path / "c.jsonl").write_text('{"path": "u.ts", "n": [1, 2]}\n\n"plain.mp4"\n')
    assert listed(tmp_path / "a.csv", tmp_path / "b.tsv", tmp_path / "c.jsonl") == [
        (str(tmp_path / "x.mp4"), {"id": "1"}, None),
        (str(tmp_path / "sub/y, z.mp4"), {"id": "2"}, None),
        ("/abs/v.mkv", {"id": "7"}, None),
        (str(tmp_path / "u.ts"), {"n": [1, 2]}, None),
        (str(tmp_path / "plain.mp4"), {}, None),
    ]
    assert paths(tmp_path / "a.csv", root="/media") == ["/media/x.mp4", "/media/sub/y, z.mp4"]
    assert paths(tmp_path / "a.csv", column="id", root="/m") == ["/m/1", "/m/2"]
    with pytest.raises(InvalidArgument, match=r"a\.csv: must have a column url, got id, file"):
        paths(tmp_path / "a.csv", column="url")
    (tmp_path / "d.csv").write_text("one,two\n")
    with pytest.raises(InvalidArgument, match="must have a column one of path, file, filename, video, name"):
        paths(tmp_path / "d.csv")


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"path": ["a.mp4", None, "b.mp4"], "n": [1.5, float("nan"), 3.0]})
    parquet.write_table(table, tmp_path / "m.parquet")
    got = listed(tmp_path / "m.parquet")
    assert got[0] == (str(tmp_path / "a.mp4"), {"n": 1.5}, None)
    assert got[1][0] == f"{tmp_path / 'm.parquet'}:2"
    assert "path must be a path, got None" in str(got[1][2])
    assert got[2] == (str(tmp_path / "b.mp4"), {"n": 3.0}, None)
    (tmp_path / "bad.parquet").write_text("nothing")
    with pytest.raises(Unreadable, match="must be a Parquet file"):
        paths(tmp_path / "bad.parquet")
    with pytest.raises(MissingFile):
        paths(tmp_path / "none.parquet")


def test_folders_patterns_lists_and_single_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.mp4", "a.MKV", "notes.txt", "sub/c.webm", "sub/deep/d.y4m", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    # A link back to the top must not be walked for ever.
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    names = [".hidden.mp4", "a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.y4m"]
    assert paths(tmp_path) == [str(tmp_path / n) for n in names]
    assert paths(f"{tmp_path}/*.mp4") == [str(tmp_path / n) for n in (".hidden.mp4", "b.mp4")]
    assert paths(f"{tmp_path}/**/*.webm") == [str(tmp_path / "sub/c.webm")] * len(
        paths(f"{tmp_path}/**/*.webm")
    )
    assert paths(tmp_path / "b.mp4") == [str(tmp_path / "b.mp4")]
    with pytest.raises(MissingFile, match="no file fits the pattern"):
        paths(f"{tmp_path}/*.avi")
    odd = tmp_path / "odd[1].mp4"
    odd.touch()
    assert paths(odd) == [str(odd)]
    (tmp_path / "list.lst").write_text("x.mp4\r\n\n/y.mp4\nhttp://host/z.mp4\n")
    assert paths(tmp_path / "list.lst") == [str(tmp_path / "x.mp4"), "/y.mp4", "http://host/z.mp4"]
    monkeypatch.setattr("sys.stdin", io.StringIO("one.mp4\ntwo.mp4\n"))
    assert paths("-") == [os.path.abspath("one.mp4"), os.path.abspath("two.mp4")]


def test_broken_rows_are_items_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('path,id\na.mp4,1\n,2\nb.mp4\nc.mp4,3,4\n"d.mp4\n')
    got = listed(tmp_path / "a.csv")
    assert [problem is None for _, _, problem in got] == [True, False, False, False, False]
    assert [path.rpartition(":")[2] for path, _, problem in got if problem] == ["3", "4", "5", "6"]
    (tmp_path / "b.jsonl").write_text(
        '{"path": "a.mp4"}\n{"path"\n[1]\n{"id": 3}\n{"path": 7}\n"nul\\u0000"\n'
    )
    got = listed(tmp_path / "b.jsonl")
    assert [problem is None for _, _, problem in got] == [True] + [False] * 5
    (tmp_path / "c.txt").write_bytes(b"ok.mp4\nbad\0name\n\xff\xfe.mp4\n")
    got = listed(tmp_path / "c.txt")
    assert [problem is None for _, _, problem in got] == [True, False, True]
    assert os.fsencode(got[2][0]).endswith(b"\xff\xfe.mp4")


def test_missing_and_unreadable_manifests(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such file"):
        paths(tmp_path / "none.csv")
    # A video that is not there is the batch's to record.
    assert paths(tmp_path / "none.mp4") == [str(tmp_path / "none.mp4")]


def test_a_manifest_is_read_as_it_is_needed(tmp_path: Path) -> None:
    """Rows behind those that were asked for have not been looked at."""
    with (tmp_path / "long.jsonl").open("w") as file:
        file.writelines(f'{{"path": "{i}.mp4"}}\n' for i in range(200_000))
    stream = read([str(tmp_path / "long.jsonl"), str(tmp_path / "none.csv")])
    assert list(islice(stream, 2)) == [Item(str(tmp_path / "0.mp4")), Item(str(tmp_path / "1.mp4"))]
    stream.close()
